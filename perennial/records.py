"""What the journal can say: one frozen, closed class per kind of record; it decides nothing.

A stage returns the record that it wrote. Digests are SHA-256 in hexadecimal; times are UTC.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from perennial.hosted import HostingAdvanced as HostingAdvanced
from perennial.hosted import HostingEnded as HostingEnded
from perennial.hosted import HostingStarted as HostingStarted
from perennial.model_history import CandidateFit as CandidateFit
from perennial.model_history import Judged as Judged
from perennial.model_history import Registered as Registered
from perennial.model_history import Released as Released
from perennial.model_history import Trained as Trained
from perennial.model_history import TrainingRefused as TrainingRefused
from perennial.periods import Window
from perennial.promotions import Answered as Answered
from perennial.promotions import Promoted as Promoted
from perennial.promotions import PromotionRefused as PromotionRefused
from perennial.promotions import Station as Station
from perennial.retraining import RetrainingClaimed as RetrainingClaimed
from perennial.retraining import RetrainingDecided as RetrainingDecided
from perennial.retraining import RetrainingEnded as RetrainingEnded
from perennial.rollouts import AnswersAudited as AnswersAudited
from perennial.rollouts import AnswersCollected as AnswersCollected
from perennial.rollouts import PredictionsCorrected as PredictionsCorrected
from perennial.rollouts import ProbationEnded as ProbationEnded
from perennial.rollouts import ReleaseServed as ReleaseServed
from perennial.rollouts import RolloutAdvanced as RolloutAdvanced
from perennial.rollouts import RolloutEnded as RolloutEnded
from perennial.rollouts import RolloutStarted as RolloutStarted
from perennial.values import Answer as Answer
from perennial.values import Finding as Finding
from perennial.values import Frozen as Frozen
from perennial.values import Interval as Interval
from perennial.values import Level as Level
from perennial.values import Verdict as Verdict


class Received(Frozen):
    """A delivery was read from its source and lies, unjudged, in the landing zone."""

    kind: Literal["delivery.received"] = "delivery.received"
    source: str
    period: str
    """Its period, or `whole` for a reference source."""
    revision: int
    """1 for the first content of the period, one more for each different content."""
    digest: str
    """Of the landed Parquet file."""
    rows: int
    path: str
    """Of the landed Parquet file, relative to the storage root."""


class Accepted(Frozen):
    """A delivery kept its contract; `accepted + quarantined == rows` always."""

    kind: Literal["delivery.accepted"] = "delivery.accepted"
    source: str
    period: str
    revision: int
    digest: str
    contract: str
    """Digest of the contract it was judged by."""
    rows: int
    accepted: int
    quarantined: int
    reasons: dict[str, int]
    """Rows per reason; a row can have several."""
    partition: str
    """Value of the `delivery` partition column in `raw_<source>` (and `quarantine`)."""
    table_version: int
    """Delta version of `raw_<source>` that has it."""
    oldest: datetime | None = None
    """Event time of the oldest accepted row, where there is one."""
    late: int = 0
    """Accepted rows that happened before the period."""


class Refused(Frozen):
    """A delivery broke its contract beyond the declared tolerance: nothing of it was written."""

    kind: Literal["delivery.refused"] = "delivery.refused"
    source: str
    period: str
    revision: int
    digest: str
    contract: str
    rows: int
    reasons: dict[str, int]
    summary: str


class FeaturesBuilt(Frozen):
    """The features of one period were computed and written as one partition of `features`."""

    kind: Literal["features.built"] = "features.built"
    period: str
    window: Window
    rows: int
    partition: str
    """Value of the `snapshot` partition column: digest of query, window and deliveries."""
    query: str
    """Digest of `features.sql`."""
    deliveries: str
    """Digest of the deliveries that the query could see."""
    features: tuple[str, ...] = ()
    """Names in the order of the query; the table keeps columns of earlier queries too."""
    table_version: int


class Predicted(Frozen):
    """The rows of one period were scored by one release and appended to `predictions`."""

    kind: Literal["predictions.written"] = "predictions.written"
    period: str
    release: int
    model: str
    version: int
    snapshot: str
    rows: int
    table_version: int


class Measured(Frozen):
    """What monitoring found for one period of one release."""

    kind: Literal["monitoring.measured"] = "monitoring.measured"
    period: str
    release: int
    version: int
    rows: int
    labels: int
    """How many of the rows had a label by then."""
    performance: dict[str, Interval]
    reference: dict[str, Interval]
    """The same metrics on the model's holdout, when it was judged."""
    drift: dict[str, float | None]
    """Population stability index per feature, and of the score under `score`; `None` where undefined."""
    findings: tuple[Finding, ...]
    report: str | None
    """Path of the Evidently report, relative to the storage root."""


Record = Annotated[
    Received
    | Accepted
    | Refused
    | FeaturesBuilt
    | Trained
    | TrainingRefused
    | Registered
    | Judged
    | Released
    | Predicted
    | Measured
    | RetrainingDecided
    | RetrainingClaimed
    | RetrainingEnded
    | Promoted
    | PromotionRefused
    | Answered
    | RolloutStarted
    | RolloutAdvanced
    | RolloutEnded
    | ReleaseServed
    | ProbationEnded
    | AnswersAudited
    | AnswersCollected
    | PredictionsCorrected
    | HostingStarted
    | HostingAdvanced
    | HostingEnded,
    Field(discriminator="kind"),
]


class Entry(Frozen):
    """One numbered line of the journal."""

    seq: int
    previous: str
    """Digest of the entry before, so that a changed history does not pass for the true one."""
    writer: str = ""
    """Drawn at random for each append, so that a writer that never got its answer knows its own entry."""
    at: datetime
    """The moment the decision was made for (`as_of`)."""
    record: Record

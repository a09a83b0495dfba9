"""What `use_case.yaml` may say: one closed class per section; `use_case_file` reads the file.

Every name below is a key of the file. Durations are written `30d`, `6h`; paths are relative to the
folder `use_cases/`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from perennial.digests import digest_bytes, digest_json
from perennial.periods import Duration, Every, Period, format_duration, parse_duration
from perennial.serving_spec import Serving
from perennial.source_spec import Name, Scalar, Section, Source

SLUG = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
TAKEN_NAMES = (
    "arm",
    "batch",
    "features_digest",
    "label",
    "model_version",
    "predicted_at",
    "prediction_id",
    "release",
    "request_id",
    "rollout",
    "score",
    "snapshot",
)
"""Columns that tables of the lake get beside the key and the features, so that neither may be called so."""
Slug = Annotated[str, StringConstraints(pattern=SLUG, max_length=53)]


class Label(Section):
    """What is to be predicted, and where it becomes known."""

    source: Name
    """Source with the outcome, which has the key columns of the entity."""
    value: str
    """SQL expression over the source's columns; NULL means that the row never gets a label."""
    known_at: Name | None = None
    """Column with the time the label became known; by default when its row did, plus `known_after`."""
    known_after: Duration = parse_duration("0s")
    matures_after: Duration = parse_duration("0s")
    """Time after the event by which nearly all labels are known; by default, and at least, `known_after`."""

    @model_validator(mode="before")
    @classmethod
    def _mature_when_known(cls, given: Any) -> Any:
        if isinstance(given, dict) and "known_after" in given:
            return {"matures_after": given["known_after"], **given}
        return given

    @model_validator(mode="after")
    def _not_mature_before_known(self) -> Self:
        if self.matures_after < self.known_after:
            raise ValueError(
                f"`matures_after` is {format_duration(self.matures_after)}, but no label is known before `known_after` "
                f"({format_duration(self.known_after)}) has passed"
            )
        return self


def _way_to_choose(value: object) -> str | None:
    return "range" if isinstance(value, dict) else "values" if isinstance(value, list | tuple) else None


Choice = Annotated[
    Annotated[tuple[Scalar, ...], Tag("values")]
    | Annotated[dict[Literal["low", "high", "log"], float | bool], Tag("range")],
    Discriminator(
        _way_to_choose,
        custom_error_type="choice",
        custom_error_message="must be a list of values, or a range with `low` and `high`",
    ),
]


class Search(Section):
    """A hyper-parameter search on the validation window within a budget."""

    trials: int = Field(ge=1, le=1000)
    seconds: int = Field(300, ge=1)
    space: dict[str, Choice]
    """Per parameter the values to choose from, or a range."""


class Candidate(Section):
    """One way to fit the data; the first declared is the baseline."""

    estimator: str
    params: dict[str, Scalar] = Field({})
    search: Search | None = None


class Training(Section):
    """How candidates are fitted: windows counted back from `as_of`, never overlapping."""

    history: Duration | None = None
    """How far back the fit window reaches; without it, to the first row."""
    validation: Duration = parse_duration("14d")
    """Window for early stopping and search, right before the holdout."""
    holdout: Duration = parse_duration("14d")
    """Newest window, on which candidates and champion are judged."""
    min_rows: int = Field(1000, ge=10)
    seed: int = 0
    candidates: dict[Slug, Candidate] = Field(min_length=2)


class Slices(Section):
    """Parts of the holdout on which a challenger must hold up as well."""

    columns: tuple[Name, ...]
    """Categorical columns of the features."""
    min_rows: int = Field(200, ge=1)
    """Smaller slices are listed, not judged."""
    floor: float | None = None
    max_loss: float = Field(0.05, ge=0)
    """How much worse than the champion the primary metric may be on a slice."""


class Gate(Section):
    """What a challenger must prove before it may serve."""

    floor: float
    """Bound of the primary metric that every model must reach (a ceiling where lower is better)."""
    margin: float = Field(0.0, ge=0)
    """By how much the challenger must beat its opponent: the lower end of the interval lies above it."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(1000, ge=200)
    min_rows: int = Field(500, ge=10)
    suspicious: float | None = None
    """Value of the primary metric that is too good to be true: from there on a person has to look for a leak."""
    slices: Slices | None = None


class Metrics(Section):
    """The metric that decides, and others to report."""

    primary: str
    also: tuple[str, ...] = ()


class Monitoring(Section):
    """What counts as a finding."""

    drift: float = Field(0.2, gt=0)
    """Population stability index from which a feature or the score has drifted."""
    max_loss: float = Field(0.03, ge=0)
    """Loss of the primary metric against the holdout from which performance has degraded."""
    min_labels: int = Field(500, ge=1)
    report_rows: int = Field(2000, ge=100)
    """Bound of the sample for the Evidently report."""


Cause = Literal["performance", "score-drift", "feature-drift", "growth", "age"]


class Retraining(Section):
    """When a challenger is trained."""

    on: tuple[Cause, ...] = ("performance", "score-drift", "age")
    growth: float = Field(0.5, gt=0)
    """Share by which the known rows must have grown since the last training for `growth`."""
    max_age: Duration = parse_duration("90d")
    cooldown: Duration = parse_duration("25d")


class Schedules(Section):
    """Cron lines in UTC per flow."""

    pipeline: str | None = None
    monitor: str | None = None
    predict: str | None = None


Quantity = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(Mi|Gi)$")]


class Resources(Section):
    """What a run of the use case needs on a cluster, in place of what the work pool gives."""

    cpu: float | None = Field(None, gt=0)
    """Cores that are kept for it; it may use more where others do not."""
    memory: Quantity | None = None
    """Such as `16Gi`: kept for it, and its end."""
    disk: Quantity | None = None
    """Most that it may write, where queries spill to."""


class UseCase(Section):
    """One model that Perennial keeps alive."""

    title: str
    description: str = ""
    task: Literal["binary", "regression"]
    every: Every = Every.MONTH
    """Length of a period: of deliveries, scoring and monitoring."""
    starts: str | None = None
    """First period that its sources have, such as `2013-01`; a backfill begins there."""
    entity: Name
    """Source whose rows are predicted; it gives the key and the event time."""
    sources: dict[Name, Source] = Field(min_length=1)
    label: Label
    features: str = "features.sql"
    metrics: Metrics
    training: Training
    gate: Gate
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    serving: Serving | None = None
    schedules: Schedules = Schedules()
    resources: Resources | None = None

    _slug: str = ""
    _folder: Path = Path()

    @property
    def slug(self) -> str:
        """Name of its folder, of its MLflow model, of everything."""
        return self._slug

    @property
    def folder(self) -> Path:
        """Where `use_case.yaml` lies."""
        return self._folder

    @property
    def key(self) -> tuple[str, ...]:
        """Key columns of what is predicted."""
        return self.sources[self.entity].key

    @property
    def event_time(self) -> str:
        """Column with the moment that a prediction is for."""
        return self.sources[self.entity].event_time or ""

    @property
    def features_sql(self) -> str:
        """The text of the features query."""
        return (self.folder / self.features).read_text(encoding="utf-8")

    @property
    def features_digest(self) -> str:
        """Digest of the features query."""
        return digest_bytes(self.features_sql.encode())

    @property
    def spec_digest(self) -> str:
        """Digest of all of the declaration that can change a model, so not of where it runs."""
        return digest_json(self.model_dump(mode="json", exclude={"serving", "resources"}))

    @property
    def gate_digest(self) -> str:
        """Digest of all that decides which of two models may serve."""
        return digest_json([self.metrics.primary, self.gate.model_dump(mode="json")])

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for where, name in (("entity", self.entity), ("label.source", self.label.source)):
            if name not in self.sources:
                raise ValueError(f"`{where}` names `{name}`, which is not under `sources`")
        if self.sources[self.entity].is_reference:
            raise ValueError(f"the entity `{self.entity}` needs `event_time`")
        if self.starts and Period.parse(self.starts).every is not self.every:
            raise ValueError(f"`starts` is `{self.starts}`, which is no {self.every.value}")
        missing = [name for name in self.key if name not in self.sources[self.label.source].columns]
        if missing:
            raise ValueError(f"`label.source` `{self.label.source}` lacks the key column `{missing[0]}` of the entity")
        return self


def is_slug(text: str) -> bool:
    """Say whether a text may name a use case: lower-case letters, digits and single dashes."""
    return re.fullmatch(SLUG, text) is not None and len(text) <= 53

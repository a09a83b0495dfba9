"""What the journal says of a version on its way to serve and of what became of its answers; it decides nothing."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from perennial.replicas import Report
from perennial.values import Frozen, Verdict


class RolloutStarted(Frozen):
    """A version that the gate passed answers copies (shadow) or a share (canary) of the requests."""

    kind: Literal["rollout.started"] = "rollout.started"
    number: int
    """1 for the first of the use case."""
    rollout: Literal["shadow", "canary"]
    model: str
    version: int
    against_release: int
    """The champion's; when another release is made, the rollout is over."""
    against_version: int
    steps: tuple[float, ...]
    """Shares of the requests, the first from now on; a shadow has one step, the share that is copied."""
    deadline: datetime
    """Without a PASS by then the version does not serve."""


class RolloutAdvanced(Frozen):
    """What a canary showed so far allows the next step."""

    kind: Literal["rollout.advanced"] = "rollout.advanced"
    number: int
    step: int
    """Place in `steps` of the share from now on."""
    verdict: Verdict


class RolloutEnded(Frozen):
    """A version on its way to serve was taken back. One that passed is released instead (`Released.rollout`)."""

    kind: Literal["rollout.ended"] = "rollout.ended"
    number: int
    verdict: Verdict


class ReleaseServed(Frozen):
    """A release answered requests in good health: only to such a one a rollback may go back."""

    kind: Literal["release.served"] = "release.served"
    release: int
    answers: int
    replicas: tuple[str, ...]
    """Those that reported it."""


class ProbationEnded(Frozen):
    """The labels of what a release answered are mature: PASS keeps it; after a FAIL it is rolled back."""

    kind: Literal["probation.ended"] = "probation.ended"
    release: int
    verdict: Verdict


class AnswersCollected(Frozen):
    """Answers of the online service were moved from its log into `predictions`, as one batch."""

    kind: Literal["answers.collected"] = "answers.collected"
    batch: str
    """Value of the partition column `batch` in `predictions` and in `requests`."""
    segments: dict[str, tuple[tuple[int, int], ...]]
    """Of the log, by replica: the first and last number of each unbroken run of them, each collected once."""
    rows: int
    versions: dict[int, int]
    """Rows per model version."""
    lost: dict[str, int] = Field({})
    """Per replica that ended without a farewell, how many answers it had given and not yet logged."""
    departed: dict[str, Report] = Field({})
    """The last report of each replica that left, with its counts of the release that serves and the trial under way:
    what was judged by them stays known when the reports are cleared away."""
    table_version: int

    def holds(self, replica: str, number: int) -> bool:
        """Say whether a segment of the log is part of it."""
        return any(first <= number <= last for first, last in self.segments.get(replica, ()))


def whose(release: int, rollout: int | None) -> str:
    """Name what wrote predictions: a release, or the canary of a rollout."""
    return f"release {release}" if rollout is None else f"the canary of rollout {rollout}"


class PredictionsCorrected(Frozen):
    """What a withdrawn release or a refused canary wrote was scored again by the release that serves, under its ids."""

    kind: Literal["predictions.corrected"] = "predictions.corrected"
    withdrawn: int
    """Number of the release that was taken back; for a canary that of the release beside which it answered."""
    rollout: int | None = None
    """Number of the rollout whose canary was taken back, if it was one."""
    release: int
    model: str
    version: int
    batch: str
    rows: int
    table_version: int
    sources: tuple[str, ...] = ()
    """The batches of `predictions` whose rows it corrects."""

    @property
    def whose(self) -> str:
        """What was taken back, in words."""
        return whose(self.withdrawn, self.rollout)


class AnswersAudited(Frozen):
    """A sample of logged requests was computed again offline, from the deliveries that the service knew then."""

    kind: Literal["answers.audited"] = "answers.audited"
    batches: tuple[str, ...]
    rows: int
    verdict: Verdict
    """FAIL names the features that differ; training and serving must not."""

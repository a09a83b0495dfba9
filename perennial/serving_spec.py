"""What `use_case.yaml` may say of answering online and of how a new version gets there; it decides nothing."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from perennial.periods import Duration, parse_duration
from perennial.source_spec import Section

Step = Annotated[float, Field(gt=0, le=1)]


class Health(Section):
    """What answers must keep to, whichever version gives them."""

    errors: float = Field(0.01, ge=0, lt=1)
    """Share of answers that may fail: an exception, a score that is not finite, no answer in time."""
    slower_than: Duration = parse_duration("100ms")
    """Time of the model and its features from which an answer counts as slow; waiting for a processor is left out."""
    slow: float = Field(0.05, ge=0, lt=1)
    """Share of answers that may be slow."""
    min_answers: int = Field(50, ge=10)
    """Fewer say nothing, neither good nor bad."""


class Shadow(Section):
    """The challenger answers copies of real requests; the caller only ever sees the champion's answer."""

    share: Step = 1.0
    """Of the requests that are copied."""


class Canary(Section):
    """The challenger answers a share of the requests, chosen by their key, in steps."""

    steps: tuple[Step, ...] = Field((0.05, 0.25, 0.5), min_length=1)
    """Shares, rising."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"`steps` are {list(self.steps)}, expected shares that rise, such as [0.05, 0.25, 0.5]")
        return self


class Trial(Section):
    """What a version must show on real requests, as shadow or canary, before it may serve."""

    min_answers: int = Field(200, ge=20)
    """Of the challenger per step; before that it is HOLD."""
    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Chance, over the whole trial and however often it is looked at, that an equally good version is refused."""
    disagreement: float | None = None
    """Mean absolute difference of the scores on the same requests from which the versions disagree too much."""
    max_loss: float = Field(0.01, ge=0)
    """How much worse the loss on the labels that have arrived may be: Brier score, or squared error as a share of
    the label's variance in the holdout."""
    min_labels: int = Field(0, ge=0)
    """Labels to wait for before a PASS; 0 where they come too late for that: probation looks at them then."""
    deadline: Duration = parse_duration("24h")
    """Without a PASS by then the version does not serve."""


class Serving(Section):
    """How the use case answers online; without this section it only scores batches."""

    rollout: Literal["direct", "shadow", "canary"] = "direct"
    """How a version that passed the gate gets to serve."""
    history: Duration | None = None
    """How far back the sources reach from which online features are made; without it, to the first row."""
    timeout: Duration = parse_duration("1s")
    """An answer that takes longer is refused with 504."""
    max_rows: int = Field(1000, ge=1, le=10_000)
    """Rows of one request."""
    health: Health = Health()
    shadow: Shadow = Shadow()
    canary: Canary = Canary()
    trial: Trial = Trial()
    audit: float = Field(0.01, ge=0, le=1)
    """Share of the logged requests that is computed again offline."""

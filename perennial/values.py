"""The small values that records are made of: answers, verdicts, findings, intervals; they say nothing of stages."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A closed value: unknown fields and NaN are errors, so that every record is plain JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Answer(StrEnum):
    """The three answers of every decision. Only PASS advances."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Verdict(Frozen):
    """An answer with what it rests on. A number that is not finite is `None` and named in the reasons."""

    answer: Answer
    reasons: tuple[str, ...]
    numbers: dict[str, float | None] = {}


class Level(StrEnum):
    """How loudly a finding speaks: `alert` asks somebody to act."""

    INFO = "info"
    WARNING = "warning"
    ALERT = "alert"


class Finding(Frozen):
    """One thing that monitoring saw. Automations match on `category`, so its values are a stable contract."""

    level: Level
    category: str
    summary: str
    detail: str
    resolution: str
    subject: str = ""
    """The column, source or metric that it is about."""


class Interval(Frozen):
    """A measured value with its two-sided confidence interval; `None` where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    rows: int

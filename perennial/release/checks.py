"""One thing that a decision looked at, and how several make a verdict; which things, each decision knows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from perennial.values import Answer, Verdict

Numbers = Mapping[str, float | None]
_DECISIVE = (Answer.FAIL, Answer.INCONCLUSIVE, Answer.PASS)


@dataclass(frozen=True)
class Check:
    """A sentence with its numbers, and what it means for the verdict."""

    answer: Answer
    reason: str
    numbers: Numbers = field(default_factory=dict)


def good(reason: str, **numbers: float | None) -> Check:
    """Return a check that allows a PASS."""
    return Check(Answer.PASS, reason, numbers)


def doubt(reason: str, **numbers: float | None) -> Check:
    """Return a check that says HOLD: it is not shown yet."""
    return Check(Answer.INCONCLUSIVE, reason, numbers)


def bad(reason: str, **numbers: float | None) -> Check:
    """Return a check that says FAIL."""
    return Check(Answer.FAIL, reason, numbers)


def verdict_of(checks: Iterable[Check]) -> Verdict:
    """Return FAIL if anything fails, else INCONCLUSIVE if anything is in doubt or nothing was looked at, else PASS.

    The decisive reasons come first.
    """
    told = list(checks) or [doubt("Nothing was looked at.")]
    ordered = [one for answer in _DECISIVE for one in told if one.answer is answer]
    return Verdict(
        answer=ordered[0].answer,
        reasons=tuple(one.reason for one in ordered),
        numbers={name: value for one in told for name, value in one.numbers.items()},
    )

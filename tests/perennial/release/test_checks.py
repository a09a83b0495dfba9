"""Several checks make one verdict: the worst decides and is told first."""

import pytest

from perennial.records import Answer
from perennial.release.checks import Check, bad, doubt, good, verdict_of

FINE, UNSHOWN, WORSE = good("fine", a=1.0), doubt("not shown", b=None), bad("worse", c=3.0)


@pytest.mark.parametrize(
    ("checks", "answer", "reasons"),
    [
        ([FINE], Answer.PASS, ("fine",)),
        ([FINE, UNSHOWN], Answer.INCONCLUSIVE, ("not shown", "fine")),
        ([FINE, UNSHOWN, WORSE], Answer.FAIL, ("worse", "not shown", "fine")),
        ([WORSE, bad("worse still"), FINE], Answer.FAIL, ("worse", "worse still", "fine")),
        ([], Answer.INCONCLUSIVE, ("Nothing was looked at.",)),
    ],
)
def test_the_worst_check_decides_and_is_told_first(
    checks: list[Check], answer: Answer, reasons: tuple[str, ...]
) -> None:
    verdict = verdict_of(checks)
    assert (verdict.answer, verdict.reasons) == (answer, reasons)


def test_all_numbers_are_kept_in_the_order_that_they_were_looked_at() -> None:
    assert list(verdict_of([FINE, UNSHOWN, WORSE]).numbers.items()) == [("a", 1.0), ("b", None), ("c", 3.0)]

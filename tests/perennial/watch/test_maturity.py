"""Labels that come late are waited for, once."""

from datetime import timedelta
from pathlib import Path

import pytest

from perennial.periods import Period
from perennial.records import Interval, Measured, Predicted, Released
from perennial.state import State
from perennial.use_case import UseCase
from perennial.watch.maturity import matured_periods
from tests.builders import make_use_case

MAY = Period.parse("2024-05")
DELAY = timedelta(days=30)


def of(value: float | None, rows: int = 9, scored: int = 9) -> Measured:
    return Measured(
        period=MAY.label,
        release=1,
        version=1,
        rows=scored,
        labels=0,
        performance={"roc_auc": Interval(value=value, rows=rows)},
        reference={},
        drift={},
        findings=(),
        report=None,
    )


def scored(rows: int = 9) -> Predicted:
    return Predicted(
        period=MAY.label, release=1, model="m1", version=1, snapshot=f"{MAY}.s", rows=rows, table_version=1
    )


@pytest.fixture
def use_case(tmp_path: Path) -> UseCase:
    declared = make_use_case(tmp_path).use_case
    return declared.model_copy(update={"label": declared.label.model_copy(update={"matures_after": DELAY})})


@pytest.mark.parametrize(("rows", "expected"), [(6, (MAY,)), (7, ())])
def test_a_period_of_which_the_first_days_alone_were_known_is_measured_again_as_a_whole(
    use_case: UseCase, rows: int, expected: tuple[Period, ...]
) -> None:
    state = State(predicted=[scored()], measured=[of(0.7, rows)], measured_at=[MAY.end])
    assert matured_periods(state, use_case, MAY.end + DELAY) == (), "it is not the work of the champion"
    state.released.append(Released(number=1, model="m1", version=1, replaces=None, reason="first"))
    state.released_at[1] = MAY.start
    assert matured_periods(state, use_case, MAY.end + DELAY) == expected


@pytest.mark.parametrize(
    ("value", "measured_after", "asked_after", "expected"),
    [
        (None, timedelta(0), DELAY, (MAY,)),
        (None, timedelta(0), DELAY - timedelta(seconds=1), ()),
        (0.7, timedelta(0), DELAY, ()),
        (None, DELAY, 2 * DELAY, ()),
    ],
)
def test_a_period_is_measured_again_once_its_labels_are_mature(
    use_case: UseCase,
    value: float | None,
    measured_after: timedelta,
    asked_after: timedelta,
    expected: tuple[Period, ...],
) -> None:
    state = State(predicted=[scored()], measured=[of(value)], measured_at=[MAY.end + measured_after])
    assert matured_periods(state, use_case, MAY.end + asked_after) == expected


@pytest.mark.parametrize(("predicted", "expected"), [([], ()), ([scored(0)], ()), ([scored(0), scored()], (MAY,))])
def test_a_period_that_was_measured_before_it_was_scored_is_measured_again(
    use_case: UseCase, predicted: list[Predicted], expected: tuple[Period, ...]
) -> None:
    state = State(predicted=predicted, measured=[of(None, scored=0)], measured_at=[MAY.end])
    assert matured_periods(state, use_case, MAY.end + DELAY) == expected

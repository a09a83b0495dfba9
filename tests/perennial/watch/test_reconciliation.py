"""What an event did not start is found in the journal."""

from datetime import timedelta

import pytest

from perennial.records import Entry, Measured, Record, RetrainingClaimed, RetrainingDecided
from perennial.state import fold
from perennial.watch.claims import LEASE, TRIES, Life
from perennial.watch.reconciliation import (
    REMEMBERED,
    SETTLED,
    is_remembered,
    is_settled,
    overdue,
    unasked,
)
from tests.builders import moment

AT = moment("2024-06-01")
NOW = moment("2026-11-24")
ASKED = RetrainingDecided(period="2024-05", release=1, action="retrain", reasons=("It has drifted.",))
MEASURED = Measured(
    period="2024-05",
    release=1,
    version=1,
    rows=10,
    labels=0,
    performance={},
    reference={},
    drift={},
    findings=(),
    report=None,
)


def written(*records: Record) -> list[Entry]:
    return [Entry(seq=number, previous="", at=AT, record=one) for number, one in enumerate(records, start=1)]


def claimed(number: int = 1) -> RetrainingClaimed:
    return RetrainingClaimed(request=1, number=number, holder=f"run-{number}", attempt=1, until=NOW + LEASE)


def test_a_measurement_is_unasked_until_the_policy_has_answered() -> None:
    question = unasked(written(MEASURED))
    assert question and (question[0].label, question[1].at) == ("2024-05", AT)
    assert unasked(written(MEASURED, ASKED)) is None
    assert unasked(written(ASKED, MEASURED)) is not None
    assert unasked(written()) is None


@pytest.mark.parametrize(
    ("claims", "life", "action"),
    [
        (0, None, "start"),
        (1, Life.ALIVE, None),
        (1, None, None),
        (1, Life.UNKNOWN, None),
        (1, Life.ENDED, "start"),
        (1, Life.LOST, "start"),
        (1, Life.CANCELLED, "abandon"),
        (TRIES - 1, Life.ENDED, "start"),
        (TRIES, Life.ENDED, "abandon"),
        (TRIES, Life.ALIVE, None),
    ],
)
def test_what_nobody_works_on_is_started_and_in_the_end_given_up(
    claims: int, life: Life | None, action: str | None
) -> None:
    state = fold(written(ASKED, *(claimed(number) for number in range(1, claims + 1))))
    lives = {f"run-{claims}": life} if life else {}
    found = overdue(state, lives, NOW)
    assert [one.action for one in found] == ([action] if action else [])
    assert all(one.reason for one in found)


def test_an_unknown_holder_is_waited_for_until_its_lease_ends() -> None:
    state = fold(written(ASKED, claimed()))
    assert overdue(state, {"run-1": Life.UNKNOWN}, NOW + LEASE - timedelta(seconds=1)) == []
    assert [one.action for one in overdue(state, {"run-1": Life.UNKNOWN}, NOW + LEASE)] == ["start"]


def test_what_was_just_written_may_be_a_step_of_a_run_that_goes_on() -> None:
    assert not is_settled(NOW - SETTLED + timedelta(seconds=1), NOW)
    assert is_settled(NOW - SETTLED, NOW)


def test_what_the_server_may_have_forgotten_is_no_news() -> None:
    assert is_remembered(NOW - REMEMBERED + timedelta(seconds=1), NOW)
    assert not is_remembered(NOW - REMEMBERED, NOW)

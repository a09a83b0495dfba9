"""Which runs are lost, and what is done about them, as a table."""

from datetime import timedelta

import pytest

from perennial.watch.lost_runs import FORGOTTEN, RESTARTS, Impatient, RunSeen, check_patience, mend
from tests.builders import moment

NOW = moment("2026-11-24")
PATIENCE = timedelta(minutes=15)
SHORT, LONG = NOW - timedelta(minutes=14), NOW - timedelta(minutes=15)


@pytest.mark.parametrize(
    ("seen", "action"),
    [
        (RunSeen("r", "RUNNING", LONG, heartbeat=SHORT), None),
        (RunSeen("r", "RUNNING", LONG, heartbeat=LONG), "crash"),
        (RunSeen("r", "RUNNING", SHORT, heartbeat=LONG), None),
        (RunSeen("r", "RUNNING", LONG), None),
        (RunSeen("r", "RUNNING", NOW - FORGOTTEN), "crash"),
        (RunSeen("r", "PENDING", SHORT), None),
        (RunSeen("r", "PENDING", LONG), "crash"),
        (RunSeen("r", "CRASHED", SHORT, crashes=1), None),
        (RunSeen("r", "CRASHED", LONG, crashes=1), "restart"),
        (RunSeen("r", "CRASHED", LONG, crashes=RESTARTS), "restart"),
        (RunSeen("r", "CRASHED", LONG, crashes=RESTARTS + 1), None),
        (RunSeen("r", "CRASHED", NOW - FORGOTTEN, crashes=1), None),
        (RunSeen("r", "RUNNING", SHORT, heartbeat=SHORT, parent_ended=True), "crash"),
        (RunSeen("r", "RUNNING", LONG, heartbeat=LONG, parent_ended=False), None),
    ],
)
def test_a_silent_run_is_crashed_and_a_crashed_one_run_again_a_bounded_number_of_times(
    seen: RunSeen, action: str | None
) -> None:
    mending = mend(seen, NOW, PATIENCE)
    assert (mending.action if mending else None) == action
    assert mending is None or (mending.run == "r" and mending.reason)


@pytest.mark.parametrize("seconds", [89.9, 0, -1, float("nan")])
def test_a_patience_that_would_crash_a_live_run_is_refused(seconds: float) -> None:
    assert check_patience(90, heartbeat=30) == timedelta(seconds=90)
    with pytest.raises(Impatient, match="at least 90, 3 heartbeats"):
        check_patience(seconds, heartbeat=30)


@pytest.mark.parametrize("seconds", [FORGOTTEN.total_seconds() + 1, 1e18, float("inf")])
def test_a_patience_that_would_never_end_is_refused(seconds: float) -> None:
    assert check_patience(FORGOTTEN.total_seconds(), heartbeat=30) == FORGOTTEN
    with pytest.raises(Impatient, match="at most 86400"):
        check_patience(seconds, heartbeat=30)


def test_reconcile_refuses_before_it_looks_at_any_run() -> None:
    from flows.reconciliation import reconcile

    with pytest.raises(Impatient, match="Nothing was changed"):
        reconcile.fn(patience=60)

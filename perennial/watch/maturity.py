"""Which periods have labels now that had too few when they were measured; it measures nothing."""

from datetime import datetime

from perennial.periods import Period
from perennial.records import Measured
from perennial.state import State
from perennial.use_case import UseCase


def matured_periods(state: State, use_case: UseCase, as_of: datetime) -> tuple[Period, ...]:
    """Return the periods to measure again, oldest first: their labels are mature, and their performance is unknown.

    A period whose labels were mature when it was measured is not asked for again: more will not come.

    Args:
        state: What the journal amounts to at `as_of`.
        use_case: Declares how long labels take.
        as_of: The moment, UTC.
    """
    delay, primary = use_case.label.matures_after, use_case.metrics.primary
    newest = {one.period: (one, at) for one, at in zip(state.measured, state.measured_at, strict=True)}
    waiting = [
        period
        for period, at in (
            (Period.parse(label), at) for label, (one, at) in newest.items() if not is_performance_known(one, primary)
        )
        if at < period.end + delay <= as_of
    ]
    return tuple(sorted(waiting, key=lambda one: one.start))


def is_performance_known(measured: Measured, primary: str) -> bool:
    """Say whether enough labels were known to measure the primary metric."""
    now = measured.performance.get(primary)
    return now is not None and now.value is not None

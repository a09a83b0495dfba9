"""Which periods have many more labels now than when they were measured; it measures nothing."""

from datetime import datetime

from perennial.periods import Period
from perennial.records import Measured
from perennial.state import State
from perennial.use_case import UseCase

MOST = 0.75
"""Share of the rows of a period that tell its performance: the few that are still to come would not change it much."""


def matured_periods(state: State, use_case: UseCase, as_of: datetime) -> tuple[Period, ...]:
    """Return the periods to measure again, oldest first: all their labels are mature, and too few were before.

    Too few are those on which performance is unknown, and of the champion's work those that are not most. A period
    whose labels were mature when it was measured, or of which nothing was scored, is not asked for again: more will not
    come.

    Args:
        state: What the journal amounts to at `as_of`.
        use_case: Declares how long labels take.
        as_of: The moment, UTC.
    """
    delay, primary = use_case.label.matures_after, use_case.metrics.primary
    champion = state.champion_before(as_of)
    serving = champion.number if champion else None

    def is_enough(one: Measured) -> bool:
        return rests_on_most(one, primary) if one.release == serving else is_performance_known(one, primary)

    newest = {one.period: (one, at) for one, at in zip(state.measured, state.measured_at, strict=True)}
    scored = {one.period for one in state.predicted if one.rows}
    waiting = {Period.parse(label): at for label, (one, at) in newest.items() if label in scored and not is_enough(one)}
    matured = [period for period, at in waiting.items() if at < period.end + delay <= as_of]
    return tuple(sorted(matured, key=lambda one: one.start))


def rests_on_most(measured: Measured, primary: str) -> bool:
    """Say whether so many labels were known that the others would hardly change the primary metric."""
    return is_performance_known(measured, primary) and measured.performance[primary].rows >= MOST * measured.rows


def is_performance_known(measured: Measured, primary: str) -> bool:
    """Say whether enough labels were known to measure the primary metric."""
    now = measured.performance.get(primary)
    return now is not None and now.value is not None

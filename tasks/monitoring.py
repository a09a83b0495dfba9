"""The tasks of measuring a scored period and of deciding what follows from it."""

from datetime import datetime

from perennial.periods import Period
from perennial.records import Measured, RetrainingDecided
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task


@task(**policies.COMPUTING, task_run_name="measure {period}")
def measure_period(workspace: Workspace, period: Period, as_of: datetime) -> Measured:
    """Measure drift, contract violations and performance on the labels known by then, and store the numbers."""
    from perennial.watch.monitoring import measure

    return measure(workspace, period, as_of)


@task(**policies.DECIDING, task_run_name="decide on retraining after {period}")
def decide_on_retraining(workspace: Workspace, period: Period, as_of: datetime) -> RetrainingDecided:
    """Ask the use case's policy whether a challenger is due, and record its answer."""
    from perennial.watch.policy import record_decision

    return record_decision(workspace, period, as_of)

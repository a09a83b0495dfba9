"""The task of reading a delivery; what a delivery is, `perennial.data` knows."""

from datetime import datetime

from perennial.periods import Period
from perennial.records import Received
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task


@task(**policies.READING, task_run_name="receive {source} {period}")
def receive_delivery(workspace: Workspace, source: str, period: Period, as_of: datetime) -> Received:
    """Read the rows of a period from a source and land them as they came; the same rows again are a no-op."""
    from perennial.data.landing import receive

    return receive(workspace, source, period, as_of)

"""The task of judging a delivery by its contract; the contract and its reasons are `perennial.data`'s."""

from datetime import datetime

from perennial.records import Accepted, Received
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task


@task(**policies.COMPUTING, task_run_name="accept {received.source} {received.period}")
def accept_delivery(workspace: Workspace, received: Received, as_of: datetime) -> Accepted:
    """Move good rows to the lake and bad ones to quarantine, or refuse the delivery whole."""
    from perennial.data.acceptance import accept

    return accept(workspace, received, as_of)

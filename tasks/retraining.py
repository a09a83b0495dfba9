"""The tasks of claiming a retraining and of ending it; what became of other runs is asked from Prefect here."""

from datetime import datetime
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from perennial.periods import Period
from perennial.records import RetrainingClaimed, RetrainingEnded
from perennial.retraining import Outcome
from perennial.watch.claims import Life, Runner, Suppressed
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task


@task(**policies.DECIDING, task_run_name="claim the retraining after {period}")
def claim_retraining(
    workspace: Workspace, period: Period, as_of: datetime, again: bool = False
) -> RetrainingClaimed | Suppressed:
    """Take what was asked for upon this run, or say why not."""
    from perennial.watch.claims import claim, request_of

    with get_client(sync_client=True) as client:
        request = request_of(workspace.state(), period, as_of)
        held = request.claim if request else None
        lives = {held.holder: life_of(client, held.holder)} if held else {}
        return claim(workspace, period, as_of, _this_run(client), lives, again)


@task(**policies.DECIDING, task_run_name="end the retraining: {outcome}")
def end_retraining(workspace: Workspace, claimed: RetrainingClaimed, outcome: Outcome, reason: str) -> RetrainingEnded:
    """Record how the retraining ended, if this run still holds it."""
    from perennial.watch.claims import end

    return end(workspace, claimed, outcome, reason)


def life_of(client: SyncPrefectClient, holder: str) -> Life:
    """Ask the server what became of a run."""
    try:
        run = client.read_flow_run(UUID(holder))
    except ObjectNotFound:
        return Life.UNKNOWN
    if run.state and run.state.is_cancelled():
        return Life.CANCELLED
    return Life.ENDED if run.state and run.state.is_final() else Life.ALIVE


def _this_run(client: SyncPrefectClient) -> Runner:
    run = client.read_flow_run(UUID(flow_run.root_flow_run_id or flow_run.id))
    assert run.state
    return Runner(str(run.id), run.run_count, run.state.timestamp)

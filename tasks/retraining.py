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
        me = _this_run(client)
        lives = {held.holder: life_of(client, workspace, held.holder, me.now)} if held else {}
        return claim(workspace, period, as_of, me, lives, again)


@task(**policies.DECIDING, task_run_name="end the retraining: {outcome}")
def end_retraining(workspace: Workspace, claimed: RetrainingClaimed, outcome: Outcome, reason: str) -> RetrainingEnded:
    """Record how the retraining ended, if this run still holds it."""
    from perennial.watch.claims import end

    return end(workspace, claimed, outcome, reason)


def life_of(client: SyncPrefectClient, workspace: Workspace, holder: str, now: datetime) -> Life:
    """Ask the server what became of a run, and its signs of life where the server cannot know that it was killed.

    A run of a deployment that waits for a worker needs to give no sign.
    """
    from perennial.watch.signs_of_life import life_by_signs

    try:
        run = client.read_flow_run(UUID(holder))
    except ObjectNotFound:
        return life_by_signs(workspace, holder, now)
    assert run.state
    if run.state.is_final():
        return Life.CANCELLED if run.state.is_cancelled() else Life.ENDED
    waits = run.state.is_scheduled() or run.state.is_pending() or run.state.is_paused()
    return Life.ALIVE if waits and run.deployment_id else life_by_signs(workspace, holder, now)


def holder_of_claims() -> str:
    """Return who holds what this run claims: the run with infrastructure of its own that it is a part of."""
    return str(flow_run.root_flow_run_id or flow_run.id)


def _this_run(client: SyncPrefectClient) -> Runner:
    run = client.read_flow_run(UUID(holder_of_claims()))
    assert run.state
    return Runner(str(run.id), run.run_count, run.state.timestamp)

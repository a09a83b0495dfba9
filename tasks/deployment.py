"""The tasks of releasing a version and of withdrawing one; whether it may serve, the gate has said before."""

from datetime import datetime

from perennial.records import Judged, Released, RolloutStarted
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task


@task(**policies.COMPUTING, task_run_name="release version {judged.version}")
def release_version(workspace: Workspace, judged: Judged, as_of: datetime, now: datetime) -> Released | RolloutStarted:
    """Check that a version loads, and let it serve if the gate passed it, or begin the trial that is declared."""
    from perennial.release.rollout import begin

    return begin(workspace, judged, as_of, now)


@task(**policies.COMPUTING, task_run_name="withdraw the champion")
def withdraw_release(workspace: Workspace, reason: str, as_of: datetime) -> Released:
    """Withdraw the champion and release the last earlier version that passed the gate and still loads."""
    from perennial.release.releases import rollback

    return rollback(workspace, reason, as_of)

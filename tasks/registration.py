"""The tasks of registering a trained model and judging it; evidence and gate are `perennial`'s."""

from datetime import datetime

from perennial.records import Judged, Registered, Trained
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task


@task(**policies.TALKING, task_run_name="register {trained.candidate} {trained.model:.8}")
def register_model(workspace: Workspace, trained: Trained, as_of: datetime) -> Registered:
    """Give a trained model its version in the registry, with all its evidence, once."""
    from perennial.model.registry import register

    return register(workspace, trained, as_of)


@task(**policies.COMPUTING, task_run_name="judge {trained.candidate} {trained.model:.8}")
def judge_challenger(workspace: Workspace, trained: Trained, as_of: datetime) -> Judged:
    """Ask the gate whether a registered model may replace the champion, once per opponent."""
    from perennial.release.judging import judge_challenger as judge

    return judge(workspace, trained, as_of)


@task(**policies.TALKING)
def project_aliases(workspace: Workspace) -> tuple[str, ...]:
    """Let the registry's aliases and tags say what the journal says; returns what had to change."""
    from perennial.model.registry import project_aliases as project

    return project(workspace)

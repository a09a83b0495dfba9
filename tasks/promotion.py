"""The tasks of taking a model over from another environment; what is copied and checked, `perennial.release` knows."""

from datetime import datetime
from typing import Any

from prefect.input import keyset_from_base_key
from prefect.input.actions import read_flow_run_input
from prefect.runtime import flow_run

from perennial.records import Answered, Promoted
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task


@task(**policies.COMPUTING, task_run_name="receive version {version} of {source.settings.environment}")
def receive_model(workspace: Workspace, source: Workspace, version: int | None, as_of: datetime) -> Promoted:
    """Copy a version with its evidence, and prepare what it is to be judged on here, once."""
    from perennial.release.promotion import receive_model as receive

    return receive(workspace, source, version, as_of)


@task(**policies.DECIDING, task_run_name="record the answer of {answered.who}")
def record_answer(workspace: Workspace, answered: Answered, at: datetime) -> Answered:
    """Write down who let a promoted version serve, or did not."""
    from perennial.release.promotion import record_answer as record

    return record(workspace, answered, at)


def answer_heard_by_nobody(question: str) -> dict[str, Any] | None:
    """Return what an earlier attempt of this run was answered to the same question, and died before it heard it."""
    for attempt in reversed(range(1, flow_run.run_count)):
        keys = keyset_from_base_key(f"paused-{attempt}")
        given: Any = read_flow_run_input(keys["response"])
        if given and read_flow_run_input(keys["description"]) == question:
            return dict(given)
    return None

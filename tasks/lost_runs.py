"""The task that finds runs whose process is gone and frees their slots; what to do, `perennial.watch` decides."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed, Scheduled

from perennial.errors import Permanent
from perennial.watch.lost_runs import FORGOTTEN, RunSeen, mend
from tasks import policies
from tasks.making_good import MadeGood
from tasks.policies import task
from tasks.server import all_runs, began, events
from tasks.starting import deployed


class NotMended(Permanent):
    """Some runs could not be looked after; the others were."""


@task(**policies.TALKING, task_run_name="mend lost runs")
def mend_runs(environment: str, patience: timedelta) -> list[str]:
    """Mark lost runs as crashed and start crashed ones again; returns what was done.

    Raises:
        NotMended: The server said no to something about a run. All other runs were looked after.
    """
    made = MadeGood()
    with get_client(sync_client=True) as client:
        now = began(client)
        for run in _runs(client, environment, now):
            made.attempt(f"run `{run.name}`", partial(_mend, client, run, now, patience))
    if made.failed:
        raise NotMended(" ".join([*made.done, *made.failed]))
    return made.done


def _mend(client: SyncPrefectClient, run: FlowRun, now: datetime, patience: timedelta) -> list[str]:
    mending = mend(_seen(client, run), now, patience)
    if mending is None:
        return []
    crashes = mending.action == "crash"
    state: State[None] = Crashed(message=mending.reason) if crashes else Scheduled(message=mending.reason)
    client.set_flow_run_state(run.id, state, force=True)
    return [f"{mending.action} `{run.name}`: {mending.reason}"]


def _runs(client: SyncPrefectClient, environment: str, now: datetime) -> list[FlowRun]:
    """Return the runs of the environment's deployments, this one apart, and then the running parts of runs.

    However long ago a run began, it holds its slot until somebody ends it; one that crashed is history some day.
    """
    ours = deployed(environment)
    unfinished = all_runs(client, _in_state("PENDING", "RUNNING"), ours)
    recent = {"expected_start_time": {"after_": now - 2 * FORGOTTEN}}
    crashed = all_runs(client, {**_in_state("CRASHED"), **recent}, ours)
    parts = all_runs(client, {**_in_state("RUNNING"), "tags": {"all_": [environment]}})
    return [
        *(one for one in (*unfinished, *crashed) if str(one.id) != flow_run.id),
        *(one for one in parts if one.parent_task_run_id and one.parameters.get("use_case") in one.tags),
    ]


def _in_state(*types: str) -> dict[str, Any]:
    return {"state": {"type": {"any_": list(types)}}}


def _seen(client: SyncPrefectClient, run: FlowRun) -> RunSeen:
    assert run.state
    about = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run.id}"]}}
    beats = events(client, about, limit=1)
    states = client.read_flow_run_states(run.id)
    return RunSeen(
        run=str(run.id),
        state=run.state.type.value,  # type: ignore[arg-type]
        since=run.state.timestamp,
        heartbeat=datetime.fromisoformat(beats[0]["occurred"]) if beats else None,
        crashes=sum(one.type.value == "CRASHED" for one in states),
        parent_ended=_parent_ended(client, run),
    )


def _parent_ended(client: SyncPrefectClient, run: FlowRun) -> bool | None:
    """Say whether the run that this is a part of has ended; one that was deleted waits for nothing either."""
    if run.parent_task_run_id is None:
        return None
    try:
        parent = client.read_task_run(run.parent_task_run_id).flow_run_id
        state = client.read_flow_run(parent).state if parent else None
    except ObjectNotFound:
        return True
    return bool(state and state.is_final())

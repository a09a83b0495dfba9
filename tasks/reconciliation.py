"""The tasks that make good what events did not do, and that find lost runs; what to do, `perennial.watch` decides."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run
from prefect.states import Crashed, Scheduled

from perennial.periods import Period
from perennial.retraining import Outcome
from perennial.watch.claims import TRIES, Suppressed
from perennial.watch.lost_runs import FORGOTTEN, RunSeen, mend
from perennial.watch.reconciliation import Overdue, is_remembered, latest_news, overdue, unasked
from perennial.workspace import Workspace
from tasks import policies
from tasks.events import announce, event_id
from tasks.hosting import is_hosted
from tasks.news import News, news_of
from tasks.policies import task
from tasks.retraining import claim_retraining, life_of
from tasks.starting import deployed, is_under_way, start_once

_PAGE = 50
"""As many events as the server returns at once."""


@task(**policies.TALKING, task_run_name="mend lost runs")
def mend_runs(environment: str, patience: timedelta) -> list[str]:
    """Mark lost runs as crashed and start crashed ones again; returns what was done."""
    done = []
    with get_client(sync_client=True) as client:
        now = _now(client)
        for run in _runs(client, environment, now):
            mending = mend(_seen(client, run), now, patience)
            if mending is None:
                continue
            crashes = mending.action == "crash"
            state: State[None] = Crashed(message=mending.reason) if crashes else Scheduled(message=mending.reason)
            client.set_flow_run_state(run.id, state, force=True)
            done.append(f"{mending.action} `{run.name}`: {mending.reason}")
    return done


@task(**policies.TALKING, task_run_name="start what is overdue")
def start_overdue(workspace: Workspace) -> list[str]:
    """Ask the policy what nobody asked it, and start or give up each retraining that nobody works on."""
    from perennial.watch.policy import record_decision

    question = unasked(workspace.journal.entries())
    if question:
        record_decision(workspace, *question)
    state = workspace.state()
    with get_client(sync_client=True) as client:
        holders = {one.claim.holder for one in state.requests.values() if one.is_open and one.claim}
        now = _now(client)
        lives = {holder: life_of(client, workspace, holder, now) for holder in holders}
        found = overdue(state, lives, now)
        done = [_start(client, workspace, one) if one.action == "start" else _abandon(workspace, one) for one in found]
    return [one for one in done if one]


@task(**policies.TALKING, task_run_name="follow what is on trial")
def follow_rollout(workspace: Workspace) -> list[str]:
    """Start a run that follows the version on trial where none does; what becomes of it, the guards decide anyway."""
    slug, rollout = workspace.use_case.slug, workspace.state().rollout
    if rollout is None:
        return []
    deployment, number = f"roll-out/{workspace.settings.environment}", rollout.started.number
    with get_client(sync_client=True) as client:
        if is_under_way(client, workspace, "roll-out"):
            return []
        how = start_once(client, workspace, deployment, {"use_case": slug}, f"{deployment}/{slug}/{number}")
    if how == "used up":
        return [f"nobody follows the trial of version {rollout.started.version}: {TRIES} runs that did have ended"]
    return [f"follow the trial of version {rollout.started.version}"] if how == "started" else []


@task(**policies.TALKING, task_run_name="look after the service's cluster")
def start_hosting(workspace: Workspace) -> list[str]:
    """Start a run that lets the cluster follow, where none does: this one may not ask the cluster itself."""
    slug, deployment = workspace.use_case.slug, f"host/{workspace.settings.environment}"
    if not is_hosted(workspace):
        return []
    with get_client(sync_client=True) as client:
        if not is_under_way(client, workspace, "host"):
            what = f"{deployment}/{slug}/{_now(client):%Y%m%d%H%M}"
            start_once(client, workspace, deployment, {"use_case": slug}, what)
    return []


@task(**policies.TALKING, task_run_name="tell what was lost")
def tell_again(workspace: Workspace) -> list[str]:
    """Announce the newest news again where the server has no event of them, as of when they happened.

    What is older than the server's memory is no news: nobody can say whether it was told.
    """
    news: dict[str, tuple[News, datetime]] = {}
    with get_client(sync_client=True) as client:
        now = _now(client)
        for entry in latest_news(workspace.journal.entries()):
            written = workspace.journal.written_at(entry)
            told = news_of(entry.record, entry.at) if is_remembered(written, now) else []
            news |= {str(event_id(workspace, one.event, one.about)): (one, written) for one in told}
        known = _known(client, list(news))
    lost = [one for key, one in news.items() if key not in known]
    for one, written in lost:
        announce(workspace, one.event, one.about, one.payload, written)
    return [f"tell `{one.event}` again: {one.about}" for one, _ in lost]


def _known(client: SyncPrefectClient, wanted: list[str]) -> set[str]:
    """Return which events of some ids the server has; it answers so many at a time."""
    pages = [wanted[start : start + _PAGE] for start in range(0, len(wanted), _PAGE)]
    return {one["id"] for page in pages for one in _events(client, {"id": {"id": page}}, len(page))}


def _start(client: SyncPrefectClient, workspace: Workspace, due: Overdue) -> str | None:
    """Start a run for each time the request was taken up; where as many as may be ended in vain, give it up."""
    request, slug, deployment = due.request, workspace.use_case.slug, f"retrain/{workspace.settings.environment}"
    parameters = {"use_case": slug, "period": request.decided.period, "as_of": request.at.isoformat()}
    what = f"{deployment}/{slug}/{request.number}/{len(request.claims)}"
    how = start_once(client, workspace, deployment, {**parameters, "reason": due.reason}, what)
    if how == "used up":
        reason = f"{due.reason} {TRIES} runs of `{deployment}` were started for it, and each ended before it did."
        return _abandon(workspace, replace(due, reason=reason))
    return f"start the retraining of entry {request.number}: {due.reason}" if how == "started" else None


def _abandon(workspace: Workspace, due: Overdue) -> str | None:
    """Give a retraining up, unless somebody took it up just now: who ends it has to hold it."""
    from perennial.watch.claims import end

    request = due.request
    held = request.claim or claim_retraining(workspace, Period.parse(request.decided.period), request.at)
    if isinstance(held, Suppressed):
        return None
    end(workspace, held, Outcome.ABANDONED, due.reason)
    told = {"period": request.decided.period, "as_of": request.at.isoformat(), "reason": due.reason}
    announce(workspace, "retraining.abandoned", f"{request.number}/{held.number}", told)
    return f"abandon the retraining of entry {request.number}: {due.reason}"


def _now(client: SyncPrefectClient) -> datetime:
    """Return when this run began, by the server's clock."""
    state = client.read_flow_run(UUID(flow_run.id)).state
    assert state
    return state.timestamp


def _runs(client: SyncPrefectClient, environment: str, now: datetime) -> Iterator[FlowRun]:
    """Yield the runs of the environment's deployments, this one apart, and then the running parts of runs."""
    recent = {"expected_start_time": {"after_": now - 2 * FORGOTTEN}}
    wanted: dict[str, Any] = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CRASHED"]}}, **recent}
    ours = deployed(environment)
    tops = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted), deployment_filter=ours)
    yield from (one for one in tops if str(one.id) != flow_run.id)
    parts: dict[str, Any] = {"state": {"type": {"any_": ["RUNNING"]}}, "tags": {"all_": [environment]}, **recent}
    running = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(parts))
    yield from (one for one in running if one.parent_task_run_id and one.parameters.get("use_case") in one.tags)


def _seen(client: SyncPrefectClient, run: FlowRun) -> RunSeen:
    assert run.state
    beats = _events(
        client,
        {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run.id}"]}},
        1,
    )
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
    if run.parent_task_run_id is None:
        return None
    parent = client.read_task_run(run.parent_task_run_id).flow_run_id
    state = client.read_flow_run(parent).state if parent else None
    return bool(state and state.is_final())


def _events(client: SyncPrefectClient, wanted: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    body = {"filter": {"occurred": {}, "order": "DESC", **wanted}, "limit": limit}
    found: list[dict[str, Any]] = client.request("POST", "/events/filter", json=body).json()["events"]
    return found

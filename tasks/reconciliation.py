"""The tasks that make good what events did not start; what to start, `perennial.watch` decides."""

from dataclasses import replace

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient

from perennial.periods import Period
from perennial.records import Entry
from perennial.retraining import Outcome
from perennial.watch.claims import TRIES, Suppressed
from perennial.watch.reconciliation import Overdue, is_settled, overdue, unasked
from perennial.watch.unjudged import unjudged
from perennial.workspace import Workspace
from tasks import policies
from tasks.events import tell
from tasks.hosting import is_hosted
from tasks.policies import task
from tasks.retraining import claim_retraining, life_of
from tasks.server import began
from tasks.starting import Start, is_under_way, start_once


@task(**policies.TALKING, task_run_name="validate what nobody judged")
def start_validations(workspace: Workspace) -> list[str]:
    """Start a validation of each period whose newest delivery nobody judged, once: it ends as it would by the event."""
    journal, sources = workspace.journal, workspace.use_case.sources
    with get_client(sync_client=True) as client:
        now = began(client)
        found = unjudged(journal.entries(), sources)
        due = {period: entry for period, entry in found.items() if is_settled(journal.written_at(entry), now)}
        if not due or is_under_way(client, workspace, "validate"):
            return []
        started = [period for period, entry in due.items() if _validate(client, workspace, period, entry) == "started"]
    return [f"validate the delivery of {period}, which nobody judged" for period in started]


@task(**policies.TALKING, task_run_name="start what is overdue")
def start_overdue(workspace: Workspace) -> list[str]:
    """Ask the policy what nobody asked it, and start or give up each retraining that nobody works on."""
    from perennial.watch.policy import record_decision

    with get_client(sync_client=True) as client:
        now, question = began(client), unasked(workspace.journal.entries())
        if question and is_settled(workspace.journal.written_at(question[1]), now):
            period, measured = question
            record_decision(workspace, period, measured.at)
        state = workspace.state()
        holders = {one.claim.holder for one in state.requests.values() if one.is_open and one.claim}
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
            what = f"{deployment}/{slug}/{began(client):%Y%m%d%H%M}"
            start_once(client, workspace, deployment, {"use_case": slug}, what)
    return []


def _validate(client: SyncPrefectClient, workspace: Workspace, period: str, received: Entry) -> Start:
    slug, deployment = workspace.use_case.slug, f"validate/{workspace.settings.environment}"
    parameters = {"use_case": slug, "period": period, "as_of": received.at.isoformat()}
    return start_once(client, workspace, deployment, parameters, f"{deployment}/{slug}/{received.seq}", tries=1)


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
    tell(workspace, end(workspace, held, Outcome.ABANDONED, due.reason), request.at)
    return f"abandon the retraining of entry {request.number}: {due.reason}"

"""The task that tells again what the server never heard; what is news, `tasks.news` knows."""

from datetime import datetime

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from perennial.release.releases import approval_of
from perennial.state import State
from perennial.watch.reconciliation import is_remembered
from perennial.workspace import Workspace
from tasks import policies
from tasks.events import announce, event_id
from tasks.news import News, latest_news, news_of, question_of
from tasks.policies import task
from tasks.server import EVENTS, all_runs, began, events


@task(**policies.TALKING, task_run_name="tell what was lost")
def tell_again(workspace: Workspace) -> list[str]:
    """Announce the newest news, and what waits for a person, again where the server has no event of them.

    They are told as of when they happened. What is older than the server's memory is no news: nobody can say whether
    it was told.
    """
    with get_client(sync_client=True) as client:
        now = began(client)
        found = [*_of_journal(workspace), *_of_questions(client, workspace, now)]
        news = {
            str(event_id(workspace, one.event, one.about)): (one, at) for one, at in found if is_remembered(at, now)
        }
        known = _known(client, list(news))
    lost = [one for key, one in news.items() if key not in known]
    for one, at in lost:
        announce(workspace, *one, at)
    return [f"tell `{one.event}` again: {one.about}" for one, _ in lost]


def _of_journal(workspace: Workspace) -> list[tuple[News, datetime]]:
    entries = latest_news(workspace.journal.entries())
    written = {entry.seq: workspace.journal.written_at(entry) for entry in entries}
    return [(one, written[entry.seq]) for entry in entries for one in news_of(entry.record, entry.at)]


def _of_questions(client: SyncPrefectClient, workspace: Workspace, now: datetime) -> list[tuple[News, datetime]]:
    """Return what promotions that wait ask a person, as of when they began to wait."""
    wanted = {"state": {"type": {"any_": ["PAUSED"]}}, "tags": {"all_": [workspace.settings.environment]}}
    runs = [one for one in all_runs(client, wanted) if one.parameters.get("use_case") == workspace.use_case.slug]
    asked = [(_question(workspace.state(), one), one.state) for one in runs if _waits(one, now)]
    return [(news, state.timestamp) for news, state in asked if news and state]


def _waits(run: FlowRun, now: datetime) -> bool:
    until = run.state.state_details.pause_timeout if run.state else None
    return until is not None and now < until


def _question(state: State, run: FlowRun) -> News | None:
    """Return what a run of `promote` asks: of the newest verdict on what it promotes that nobody has answered."""
    source, version = run.parameters.get("source"), run.parameters.get("version")
    for judged in reversed(state.judged):
        promoted = state.promoted.get(judged.model)
        is_it = promoted and promoted.source.environment == source and version in (None, promoted.source.version)
        if promoted and is_it and approval_of(judged, state) is None:
            return question_of(judged, promoted, str(run.id))
    return None


def _known(client: SyncPrefectClient, wanted: list[str]) -> set[str]:
    """Return which events of some ids the server has; it answers so many at a time."""
    pages = [wanted[start : start + EVENTS] for start in range(0, len(wanted), EVENTS)]
    return {one["id"] for page in pages for one in events(client, {"id": {"id": page}}, len(page))}

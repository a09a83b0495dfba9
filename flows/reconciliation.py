"""Reconcile: let the world follow the journal again, and start what an event did not."""

from pathlib import Path

from prefect import flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from blocks.environment import current_settings
from flows.entry import now
from flows.occasion import occasion
from flows.policy import POLICY
from perennial.errors import PerennialError, Permanent
from perennial.use_case_file import use_case_slugs
from perennial.watch.lost_runs import check_patience
from tasks.artifacts import publish_markdown
from tasks.reconciliation import follow_rollout, mend_runs, start_hosting, start_overdue, tell_again
from tasks.registration import project_aliases
from tasks.rollout import correct_predictions, guard_release, show_corrections

SLOWEST_HEARTBEAT = 180
"""Seconds between the heartbeats of runs where nothing says otherwise, as Prefect has it by default."""


class NotReconciled(Permanent):
    """Some use cases could not be reconciled; the others were."""


@flow(**POLICY, description="Let all that follows the journal follow it, and start what an event did not.")
def reconcile(use_case: str | None = None, patience: float = 900) -> list[str]:
    """Make good what was lost, for one use case or all; doing it again changes nothing.

    1. Free the slots of lost runs, and start crashed ones again, a bounded number of times.
    2. Take the steps of a trial or rollback that are due, and let the registry's aliases say what the journal says.
    3. Start every retraining, and follow every trial and cluster, that nobody works on.
    4. Score again what withdrawn releases wrote.
    5. Tell again the newest news that the server never heard.

    `patience` is how many seconds a run may be silent before it counts as lost: at least three heartbeats.
    """
    allowed = check_patience(patience, PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() or SLOWEST_HEARTBEAT)
    settings = current_settings()
    done = mend_runs(settings.environment, allowed)
    failed = []
    for slug in [use_case] if use_case else use_case_slugs(Path(settings.use_cases)):
        try:
            done += _follow(slug)
        except PerennialError as error:
            failed.append(f"`{slug}`: {error}")
    publish_markdown(use_case or "all", "reconciliation", _report(done), f"{len(done)} things made good")
    if failed:
        raise NotReconciled(" ".join(failed))
    return done


def _follow(slug: str) -> list[str]:
    with occasion(slug) as this:
        guarded = guard_release(this.workspace, now())
        done = [*guarded.steps, *(f"move the alias: {one}" for one in project_aliases(this.workspace))]
        done += [*start_overdue(this.workspace), *follow_rollout(this.workspace), *start_hosting(this.workspace)]
        done += show_corrections(this.workspace, correct_predictions(this.workspace, this.as_of), this.as_of)
        done += tell_again(this.workspace)
        if guarded.trouble:
            raise NotReconciled(guarded.trouble)
        return [f"`{slug}`: {one}" for one in done]


def _report(done: list[str]) -> str:
    lines = "\n".join(f"- {one}" for one in done)
    return f"## Reconciliation\n\n{lines or 'Everything follows the journal.'}"

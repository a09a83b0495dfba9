"""Reconcile: let the world follow the journal again, and start what an event did not."""

from functools import partial
from pathlib import Path

from prefect import flow
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from blocks.environment import current_settings
from flows.entry import main, now
from flows.occasion import occasion
from flows.policy import POLICY
from perennial.errors import Permanent
from perennial.use_case_file import use_case_slugs
from perennial.watch.lost_runs import check_patience
from perennial.workspace import Workspace
from tasks.artifacts import publish_markdown
from tasks.lost_runs import mend_runs
from tasks.making_good import MadeGood, Part
from tasks.reconciliation import follow_rollout, start_hosting, start_overdue, start_validations
from tasks.registration import project_aliases
from tasks.retelling import tell_again
from tasks.rollout import correct_predictions, guard_release, show_corrections


class NotReconciled(Permanent):
    """Some use cases could not be reconciled; the others were."""


@flow(**POLICY, description="Let all that follows the journal follow it, and start what an event did not.")
def reconcile(use_case: str | None = None, patience: float = 900) -> list[str]:
    """Make good what was lost, for one use case or all; doing it again changes nothing.

    1. Free the slots of lost runs, and start crashed ones again, a bounded number of times.
    2. Take the steps of a trial or rollback that are due.
    3. Validate what nobody judged; start every retraining, and follow every trial and cluster, that nobody works on.
    4. Score again what withdrawn releases wrote.
    5. Tell again the newest news, and what waits for a person, where the server never heard of it.
    6. Let the registry's aliases say what the journal says.

    What failed fails the run after all parts. A run that is silent for `patience` seconds counts as lost.
    """
    allowed = check_patience(patience, PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value())
    settings, made = current_settings(), MadeGood()
    made.attempt("lost runs", lambda: mend_runs(settings.environment, allowed))
    for slug in [use_case] if use_case else use_case_slugs(Path(settings.use_cases)):
        made.attempt(f"`{slug}`", partial(_follow, slug, made))
    publish_markdown(use_case or "all", "reconciliation", made.report(), f"{len(made.done)} things made good")
    if made.failed:
        raise NotReconciled(" ".join(made.failed))
    return made.done


def _follow(slug: str, made: MadeGood) -> list[str]:
    with occasion(slug) as this:
        ws, as_of = this.workspace, this.as_of
        parts: dict[str, Part] = {
            "what serves": partial(_guard, ws),
            "deliveries": partial(start_validations, ws),
            "retrainings": partial(start_overdue, ws),
            "the trial": partial(follow_rollout, ws),
            "the service's cluster": partial(start_hosting, ws),
            "corrections": lambda: show_corrections(ws, correct_predictions(ws, as_of), as_of),
            "news": partial(tell_again, ws),
            "the registry": lambda: [f"move the alias: {one}" for one in project_aliases(ws)],
        }
        for about, part in parts.items():
            made.attempt(f"`{slug}`, {about}", part, prefix=f"`{slug}`: ")
    return []


def _guard(workspace: Workspace) -> list[str]:
    guarded = guard_release(workspace, now())
    if guarded.trouble:
        raise NotReconciled(" ".join([*guarded.steps, guarded.trouble]))
    return guarded.steps


if __name__ == "__main__":
    main(reconcile)

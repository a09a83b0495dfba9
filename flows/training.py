"""Train: fit every declared candidate on what was known at a moment, and keep the best."""

from datetime import datetime

from prefect import flow

from flows.entry import main
from flows.occasion import Occasion, occasion
from flows.policy import POLICY
from perennial.records import Trained
from tasks.artifacts import candidate_rows, following, publish_markdown, publish_table, training_report
from tasks.events import announce
from tasks.training import fit_candidate, keep_best, plan_training


@flow(**POLICY, description="Fit every declared candidate on what was known at a moment, and keep the best.")
def train(use_case: str, period: str | None = None, as_of: datetime | None = None) -> Trained:
    """Make a challenger.

    1. Plan: windows, snapshots of features, digests; features that are missing are computed.
    2. Fit the candidates on the older rows, choose their settings on later ones, score them on the newest.
    3. Keep the best, with all that reproduces it.

    The windows are counted back from `as_of`; `period` only names the run.
    """
    with occasion(use_case, period, as_of) as this:
        trained = _train(this)
        publish_table(use_case, "candidates", candidate_rows(trained), "Candidates on the holdout")
        publish_markdown(use_case, "training", training_report(trained), f"Kept `{trained.candidate}`")
        announce(this.workspace, "model.trained", trained.key, {"model": trained.model, "candidate": trained.candidate})
        return trained


def _train(this: Occasion) -> Trained:
    plan = plan_training(this.workspace, this.as_of)
    known = [one for one in this.workspace.state().trained if one.key == plan.key]
    if known:
        return known[-1]
    names = list(this.workspace.use_case.training.candidates)
    candidates = following(this.slug, "training-progress", names, "Candidates fitted")
    fits = [fit_candidate(this.workspace, plan, name) for name in candidates]
    return keep_best(this.workspace, plan, fits, this.as_of)


if __name__ == "__main__":
    main(train)

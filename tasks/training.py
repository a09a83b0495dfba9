"""The tasks of training: plan it, fit each candidate, keep the best; all of it is done in `perennial.model`."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.records import CandidateFit, Trained
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task

if TYPE_CHECKING:
    from perennial.model.plan import TrainingPlan


@task(**policies.COMPUTING, task_run_name="plan the training as of {as_of:%Y-%m-%d}")
def plan_training(workspace: Workspace, as_of: datetime) -> "TrainingPlan":
    """Fix windows, snapshots and digests of a training, computing the features that are missing."""
    from perennial.model.training import plan_training as plan

    return plan(workspace, as_of)


@task(**policies.COMPUTING, task_run_name="fit {name}")
def fit_candidate(workspace: Workspace, plan: "TrainingPlan", name: str) -> CandidateFit:
    """Fit one candidate, score it on the holdout and save its artifact."""
    from perennial.model.training import fit_candidate as fit

    return fit(workspace, plan, name)


@task(**policies.COMPUTING, task_run_name="keep the best as of {as_of:%Y-%m-%d}")
def keep_best(workspace: Workspace, plan: "TrainingPlan", fits: Sequence[CandidateFit], as_of: datetime) -> Trained:
    """Audit the features for leaks, keep the best candidate and record the training."""
    from perennial.model.training import keep_best as keep

    return keep(workspace, plan, fits, as_of)

"""The task of computing features, which training and prediction need; the query is the use case's."""

from datetime import datetime

from perennial.periods import Period
from perennial.records import FeaturesBuilt
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task


@task(**policies.COMPUTING, task_run_name="write features {period}")
def write_snapshot(workspace: Workspace, period: Period, as_of: datetime) -> FeaturesBuilt:
    """Compute the features of a period from what was known at a moment, unless they are there."""
    from perennial.data.features import build_features

    return build_features(workspace, period, as_of)

"""The task of scoring a period with the champion; which rows and which model, `perennial.release` knows."""

from datetime import datetime

from perennial.periods import Period
from perennial.records import Predicted
from perennial.workspace import Workspace
from tasks import policies
from tasks.policies import task


@task(**policies.COMPUTING, task_run_name="score {period}")
def score_period(workspace: Workspace, period: Period, as_of: datetime) -> Predicted:
    """Append the champion's scores of a period's rows to the predictions, once per release."""
    from perennial.release.predictions import predict

    return predict(workspace, period, as_of)

"""Predict: score a period in one batch with the version that serves."""

from datetime import datetime

from prefect import flow

from flows.entry import main
from flows.occasion import occasion
from flows.policy import POLICY
from perennial.records import Predicted
from tasks.events import announce
from tasks.features import write_snapshot
from tasks.prediction import score_period


@flow(**POLICY, description="Score the rows of a period with the version that serves.")
def predict(use_case: str, period: str | None = None, as_of: datetime | None = None) -> Predicted:
    """Append the champion's scores to the predictions.

    1. Compute the features of the period from what was known.
    2. Score them; each score keeps the version and the digest of the features it came from.
    """
    with occasion(use_case, period, as_of) as this:
        write_snapshot(this.workspace, this.period, this.as_of)
        predicted = score_period(this.workspace, this.period, this.as_of)
        told = {"period": predicted.period, "version": predicted.version, "rows": predicted.rows}
        announce(this.workspace, "predictions.written", f"{predicted.snapshot}/{predicted.release}", told)
        return predicted


if __name__ == "__main__":
    main(predict)

"""Retrain: what an alert starts; whoever starts it how often, one run trains what was asked for."""

from datetime import datetime
from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.entry import main
from flows.occasion import occasion
from flows.pipeline import challenge
from flows.policy import POLICY
from flows.renewal import renew
from perennial.watch.claims import Suppressed
from tasks.monitoring import decide_on_retraining


@flow(**POLICY, description="Train, judge and release a challenger if the policy asks for one and nobody does yet.")
def retrain(use_case: str, period: str | None = None, as_of: datetime | None = None, reason: str = "") -> Any:
    """Answer an alert.

    1. Ask the policy what follows from the measurement of the period, or find that it was asked before.
    2. Claim the retraining; where there is none, or another run has it, this one ends as `Suppressed`, with why.
    3. Train, let the gate judge, and release what it passed, or begin its trial.

    `reason` is for people: what was seen. It decides nothing.
    """
    with occasion(use_case, period, as_of) as this:
        decide_on_retraining(this.workspace, this.period, this.as_of)
        ended = renew(this, challenge)
        if isinstance(ended, Suppressed):
            return Completed(name="Suppressed", message=ended.reason, data=ended)
        return ended


if __name__ == "__main__":
    main(retrain)

"""Retrain: what an alert starts; whoever starts it how often, one run trains what was asked for."""

from datetime import datetime
from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.deployment import deploy
from flows.entry import main, now
from flows.occasion import Occasion, occasion
from flows.policy import POLICY
from flows.registration import register
from flows.training import train
from perennial.errors import Permanent
from perennial.model.requirements import NotEnoughRows
from perennial.records import Answer, RetrainingClaimed, RetrainingEnded, RolloutStarted
from perennial.retraining import Outcome
from perennial.watch.claims import ClaimLost, Suppressed, require_claim
from perennial.watch.signs_of_life import giving_signs
from tasks.monitoring import decide_on_retraining
from tasks.retraining import claim_retraining, end_retraining, holder_of_claims


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
        ended = renew(this)
        if isinstance(ended, Suppressed):
            return Completed(name="Suppressed", message=ended.reason, data=ended)
        return ended


def renew(this: Occasion, again: bool = False) -> RetrainingEnded | Suppressed:
    """Train and judge a challenger and release it if it passed, as the only run that does; every step is repeatable.

    Meanwhile it says that it lives. Before each step the claim is looked at, so that a run that was given up for dead,
    and lives, changes nothing. `again` tries even what was refused before, as a person does who mended the cause.
    """
    with giving_signs(this.workspace, holder_of_claims(), now):
        claimed = claim_retraining(this.workspace, this.period, this.as_of, again)
        return claimed if isinstance(claimed, Suppressed) else _hold(this, claimed)


def _hold(this: Occasion, claimed: RetrainingClaimed) -> RetrainingEnded:
    try:
        outcome, reason = _renew(this, claimed)
    except NotEnoughRows as error:  # the next period asks again
        outcome, reason = Outcome.TOO_FEW_ROWS, str(error)
    except ClaimLost:
        raise
    except Permanent as error:
        end_retraining(this.workspace, claimed, Outcome.REFUSED, str(error))
        raise
    return end_retraining(this.workspace, claimed, outcome, reason)


def _renew(this: Occasion, claimed: RetrainingClaimed) -> tuple[Outcome, str]:
    train(**this.parameters)
    require_claim(this.workspace, claimed)
    verdict = register(**this.parameters).verdict
    require_claim(this.workspace, claimed)
    if verdict.answer is not Answer.PASS:
        return Outcome.NOT_RELEASED, verdict.reasons[0]
    made = deploy(**this.parameters)
    return Outcome.ON_TRIAL if isinstance(made, RolloutStarted) else Outcome.RELEASED, verdict.reasons[0]


if __name__ == "__main__":
    main(retrain)

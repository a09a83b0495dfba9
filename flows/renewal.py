"""One run at a time trains what was asked for, however many are asked: the claim around the steps of `pipeline`."""

from collections.abc import Callable

from flows.entry import now
from flows.occasion import Occasion
from perennial.errors import Permanent
from perennial.model.requirements import NotEnoughRows
from perennial.records import RetrainingClaimed, RetrainingEnded
from perennial.retraining import Outcome
from perennial.watch.claims import ClaimLost, Suppressed, require_claim
from perennial.watch.signs_of_life import giving_signs
from tasks.retraining import claim_retraining, end_retraining, holder_of_claims

Steps = Callable[[Occasion, Callable[[], None]], tuple[Outcome, str]]
"""Takes them, each repeatable, and calls what it is given between them; returns what came of it, and why."""


def renew(this: Occasion, steps: Steps, again: bool = False) -> RetrainingEnded | Suppressed:
    """Take the steps to a new model as the only run that does, or say why not.

    Meanwhile it says that it lives. Between steps the claim is looked at, so that a run that was given up for dead, and
    lives, changes nothing.

    Args:
        this: The occasion that asks.
        steps: Such as `pipeline.challenge`.
        again: Try even what was refused before, as a person does who mended the cause.
    """
    with giving_signs(this.workspace, holder_of_claims(), now):
        claimed = claim_retraining(this.workspace, this.period, this.as_of, again)
        return claimed if isinstance(claimed, Suppressed) else _hold(this, claimed, steps)


def _hold(this: Occasion, claimed: RetrainingClaimed, steps: Steps) -> RetrainingEnded:
    try:
        outcome, reason = steps(this, lambda: require_claim(this.workspace, claimed))
    except NotEnoughRows as error:  # the next period asks again
        outcome, reason = Outcome.TOO_FEW_ROWS, str(error)
    except ClaimLost:
        raise
    except Permanent as error:
        end_retraining(this.workspace, claimed, Outcome.REFUSED, str(error))
        raise
    return end_retraining(this.workspace, claimed, outcome, reason)

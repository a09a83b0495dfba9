"""Whether a release that serves keeps its place once its labels are mature: a pure decision on paired losses."""

from perennial.release.checks import verdict_of
from perennial.release.rollout_decision import Losses, on_losses, threshold
from perennial.values import Verdict


def decide_probation(losses: Losses, alpha: float, min_labels: int) -> Verdict:
    """Say whether a release did as well as the one that it replaced would have on the same requests.

    Args:
        losses: Of both models on the mature rows that the release answered.
        alpha: Chance that an equally good release is ever rolled back for it.
        min_labels: Labels from which a PASS ends the probation.

    Returns:
        FAIL if its loss is shown to be higher than allowed, PASS if enough labels say that it is not, else
        INCONCLUSIVE: the probation goes on.
    """
    return verdict_of([on_losses(losses, threshold(alpha, 1), max(min_labels, 1))])

"""Whether a release keeps its place once labels are mature."""

import numpy as np
import pytest

from perennial.records import Answer
from perennial.release.probation import decide_probation
from perennial.release.rollout_decision import Losses


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        (np.empty(0), Answer.INCONCLUSIVE),
        (np.zeros(99), Answer.INCONCLUSIVE),
        (np.zeros(100), Answer.PASS),
        (np.full(100, -0.2), Answer.PASS),
        (np.full(100, 0.02), Answer.INCONCLUSIVE),
        (np.full(60, 0.3), Answer.FAIL),
        (np.full(500, 0.3), Answer.FAIL),
    ],
)
def test_only_enough_labels_that_show_no_loss_end_it_well(values: np.ndarray, answer: Answer) -> None:
    assert decide_probation(Losses(values, 0.01), alpha=0.05, min_labels=100).answer is answer


def test_without_any_label_it_goes_on_and_says_why() -> None:
    verdict = decide_probation(Losses(why_none="They use different features."), 0.05, 0)
    assert verdict.answer is Answer.INCONCLUSIVE and verdict.reasons == ("They use different features.",)

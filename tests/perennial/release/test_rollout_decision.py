"""What becomes of a version on trial: only what was shown counts, and nothing shown is HOLD."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.records import Answer, Verdict
from perennial.release.reports import Counts
from perennial.release.rollout_decision import NO_QUALITY, Evidence, Losses, decide_rollout
from perennial.serving_spec import Serving

SERVING = Serving.model_validate({"rollout": "canary", "trial": {"min_answers": 200, "disagreement": 0.1}})
WELL = Counts(answers=300, errors=1, slow=4, compared=300, difference=6.0, squared_difference=0.3)


def evidence(**changes: Any) -> Evidence:
    known: dict[str, Any] = {"replicas": 3, "taking_part": 3, "refused": {}, "silent": 0, "challenger": WELL}
    return Evidence(**{**known, "other": WELL, **changes})


def counts(**changes: Any) -> Counts:
    return WELL.model_copy(update=changes)


def decide(found: Evidence, serving: Serving = SERVING, *, is_last: bool = False, is_overdue: bool = False) -> Verdict:
    return decide_rollout(found, serving, is_last=is_last, is_overdue=is_overdue)


def test_enough_good_answers_pass_with_their_numbers() -> None:
    verdict = decide(evidence(), is_last=True)
    assert verdict.answer is Answer.PASS
    assert verdict.numbers["answers"] == 300 and verdict.numbers["failed"] == pytest.approx(1 / 300)
    assert any("1 of its 300 answers failed" in one for one in verdict.reasons)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"replicas": 0, "taking_part": 0}, "No replica has reported just now"),
        ({"taking_part": 2}, "2 of 3 replicas have loaded it"),
        ({"taking_part": 0, "waiting": {"a": "StoreAway"}}, "0 of 3 replicas have loaded it: StoreAway"),
        ({"taking_part": 2, "refused": {"a": "no digest"}}, "1 of 3 replicas refuse it: no digest"),
        ({"challenger": counts(answers=199)}, "It gave 199 answers in this step, 200 are asked for"),
        ({"answers_before": 101}, "It gave 199 answers in this step"),
        ({"answers_before": 400}, "It gave 0 answers in this step"),
        ({"challenger": counts(errors=4)}, "4 of its 300 answers failed.* may be chance"),
        ({"challenger": counts(slow=16)}, "16 of its 300 answers were slow.* may be chance"),
        ({"challenger": counts(compared=199, difference=1)}, "in the mean of 199 requests, 200 are asked for"),
        ({"challenger": counts(difference=31.5, squared_difference=31.5)}, "differ by 0.105"),
        ({"challenger": Counts(), "other": Counts()}, "It gave 0 answers"),
        ({"other": Counts(answers=49)}, "What it is compared with gave 49 answers, and 50 say something"),
    ],
)
def test_what_is_not_shown_yet_holds(changes: dict[str, Any], reason: str) -> None:
    verdict = decide(evidence(**changes))
    assert verdict.answer is Answer.INCONCLUSIVE
    assert re.search(reason, verdict.reasons[0]), verdict.reasons


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"refused": {"a": "x", "b": "x", "c": "y"}, "taking_part": 0}, "No replica takes it on: x; y"),
        ({"silent": 3}, "3 times replicas fell silent"),
        ({"challenger": counts(errors=40)}, "40 of its 300 answers failed"),
        ({"challenger": counts(slow=100)}, "100 of its 300 answers were slow"),
        ({"challenger": counts(difference=90.0, squared_difference=30.0)}, "Its scores differ by 0.3"),
        ({"losses": Losses(np.full(120, 0.2), 0.01)}, "On 120 labels its loss is higher by 0.2"),
    ],
)
def test_what_is_shown_to_be_worse_fails_at_any_step(changes: dict[str, Any], reason: str) -> None:
    for is_last in (False, True):
        verdict = decide(evidence(**changes), is_last=is_last)
        assert verdict.answer is Answer.FAIL
        assert verdict.reasons[0].startswith(reason)


def test_a_small_loss_in_hour_after_hour_fails_and_the_same_in_one_hour_does_not() -> None:
    rows = np.full(2000, 0.04)
    assert decide(evidence(losses=Losses(rows, 0.01, spans=np.full(1, 0.04)))).answer is Answer.PASS
    verdict = decide(evidence(losses=Losses(rows, 0.01, spans=np.full(14, 0.04))))
    assert verdict.answer is Answer.FAIL and "in 14 of 14 spans of time" in verdict.reasons[0]
    rows_of_one_hour = np.full(2000, 0.2)
    assert decide(evidence(losses=Losses(rows_of_one_hour, 0.01))).answer is Answer.FAIL, "no hour does that"
    mixed = np.array([0.2, -0.1] * 50)
    assert decide(evidence(losses=Losses(rows, 0.01, spans=mixed))).answer is Answer.PASS


def test_two_silent_replicas_are_no_failure() -> None:
    assert decide(evidence(silent=2)).answer is Answer.PASS


def test_being_as_bad_as_the_version_that_serves_is_no_fault_of_the_challenger() -> None:
    ill = counts(errors=90, slow=90)
    assert decide(evidence(challenger=ill, other=ill)).answer is Answer.PASS


def test_being_slower_is_allowed_up_to_what_is_declared() -> None:
    found = evidence(challenger=counts(answers=3000, slow=120), other=counts(answers=3000, slow=3))
    assert decide(found).answer is Answer.PASS
    ill = evidence(challenger=counts(answers=3000, slow=300), other=counts(answers=3000, slow=3))
    assert decide(ill).answer is Answer.FAIL


def test_a_pass_without_a_label_says_that_quality_was_not_seen() -> None:
    verdict = decide(evidence(), is_last=True)
    assert verdict.answer is Answer.PASS and any(one.startswith(NO_QUALITY) for one in verdict.reasons)
    seen = decide(evidence(losses=Losses(np.zeros(300), 0.01)), is_last=True)
    assert seen.answer is Answer.PASS and not any(one.startswith(NO_QUALITY) for one in seen.reasons)


def test_nothing_passes_after_the_deadline() -> None:
    verdict = decide(evidence(), is_last=True, is_overdue=True)
    assert verdict.answer is Answer.INCONCLUSIVE and verdict.reasons[0].startswith("The deadline has passed")
    assert decide(evidence(challenger=counts(errors=40)), is_overdue=True).answer is Answer.FAIL


def test_labels_are_waited_for_before_the_last_pass_only_where_declared() -> None:
    patient = SERVING.model_copy(update={"trial": SERVING.trial.model_copy(update={"min_labels": 100})})
    few, worse = Losses(np.zeros(99), 0.01), Losses(np.full(100, 0.011), 0.01)
    for losses in (Losses(), few, worse):
        assert decide(evidence(losses=losses), is_last=True).answer is Answer.PASS
        assert decide(evidence(losses=losses), patient, is_last=False).answer is Answer.PASS
        assert decide(evidence(losses=losses), patient, is_last=True).answer is Answer.INCONCLUSIVE
    enough = evidence(losses=Losses(np.full(100, 0.01), 0.01))
    assert decide(enough, patient, is_last=True).answer is Answer.PASS


def test_disagreement_is_told_and_not_asked_where_no_limit_is_declared() -> None:
    lax = SERVING.model_copy(update={"trial": SERVING.trial.model_copy(update={"disagreement": None})})
    far = evidence(challenger=counts(difference=300.0, squared_difference=300.0))
    assert decide(far, lax).answer is Answer.PASS and decide(far).answer is Answer.FAIL
    told = decide(far, lax)
    assert told.numbers["disagreement"] and any("no limit is declared" in one for one in told.reasons)


def test_alpha_is_split_over_the_checks() -> None:
    """The same counts fail at a larger alpha: where the limit lies between, it is four times the whole alpha."""
    found = evidence(challenger=counts(errors=16))
    answers = [
        decide(found, SERVING.model_copy(update={"trial": SERVING.trial.model_copy(update={"alpha": alpha})})).answer
        for alpha in (1e-9, 0.05, 0.49)
    ]
    assert answers[0] is Answer.INCONCLUSIVE and answers[2] is Answer.FAIL


some_counts = st.builds(
    lambda answers, errors, slow, compared, mean: Counts(
        answers=answers,
        errors=min(errors, answers),
        slow=min(slow, answers),
        compared=min(compared, answers),
        difference=mean * min(compared, answers),
        squared_difference=mean**2 * min(compared, answers),
    ),
    *(st.integers(0, 5000),) * 4,
    st.floats(0, 1),
)


@settings(max_examples=200)
@given(some_counts, some_counts, st.integers(0, 4), st.integers(0, 4), st.integers(0, 5000), st.booleans())
def test_a_pass_has_enough_answers_of_all_replicas_in_time(
    ours: Counts, theirs: Counts, replicas: int, part: int, before: int, is_overdue: bool
) -> None:
    part = min(part, replicas)
    found = evidence(challenger=ours, other=theirs, replicas=replicas, taking_part=part, answers_before=before)
    verdict = decide(found, is_last=True, is_overdue=is_overdue)
    assert verdict.reasons
    if verdict.answer is Answer.PASS:
        assert not is_overdue and part == replicas > 0 and ours.answers - before >= 200
        assert ours.errors <= max(0.01 * ours.answers, theirs.errors / max(theirs.answers, 1) * ours.answers) + 1e-6
        assert ours.compared >= 200 and ours.difference <= 0.1 * ours.compared + 1e-6


def test_rows_of_one_pass_count_as_one() -> None:
    apart = counts(answers=300, errors=40)
    at_once = counts(answers=300, errors=40, together=300 * 40)
    assert decide(evidence(challenger=apart)).answer is Answer.FAIL
    assert decide(evidence(challenger=at_once)).answer is Answer.INCONCLUSIVE

"""Planted worse models go the whole way, from artifact and features to the gate, and none of them is released."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from perennial.model.constant import Constant
from perennial.model.fitted import Sample
from perennial.model.training import LeakageFound, holdout_scores, train
from perennial.periods import Window
from perennial.records import Answer, Judged, Trained, Verdict
from perennial.release.judging import NotRegistered, judge_challenger
from perennial.release.releases import NotReleasable, StaleVerdict, release
from perennial.workspace import Workspace
from tests.builders import MONTHS, deliver, make_use_case, moment
from tests.perennial.release.conftest import MAY, Shop, with_labels

RANDOM = np.random.default_rng(3)


@dataclass(frozen=True)
class NotANumber(Constant):
    """A model that says nothing."""

    def save(self) -> bytes:
        return b'{"value": NaN}'


def shuffled(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return RANDOM.permutation(y)


def inverted(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return 1 - y


def wrong_where_first_channel(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.where(x[:, 1] == 0, 1 - y, y)


def assert_refused(shop: Shop, planted: Trained, answer: Answer, reason: str) -> None:
    champion = shop.ws.state().champion
    judged = judge_challenger(shop.ws, planted, MAY)
    assert judged.verdict.answer is answer
    assert any(reason in one for one in judged.verdict.reasons), judged.verdict.reasons
    with pytest.raises(NotReleasable):
        release(shop.ws, judged, MAY)
    assert shop.ws.state().champion == champion


def test_the_first_honest_model_passes_against_the_baseline_and_is_released(shop: Shop) -> None:
    judged = judge_challenger(shop.ws, shop.trained, MAY)
    assert judged.verdict.answer is Answer.PASS
    assert (judged.version, judged.against, judged.against_version) == (1, shop.trained.baseline, None)
    assert judged.verdict.reasons[0].startswith("The gain over the baseline in `roc_auc` is 0.")
    assert "All models were fitted on rows from before the holdout." in judged.verdict.reasons
    assert release(shop.ws, judged, MAY).model == shop.trained.model


def test_judging_again_finds_the_verdict_and_changes_nothing(shop: Shop) -> None:
    judged = judge_challenger(shop.ws, shop.trained, MAY)
    head = shop.ws.state().seq
    assert judge_challenger(shop.ws, shop.trained, MAY) == judged
    assert shop.ws.state().seq == head


def test_a_model_that_has_become_champion_is_not_judged_against_itself(shop: Shop) -> None:
    judged = judge_challenger(shop.ws, shop.trained, MAY)
    release(shop.ws, judged, MAY)
    assert judge_challenger(shop.ws, shop.trained, MAY) == judged
    assert len(shop.ws.state().judged) == 1


def regated(shop: Shop, floor: float) -> Shop:
    gate = shop.ws.use_case.gate.model_copy(update={"floor": floor})
    return Shop(Workspace(shop.ws.use_case.model_copy(update={"gate": gate}), shop.ws.settings), shop.trained)


def test_a_raised_gate_judges_again_before_anything_is_released(shop: Shop) -> None:
    passed = judge_challenger(shop.ws, shop.trained, MAY)
    raised = regated(shop, floor=0.99)
    with pytest.raises(StaleVerdict, match="was judged by another `gate`"):
        release(raised.ws, passed, MAY)
    assert_refused(raised, shop.trained, Answer.FAIL, "short of the floor of 0.99")


def test_a_lowered_gate_judges_again_and_lets_pass(shop: Shop) -> None:
    assert judge_challenger(regated(shop, floor=0.99).ws, shop.trained, MAY).verdict.answer is Answer.FAIL
    judged = judge_challenger(shop.ws, shop.trained, MAY)
    assert judged.verdict.answer is Answer.PASS
    assert release(shop.ws, judged, MAY).model == shop.trained.model


def test_a_gate_changed_after_the_release_changes_nothing(shop: Shop) -> None:
    released = release(shop.ws, judged := judge_challenger(shop.ws, shop.trained, MAY), MAY)
    raised = regated(shop, floor=0.99)
    assert judge_challenger(raised.ws, shop.trained, MAY) == judged
    assert release(raised.ws, judged, MAY) == released


def test_a_verdict_from_before_gates_were_written_down_folds_and_is_given_anew(shop: Shop) -> None:
    written = {"model": shop.trained.model, "version": 1, "against": shop.trained.baseline, "against_version": None}
    old = Judged.model_validate(written | {"verdict": {"answer": "PASS", "reasons": ["It was better."]}})
    shop.record(old)
    with pytest.raises(StaleVerdict, match="was judged by another `gate`"):
        release(shop.ws, old, MAY)
    assert release(shop.ws, judge_challenger(shop.ws, shop.trained, MAY), MAY).model == shop.trained.model


def test_a_new_champion_is_a_new_opponent(shop: Shop) -> None:
    first = judge_challenger(shop.ws, shop.trained, MAY)
    poor = shop.plant(with_labels(shuffled))
    shop.serve(poor)
    second = judge_challenger(shop.ws, shop.trained, MAY)
    assert first.against_version is None and second.against_version == 2
    assert second.against == poor.model and second.verdict.answer is Answer.PASS
    assert second.verdict.reasons[0].startswith("The gain over the champion")
    assert release(shop.ws, second, MAY).replaces == 2


def test_a_model_without_a_version_is_not_judged(shop: Shop) -> None:
    with pytest.raises(NotRegistered, match="has no version yet"):
        judge_challenger(shop.ws, shop.trained.model_copy(update={"model": "0" * 64}), MAY)


SPOILERS: dict[str, tuple[Callable[[Sample], Sample], str]] = {
    "shuffled labels": (with_labels(shuffled), "all below the margin of 0"),
    "inverted labels": (with_labels(inverted), "short of the floor of 0.65"),
    "one bad slice": (with_labels(wrong_where_first_channel), "Where `channel` = `app`"),
}


@pytest.mark.parametrize(("spoil", "reason"), SPOILERS.values(), ids=SPOILERS)
def test_a_model_fitted_on_spoiled_labels_does_not_replace_the_champion(
    shop: Shop, spoil: Callable[[Sample], Sample], reason: str
) -> None:
    shop.serve(shop.trained)
    assert_refused(shop, shop.plant(spoil), Answer.FAIL, reason)


def test_scores_that_are_not_numbers_are_refused(shop: Shop) -> None:
    planted = shop.plant(fitted=NotANumber(float("nan")))
    assert_refused(shop, planted, Answer.FAIL, "scores of the challenger are not finite numbers")


def test_a_constant_model_is_no_better_than_the_baseline(shop: Shop) -> None:
    assert_refused(shop, shop.plant(fitted=Constant(0.5)), Answer.FAIL, "`roc_auc` of the challenger is 0.5")


def test_the_champion_in_the_place_of_the_challenger_is_refused(shop: Shop) -> None:
    better, worse = shop.trained, shop.plant(with_labels(shuffled))
    shop.serve(better)
    assert_refused(shop, worse, Answer.FAIL, "all below the margin of 0")
    shop.serve(worse)
    assert judge_challenger(shop.ws, better, MAY).verdict.answer is Answer.PASS


def test_a_training_whose_audit_found_a_leak_is_refused(shop: Shop) -> None:
    leak = Verdict(answer=Answer.FAIL, reasons=("`known_rate` differs in 4 of 4 rows.",))
    assert_refused(shop, shop.trained.model_copy(update={"audit": leak}), Answer.FAIL, "`known_rate` differs")


def test_a_leaked_feature_never_becomes_a_model(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, leak=True)
    deliver(ws, *MONTHS)
    with pytest.raises(LeakageFound, match="known_rate"):
        train(ws, MAY)
    assert not ws.state().trained and ws.state().training_refused_at


@pytest.mark.parametrize("seen", ["holdout", "nothing known"])
def test_a_champion_that_may_have_seen_the_answers_proves_nothing(shop: Shop, seen: str) -> None:
    champion = shop.plant(with_labels(shuffled))
    if seen == "holdout":
        later = Window(start=shop.trained.fit.start, end=shop.trained.holdout.start + timedelta(seconds=1))
        shop.record(champion.model_copy(update={"key": "later", "validation": later}))
        shop.serve(champion)
        reason = "The champion was fitted on rows up to 2024-04-03, but the holdout begins on 2024-04-03."
    else:
        shop.serve(shop.register(champion.model_copy(update={"model": shop.trained.baseline})))
        reason = "It is not known which rows the champion was fitted on."
    assert_refused(shop, shop.trained, Answer.INCONCLUSIVE, reason)


def test_champion_and_challenger_are_scored_on_the_same_rows(shop: Shop) -> None:
    ours = holdout_scores(shop.ws, shop.trained, shop.trained.model, MAY)
    theirs = holdout_scores(shop.ws, shop.trained, shop.trained.baseline, MAY)
    assert ours.rows == theirs.rows and (ours.y == theirs.y).all()
    assert judge_challenger(shop.ws, shop.trained, MAY).verdict.numbers["gain"] is not None


def test_a_regression_goes_the_same_way(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, task="regression", months=MONTHS[:2])
    deliver(ws, *MONTHS[:2])
    march = moment("2024-03-01")
    shop = Shop(ws, train(ws, march))
    judged = judge_challenger(ws, shop.register(shop.trained), march)
    assert judged.verdict.answer is Answer.PASS
    assert judged.verdict.reasons[0].startswith("The gain over the baseline in `rmse` is ")

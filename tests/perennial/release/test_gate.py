"""The gate on plain arrays: each planted worse model is refused, and each refusal has its own reason."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from perennial.model.metrics import METRICS, Scores
from perennial.periods import Window
from perennial.records import Answer, Verdict
from perennial.release.gate import SnapshotMismatch, audit_windows, judge
from perennial.use_case import Gate, Slices

ROWS = 400
RANDOM = np.random.default_rng(7)
Y = (RANDOM.random(ROWS) < 0.4).astype(float)
SHOPS = np.array([f"shop-{number % 4}" for number in range(ROWS)], dtype=object)
CHANNELS = np.where(np.arange(ROWS) % 8 == 0, "rare", "common").astype(object)
GOOD = np.clip(0.3 + 0.4 * Y + RANDOM.normal(0, 0.15, ROWS), 0, 1)
FAIR = np.clip(0.3 + 0.2 * Y + RANDOM.normal(0, 0.2, ROWS), 0, 1)
FLAT = np.full(ROWS, 0.4)
GATE = Gate(floor=0.7, margin=0.02, resamples=200, min_rows=ROWS)


def scores(score: np.ndarray, y: np.ndarray = Y, rows: str = "0123456789abcdef") -> Scores:
    return Scores(y=y, score=score, slices={"shop": SHOPS[: len(y)], "channel": CHANNELS[: len(y)]}, rows=rows)


def verdict(challenger: np.ndarray, champion: np.ndarray | None = FAIR, **changes: Any) -> Verdict:
    """Judge with the gate above, some of its fields changed; without a champion against a flat baseline."""
    others = {name: changes.pop(name) for name in ("evidence", "seed", "metric") if name in changes}
    y = changes.pop("y", Y)
    gate = Gate(**(GATE.model_dump() | changes))
    return judge(
        scores(challenger, y),
        scores(FLAT if champion is None else champion, y),
        against="baseline" if champion is None else "champion",
        gate=gate,
        metric=others.pop("metric", "roc_auc"),
        **others,
    )


def worse_in_one_shop() -> np.ndarray:
    return np.where(SHOPS == "shop-2", 1 - GOOD, np.where(Y == 1, 0.9, 0.1))


def test_a_better_challenger_passes_with_its_numbers() -> None:
    found = verdict(GOOD)
    value, before = (METRICS["roc_auc"].value(Y, one) for one in (GOOD, FAIR))
    assert value is not None and before is not None
    assert found.answer is Answer.PASS
    assert found.numbers["value"] == value and found.numbers["gain"] == pytest.approx(value - before)
    assert found.numbers["floor"] == 0.7 and found.numbers["margin"] == 0.02
    assert found.numbers["gain_low"] > 0.02 and found.numbers["gain_high"] > found.numbers["gain_low"]
    assert found.numbers["value_low"] < value < found.numbers["value_high"]
    assert found.reasons == (
        f"The gain over the champion in `roc_auc` is {value - before:.4g} ({found.numbers['gain_low']:.4g} to "
        f"{found.numbers['gain_high']:.4g} at 95%) on 400 rows, all above the margin of 0.02.",
        f"`roc_auc` of the challenger is {value:.4g} ({found.numbers['value_low']:.4g} to "
        f"{found.numbers['value_high']:.4g} at 95%), within the floor of 0.7.",
    )


def test_first_model_is_judged_against_the_baseline() -> None:
    found = verdict(GOOD, None)
    assert found.answer is Answer.PASS
    assert found.reasons[0].startswith("The gain over the baseline in `roc_auc` is ")
    assert found.numbers["gain"] == pytest.approx(found.numbers["value"] - 0.5)


PLANTED: dict[str, tuple[np.ndarray, np.ndarray | None, Answer, str]] = {
    "worse than the champion": (FAIR, GOOD, Answer.FAIL, "all below the margin of 0.02"),
    "the same as the champion": (GOOD, GOOD, Answer.FAIL, "is 0 (0 to 0 at 95%) on 400 rows, all below"),
    "shuffled": (RANDOM.permutation(GOOD), FAIR, Answer.FAIL, "short of the floor of 0.7"),
    "inverted": (1 - GOOD, FAIR, Answer.FAIL, "short of the floor of 0.7"),
    "constant": (FLAT, FAIR, Answer.FAIL, "`roc_auc` of the challenger is 0.5"),
    "no better than the baseline": (FLAT, None, Answer.FAIL, "gain over the baseline in `roc_auc` is 0 (0 to 0"),
    "one score not a number": (np.where(np.arange(ROWS) == 3, np.nan, GOOD), FAIR, Answer.FAIL, "1 of 400 scores"),
    "infinite": (np.where(np.arange(ROWS) == 3, np.inf, GOOD), FAIR, Answer.FAIL, "1 of 400 scores of the challenger"),
    "all not numbers": (np.full(ROWS, np.nan), None, Answer.FAIL, "400 of 400 scores of the challenger are not finite"),
    "above one": (GOOD + 1, FAIR, Answer.FAIL, "of the challenger are no probabilities: they leave [0, 1]"),
    "below zero": (GOOD - 0.9, FAIR, Answer.FAIL, "of the challenger are no probabilities: they leave [0, 1]"),
}


@pytest.mark.parametrize(("challenger", "champion", "answer", "reason"), PLANTED.values(), ids=PLANTED)
def test_a_planted_worse_model_is_refused(
    challenger: np.ndarray, champion: np.ndarray | None, answer: Answer, reason: str
) -> None:
    found = verdict(challenger, champion)
    assert found.answer is answer
    assert any(reason in one for one in found.reasons), found.reasons


def test_swapping_challenger_and_champion_turns_the_verdict() -> None:
    assert verdict(GOOD, FAIR).answer is Answer.PASS
    assert verdict(FAIR, GOOD).answer is Answer.FAIL
    gain, loss = verdict(GOOD, FAIR).numbers, verdict(FAIR, GOOD).numbers
    assert gain["gain"] == -loss["gain"]
    assert gain["gain_low"] == pytest.approx(-loss["gain_high"])


def test_a_gain_that_noise_could_explain_is_inconclusive() -> None:
    nearly = np.clip(GOOD + RANDOM.normal(0, 0.02, ROWS), 0, 1)
    found = verdict(nearly, GOOD, margin=0.0)
    assert found.numbers["gain_low"] < 0 < found.numbers["gain_high"]
    assert found.answer is Answer.INCONCLUSIVE
    assert "not clearly above the margin of 0." in found.reasons[0]


def test_the_interval_must_lie_above_the_margin_and_not_only_touch_it() -> None:
    numbers = verdict(GOOD).numbers
    low, high = numbers["gain_low"], numbers["gain_high"]
    assert verdict(GOOD, margin=low - 1e-9).answer is Answer.PASS
    assert verdict(GOOD, margin=low).answer is Answer.INCONCLUSIVE
    assert verdict(GOOD, margin=high).answer is Answer.INCONCLUSIVE
    assert verdict(GOOD, margin=high + 1e-9).answer is Answer.FAIL


def test_the_floor_may_be_touched() -> None:
    value = verdict(GOOD).numbers["value"]
    assert verdict(GOOD, floor=value).answer is Answer.PASS
    short = verdict(GOOD, floor=value + 1e-9)
    assert short.answer is Answer.FAIL
    assert f"short of the floor of {value:g}" in short.reasons[0]
    assert short.numbers["value"] == value and short.numbers["floor"] == value + 1e-9


def test_where_lower_is_better_the_floor_is_a_ceiling() -> None:
    better, worse = np.abs(Y - 0.1), np.abs(Y - 0.3)
    value = verdict(better, worse, metric="brier", floor=1.0).numbers["value"]
    assert value == pytest.approx(0.01)
    assert verdict(better, worse, metric="brier", floor=value).answer is Answer.PASS
    beyond = verdict(better, worse, metric="brier", floor=value - 1e-9)
    assert beyond.answer is Answer.FAIL
    assert "short of the ceiling of 0.01" in beyond.reasons[0]
    assert "(0.01 to 0.01 at 95%)" in beyond.reasons[0]
    assert verdict(worse, better, metric="brier", floor=1.0).answer is Answer.FAIL


def test_a_regression_may_score_outside_zero_and_one() -> None:
    y = 100 * Y
    found = verdict(y + 1, y + RANDOM.normal(0, 20, ROWS), y=y, metric="rmse", floor=5.0)
    assert found.answer is Answer.PASS
    assert found.numbers["value"] == pytest.approx(1.0)


def test_a_metric_that_overflows_is_a_failure_and_never_a_number() -> None:
    found = verdict(np.full(ROWS, 1e200), FLAT, metric="rmse", floor=5.0)
    assert found.answer is Answer.FAIL
    assert found.reasons[0] == "`rmse` of the challenger is not a finite number."
    assert found.reasons[1] == "The gain over the champion in `rmse` is undefined."
    assert found.numbers == {
        "floor": 5.0, "value": None, "value_low": None, "value_high": None,
        "margin": 0.02, "gain": None, "gain_low": None, "gain_high": None,
    }  # fmt: skip


def test_an_opponent_that_cannot_be_measured_proves_nothing() -> None:
    found = verdict(Y, np.full(ROWS, 1e200), metric="rmse", floor=5.0)
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons[0] == "The gain over the champion in `rmse` is undefined."


def test_an_interval_without_bounds_is_inconclusive() -> None:
    y = np.zeros(ROWS)
    y[0] = 1
    found = verdict(np.where(y == 1, 1.0, 0.1), FLAT, y=y)
    assert found.numbers["gain"] == 0.5 and found.numbers["gain_low"] is None
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons == (
        "The gain over the champion in `roc_auc` is undefined.",
        "`roc_auc` of the challenger is 1.0, within the floor of 0.7.",
    )


def test_too_few_rows_are_inconclusive_however_good_or_bad() -> None:
    for challenger in (GOOD, 1 - GOOD):
        found = verdict(challenger, min_rows=ROWS + 1)
        assert found.answer is Answer.INCONCLUSIVE
        assert found.reasons == ("The holdout has 400 labelled rows, too few to judge (`gate.min_rows` is 401).",)


def test_no_rows_at_all_are_inconclusive() -> None:
    nothing = np.empty(0)
    found = verdict(nothing, nothing, y=nothing)
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons[1] == "The labels of the holdout are missing; both 0 and 1 are needed to judge."


@pytest.mark.parametrize(("label", "said"), [(0.0, "are 0;"), (1.0, "are 1;")])
def test_a_single_class_is_inconclusive(label: float, said: str) -> None:
    found = verdict(GOOD, y=np.full(ROWS, label))
    assert found.answer is Answer.INCONCLUSIVE
    assert len(found.reasons) == 1 and said in found.reasons[0]


def test_labels_other_than_zero_and_one_are_inconclusive_for_a_binary_metric() -> None:
    found = verdict(GOOD, y=2 * Y)
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons == ("The labels of the holdout are 0, 2; both 0 and 1 are needed to judge.",)


def test_labels_that_are_not_finite_are_inconclusive() -> None:
    found = verdict(GOOD, y=np.where(np.arange(ROWS) == 0, np.nan, Y))
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons == ("Not all labels of the holdout are finite numbers.",)


def test_a_champion_that_gives_no_numbers_cannot_be_compared_with() -> None:
    found = verdict(GOOD, np.where(np.arange(ROWS) == 5, np.nan, FAIR))
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons == ("Not all scores of the champion are finite numbers, so there is nothing to compare with.",)


def test_scores_at_the_ends_of_the_scale_are_probabilities() -> None:
    assert verdict(Y).answer is Answer.PASS


def test_a_bad_slice_is_refused_although_the_whole_is_better() -> None:
    gate = {"slices": Slices(columns=("shop",), min_rows=100, max_loss=0.05)}
    challenger = worse_in_one_shop()
    assert verdict(challenger, margin=0.0, floor=0.5).numbers["gain"] > 0
    found = verdict(challenger, margin=0.0, floor=0.5, **gate)
    assert found.answer is Answer.FAIL
    assert found.reasons[0].startswith("Where `shop` = `shop-2` (100 rows), `roc_auc` is 0.0")
    assert found.reasons[0].endswith("a loss of more than 0.05.")
    assert "3 of 4 slices of `shop` hold up." in found.reasons
    before = METRICS["roc_auc"].value(Y[SHOPS == "shop-2"], FAIR[SHOPS == "shop-2"])
    assert f" after {before:.4g}, " in found.reasons[0]
    assert found.numbers["champion where `shop` = `shop-2`"] == before
    assert found.numbers["value where `shop` = `shop-1`"] == 1.0


def test_a_loss_in_a_slice_may_reach_its_limit() -> None:
    rows = SHOPS == "shop-2"
    challenger = np.where(rows, FAIR, GOOD)
    before, after = (METRICS["roc_auc"].value(Y[rows], one[rows]) for one in (GOOD, FAIR))
    assert before is not None and after is not None
    for max_loss, answer in ((before - after, Answer.INCONCLUSIVE), (before - after - 1e-9, Answer.FAIL)):
        slices = Slices(columns=("shop",), min_rows=100, max_loss=max_loss)
        found = verdict(challenger, np.where(rows, GOOD, np.where(Y == 1, GOOD, GOOD + 1e-3).clip(0, 1)), slices=slices)
        assert any("a loss of more than" in one for one in found.reasons) is (answer is Answer.FAIL)


def test_a_loss_of_a_metric_where_lower_is_better_is_a_rise() -> None:
    slices = Slices(columns=("shop",), min_rows=100, max_loss=0.05)
    rows = SHOPS == "shop-2"
    better, worse = np.abs(Y - 0.1), np.abs(Y - 0.3)
    falls = verdict(better, worse, metric="brier", floor=1.0, slices=slices)
    assert falls.answer is Answer.PASS and falls.reasons[-1] == "4 of 4 slices of `shop` hold up."
    rises = verdict(np.where(rows, np.abs(Y - 0.4), better), worse, metric="brier", floor=1.0, slices=slices)
    assert rises.answer is Answer.FAIL
    assert (
        rises.reasons[0] == "Where `shop` = `shop-2` (100 rows), `brier` is 0.16 after 0.09, a loss of more than 0.05."
    )


def test_the_first_model_is_held_to_no_loss_in_a_slice_but_to_its_floor() -> None:
    challenger = worse_in_one_shop()
    loose = {"floor": 0.5, "slices": Slices(columns=("shop",), min_rows=100, max_loss=0.0)}
    assert verdict(challenger, None, **loose).answer is Answer.PASS
    tight = {"floor": 0.5, "slices": Slices(columns=("shop",), min_rows=100, floor=0.5)}
    found = verdict(challenger, None, **tight)
    assert found.answer is Answer.FAIL
    assert found.reasons[0].endswith(", short of `gate.slices.floor` 0.5.")
    assert found.numbers["baseline where `shop` = `shop-2`"] == 0.5


def test_the_floor_of_a_slice_may_be_touched() -> None:
    value = METRICS["roc_auc"].value(Y[SHOPS == "shop-2"], worse_in_one_shop()[SHOPS == "shop-2"])
    slices = {"floor": 0.5, "slices": Slices(columns=("shop",), min_rows=100, floor=value)}
    assert verdict(worse_in_one_shop(), None, **slices).answer is Answer.PASS


def test_small_slices_are_listed_and_not_judged() -> None:
    found = verdict(worse_in_one_shop(), None, floor=0.5, slices=Slices(columns=("shop",), min_rows=101, floor=0.99))
    assert found.answer is Answer.PASS
    assert found.reasons[-1] == (
        "Not judged, with fewer than 101 rows, of `shop`: "
        "`shop-0` (100), `shop-1` (100), `shop-2` (100), `shop-3` (100)."
    )
    assert not any("hold up" in one for one in found.reasons)


def test_a_long_list_of_small_slices_is_cut() -> None:
    gate = GATE.model_copy(update={"slices": Slices(columns=("shop",), min_rows=200)})
    for parts, end in ((11, "`p08` (36), `p09` (36) and 1 more."), (10, "`p08` (40), `p09` (40).")):
        many = np.array([f"p{number % parts:02d}" for number in range(ROWS)], dtype=object)
        found = judge(
            replace(scores(GOOD), slices={"shop": many}), scores(FLAT), against="baseline", gate=gate, metric="roc_auc"
        )
        assert found.reasons[-1].endswith(end)


def test_every_declared_column_of_slices_is_judged() -> None:
    found = verdict(GOOD, slices=Slices(columns=("shop", "channel"), min_rows=60))
    assert found.answer is Answer.PASS
    assert found.reasons[-3:] == (
        "4 of 4 slices of `shop` hold up.",
        "1 of 1 slices of `channel` hold up.",
        "Not judged, with fewer than 60 rows, of `channel`: `rare` (50).",
    )


def test_a_slice_of_one_class_is_inconclusive() -> None:
    y = np.where(SHOPS == "shop-1", 0.0, Y)
    found = verdict(np.where(y == 1, 0.9, 0.1), y=y, slices=Slices(columns=("shop",), min_rows=100))
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons[0] == "Where `shop` = `shop-1` (100 rows), `roc_auc` is undefined."
    assert found.numbers["value where `shop` = `shop-1`"] is None


def test_a_slice_on_which_the_champion_cannot_be_measured_is_inconclusive() -> None:
    champion = np.where(SHOPS == "shop-1", 1e200, FAIR)
    found = verdict(Y, champion, metric="rmse", floor=5.0, slices=Slices(columns=("shop",), min_rows=100))
    assert found.answer is Answer.INCONCLUSIVE
    assert "Where `shop` = `shop-1` (100 rows), `rmse` is undefined." in found.reasons
    assert found.numbers["value where `shop` = `shop-1`"] == 0.0
    assert found.numbers["champion where `shop` = `shop-1`"] is None


def test_a_slice_column_that_no_row_has_is_inconclusive_and_the_others_are_judged() -> None:
    found = verdict(GOOD, slices=Slices(columns=("colour", "shop"), min_rows=100))
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons[0] == "`gate.slices` names `colour`, which is no categorical feature of the holdout."
    assert found.reasons[-1] == "4 of 4 slices of `shop` hold up."


def test_a_missing_category_is_a_slice_of_its_own() -> None:
    with_gaps = replace(scores(GOOD), slices={"shop": np.where(SHOPS == "shop-0", None, SHOPS)})
    gate = GATE.model_copy(update={"slices": Slices(columns=("shop",), min_rows=100)})
    found = judge(with_gaps, scores(FLAT), against="baseline", gate=gate, metric="roc_auc")
    assert found.answer is Answer.PASS
    assert found.reasons[-1] == "4 of 4 slices of `shop` hold up."


def test_a_suspiciously_good_score_waits_for_a_person_where_that_is_declared() -> None:
    assert verdict(Y).answer is Answer.PASS
    found = verdict(Y, suspicious=1.0)
    assert found.numbers["value"] == 1.0
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons[0].endswith("too good to be true at 1 (`gate.suspicious`): is it a leak?")
    assert verdict(GOOD, suspicious=0.9999).answer is Answer.PASS


LEAK = Verdict(answer=Answer.FAIL, reasons=("`rate` is 1 now and was unknown then.",), numbers={"changed": 12.0})
UNKNOWN = Verdict(answer=Answer.INCONCLUSIVE, reasons=("No moment could be computed again.",))
CLEAN = Verdict(answer=Answer.PASS, reasons=("All 100 moments agree.",))


def test_a_leak_is_never_released_however_good_the_scores() -> None:
    found = verdict(Y, evidence=(CLEAN, LEAK))
    assert found.answer is Answer.FAIL
    assert found.reasons[0] == "`rate` is 1 now and was unknown then."
    assert found.reasons[-1] == "All 100 moments agree."
    assert found.numbers["changed"] == 12.0


def test_evidence_in_doubt_puts_the_verdict_in_doubt() -> None:
    found = verdict(GOOD, evidence=(UNKNOWN,))
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons[0] == "No moment could be computed again."
    assert verdict(GOOD, evidence=(CLEAN,)).answer is Answer.PASS


def test_evidence_without_a_reason_still_counts() -> None:
    found = verdict(GOOD, evidence=(Verdict(answer=Answer.FAIL, reasons=()),))
    assert found.answer is Answer.FAIL
    assert found.reasons[0] == "The evidence was judged without a reason."


def test_all_reasons_are_given_and_failures_come_first() -> None:
    found = verdict(FAIR, GOOD, floor=0.999, slices=Slices(columns=("colour",)), evidence=(LEAK, UNKNOWN, CLEAN))
    assert [reason.split()[0] for reason in found.reasons] == [
        "The",
        "`roc_auc`",
        "`rate`",
        "`gate.slices`",
        "No",
        "All",
    ]


def test_bad_scores_are_reported_together_with_bad_evidence() -> None:
    challenger = np.where(np.arange(ROWS) == 0, np.nan, np.where(np.arange(ROWS) == 1, 2.0, GOOD))
    found = verdict(challenger, min_rows=ROWS + 1, evidence=(LEAK,))
    assert found.answer is Answer.FAIL
    assert found.reasons == (
        "1 of 400 scores of the challenger are not finite numbers.",
        "1 of 400 scores of the challenger are no probabilities: they leave [0, 1].",
        "`rate` is 1 now and was unknown then.",
        "The holdout has 400 labelled rows, too few to judge (`gate.min_rows` is 401).",
    )


def test_the_same_evidence_gives_the_same_verdict_and_the_seed_draws_other_resamples() -> None:
    assert verdict(GOOD) == verdict(GOOD) == verdict(GOOD, seed=0)
    other = verdict(GOOD, seed=1).numbers
    assert other["gain_low"] != verdict(GOOD).numbers["gain_low"]
    assert other["value_low"] != verdict(GOOD).numbers["value_low"]


def test_confidence_and_resamples_are_those_of_the_gate() -> None:
    usual = verdict(GOOD).numbers
    for changes in ({"confidence": 0.6}, {"resamples": 300}):
        found = verdict(GOOD, **changes)
        assert found.numbers["gain_low"] != usual["gain_low"] and found.numbers["value_low"] != usual["value_low"]
    assert all("at 60%" in one for one in verdict(GOOD, confidence=0.6).reasons)


MISMATCHES: dict[str, Callable[[Scores], Scores]] = {
    "other rows": lambda one: replace(one, rows="other"),
    "other labels": lambda one: replace(one, y=1 - one.y),
    "fewer scores": lambda one: replace(one, score=one.score[1:]),
    "fewer rows": lambda one: replace(one, y=one.y[1:], score=one.score[1:]),
}


@pytest.mark.parametrize("change", MISMATCHES.values(), ids=MISMATCHES)
def test_models_scored_on_different_rows_are_not_compared(change: Callable[[Scores], Scores]) -> None:
    said = r"on 400 rows `0123456789ab`, the champion on \d+ rows `(0123456789ab|other)`, or with other labels"
    with pytest.raises(SnapshotMismatch, match=said):
        judge(scores(GOOD), change(scores(FAIR)), against="champion", gate=GATE, metric="roc_auc")
    with pytest.raises(SnapshotMismatch, match="Score both on one snapshot and judge again"):
        judge(scores(GOOD), change(scores(FLAT)), against="baseline", gate=GATE, metric="roc_auc")


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


def window(start: int, end: int) -> Window:
    return Window(start=day(start), end=day(end))


def test_models_fitted_before_the_holdout_may_be_compared_on_it() -> None:
    found = audit_windows(window(20, 30), {"challenger": [window(1, 10), window(10, 20)], "champion": [window(1, 5)]})
    assert found.answer is Answer.PASS
    assert found.reasons == ("All models were fitted on rows from before the holdout.",)


def test_a_champion_that_has_seen_the_holdout_cannot_be_judged_on_it() -> None:
    found = audit_windows(window(20, 30), {"challenger": [window(1, 20)], "champion": [window(10, 21), window(1, 10)]})
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons == ("The champion was fitted on rows up to 2024-01-21, but the holdout begins on 2024-01-20.",)


def test_a_model_of_unknown_origin_cannot_be_judged() -> None:
    found = audit_windows(window(20, 30), {"champion": []})
    assert found.answer is Answer.INCONCLUSIVE
    assert found.reasons == ("It is not known which rows the champion was fitted on.",)

"""Metrics agree with scikit-learn, with any weights and ties, and are `None` where they mean nothing."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as theirs

from perennial.model.metrics import (
    METRICS,
    UnknownMetric,
    Vector,
    interval,
    intervals,
    metric,
    paired_difference,
)

ROWS = 500
RANDOM = np.random.default_rng(3)
Y = (RANDOM.random(ROWS) < 0.3).astype(float)
GOOD = np.clip(0.3 + 0.25 * (Y - 0.3) + RANDOM.normal(0, 0.1, ROWS), 0.01, 0.99)
WEAK = np.clip(0.3 + 0.05 * (Y - 0.3) + RANDOM.normal(0, 0.1, ROWS), 0.01, 0.99)
TIED = GOOD.round(1)
VALUES = RANDOM.normal(50, 10, ROWS)
THEIRS: dict[str, Callable[..., float]] = {
    "roc_auc": theirs.roc_auc_score,
    "average_precision": theirs.average_precision_score,
    "log_loss": theirs.log_loss,
    "brier": theirs.brier_score_loss,
    "mae": theirs.mean_absolute_error,
    "rmse": theirs.root_mean_squared_error,
    "r2": theirs.r2_score,
}


def rows_for(name: str) -> tuple[Vector, Vector]:
    return (Y, TIED) if METRICS[name].task == "binary" else (VALUES, VALUES + RANDOM.normal(0, 3, ROWS))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_that_of_scikit_learn_with_ties_and_with_weights(name: str) -> None:
    y, score = rows_for(name)
    weights = RANDOM.integers(0, 4, (3, ROWS)).astype(float)
    assert metric(name).value(y, score) == pytest.approx(THEIRS[name](y, score))
    expected = [THEIRS[name](y, score, sample_weight=one) for one in weights]
    assert metric(name).weighted(y, score)(weights) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_scores_without_ties_are_ranked_as_scikit_learn_does(name: str) -> None:
    assert metric(name).value(Y, GOOD) == pytest.approx(THEIRS[name](Y, GOOD))


def test_a_certain_mistake_costs_much_but_not_infinitely_much() -> None:
    assert metric("log_loss").value(np.array([1.0, 0.0]), np.array([0.0, 0.0])) == pytest.approx(
        theirs.log_loss([1, 0], [0.0, 0.0])
    )


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_score_that_is_not_finite_or_overflows_leaves_nothing_to_say(name: str, bad: float) -> None:
    y, score = rows_for(name)
    broken = np.where(np.arange(ROWS) == 7, bad, score)
    if bad == 1e300 and name in ("roc_auc", "average_precision", "mae"):
        pytest.skip("a huge score is still a score there")
    found = interval(name, y, broken, resamples=20)
    assert (found.value, found.low, found.high, found.rows) == (None, None, None, ROWS)
    assert paired_difference(name, y, score, broken, resamples=20).value is None


@pytest.mark.parametrize("name", METRICS)
def test_no_rows_give_no_value(name: str) -> None:
    nothing = np.empty(0)
    assert interval(name, nothing, nothing).value is None
    assert paired_difference(name, nothing, nothing, nothing).value is None


@pytest.mark.parametrize("name", ["roc_auc"])
@pytest.mark.parametrize("only", [0.0, 1.0])
def test_one_class_cannot_be_ranked(name: str, only: float) -> None:
    assert interval(name, np.full(ROWS, only), GOOD, resamples=20).value is None


def test_average_precision_needs_a_positive_row() -> None:
    assert metric("average_precision").value(np.zeros(ROWS), GOOD) is None


def test_labels_of_a_binary_task_are_0_or_1() -> None:
    assert metric("roc_auc").value(np.where(Y == 1, 2.0, 0.0), GOOD) is None


@pytest.mark.parametrize("name", ["log_loss", "brier"])
def test_what_is_no_probability_has_no_loss(name: str) -> None:
    assert metric(name).value(Y, GOOD * 3) is None


def test_constant_labels_leave_nothing_to_explain() -> None:
    assert metric("r2").value(np.full(ROWS, 0.1), VALUES) is None


def test_an_interval_holds_its_value_and_narrows_with_rows() -> None:
    whole, part = interval("roc_auc", Y, GOOD), interval("roc_auc", Y[:100], GOOD[:100])
    for one in (whole, part):
        assert one.low is not None and one.high is not None and one.value is not None
        assert one.low < one.value < one.high
    assert whole.high - whole.low < part.high - part.low


def test_an_interval_is_as_wide_as_theory_says_for_a_mean() -> None:
    errors = RANDOM.normal(0, 2, 4000)
    found = interval("mae", np.zeros(4000), errors, resamples=2000)
    half = 1.96 * np.abs(errors).std() / np.sqrt(4000)
    assert found.low == pytest.approx(found.value - half, abs=half / 8)
    assert found.high == pytest.approx(found.value + half, abs=half / 8)


def test_the_same_seed_gives_the_same_interval_alone_or_among_others() -> None:
    alone = interval("log_loss", Y, GOOD, seed=5)
    assert intervals(["roc_auc", "log_loss"], Y, GOOD, seed=5)["log_loss"] == alone
    assert interval("log_loss", Y, GOOD, seed=6) != alone


def test_more_confidence_is_a_wider_interval() -> None:
    narrow, wide = (interval("brier", Y, GOOD, confidence=one) for one in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_an_interval_is_left_open_when_resamples_often_lack_a_class() -> None:
    few = np.zeros(ROWS)
    few[0] = 1.0
    found = interval("roc_auc", few, GOOD)
    assert found.value is not None
    assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "log_loss", "brier"])
def test_a_positive_difference_means_better_whatever_the_direction(name: str) -> None:
    found = paired_difference(name, Y, GOOD, WEAK)
    assert found.value is not None and found.value > 0
    assert found.low is not None and found.low > 0
    mirrored = paired_difference(name, Y, WEAK, GOOD)
    assert mirrored.value == pytest.approx(-found.value)
    assert mirrored.high == pytest.approx(-found.low)


def test_a_model_differs_from_itself_by_exactly_nothing() -> None:
    found = paired_difference("roc_auc", Y, GOOD, GOOD)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_pairing_makes_the_difference_surer_than_two_separate_intervals() -> None:
    close = np.clip(GOOD + RANDOM.normal(0, 0.01, ROWS), 0, 1)
    paired, single = paired_difference("roc_auc", Y, GOOD, close), interval("roc_auc", Y, GOOD)
    assert paired.high - paired.low < (single.high - single.low) / 3


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownMetric, match=r"`roc_acu` is no metric; did you mean `roc_auc`\?"):
        metric("roc_acu")
    with pytest.raises(UnknownMetric, match="is no `regression` metric"):
        metric("roc_auc", "regression")

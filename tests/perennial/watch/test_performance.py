"""Metrics on mature labels, undefined where they must be, and a verdict that noise alone does not turn."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from perennial.data.engine import Engine
from perennial.records import Answer, Interval
from perennial.settings import Settings
from perennial.use_case import UseCase
from perennial.watch.performance import Outcomes, has_degraded, holdout_performance, measure_performance, read_outcomes
from tests.builders import make_use_case, moment


@pytest.fixture(scope="module")
def use_case(tmp_path_factory: pytest.TempPathFactory) -> UseCase:
    return make_use_case(tmp_path_factory.mktemp("shop"), months=()).use_case


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(Settings(environment="test", storage_root="", threads=1)) as opened:
        yield opened


def outcomes(engine: Engine, use_case: UseCase, scored: list[tuple[str, str, float]], labels: list[tuple]) -> Outcomes:
    """Rows `(key, day, score)` and labels `(key, label, day)`, as seen on the 20th; labels mature after 7 days."""
    scores = {
        "order_id": [key for key, _, _ in scored],
        "event_time": pa.array([moment(day) for _, day, _ in scored], pa.timestamp("us", "UTC")),
        "score": pa.array([score for _, _, score in scored], pa.float64()),
    }
    known = {
        "order_id": pa.array([key for key, _, _ in labels], pa.string()),
        "label": pa.array([label for _, label, _ in labels], pa.float64()),
        "known_at": pa.array([moment(day) for _, _, day in labels], pa.timestamp("us", "UTC")),
    }
    engine.arrow("scored", pa.table(scores))
    engine.arrow("labels", pa.table(known))
    return read_outcomes(engine, use_case, "scored", moment("2024-01-20"))


def test_only_mature_rows_are_measured_and_pending_ones_are_counted(engine: Engine, use_case: UseCase) -> None:
    scored = [("a", "2024-01-01", 0.1), ("b", "2024-01-13", 0.2), ("c", "2024-01-14", 0.3), ("d", "2024-01-02", 0.4)]
    labels = [("a", 0.0, "2024-01-08"), ("b", 1.0, "2024-01-20"), ("c", 1.0, "2024-01-15")]
    seen = outcomes(engine, use_case, scored, labels)
    assert (seen.rows, seen.labels, seen.mature) == (4, 3, 3)
    assert list(seen.y) == [0.0, 1.0] and list(seen.score) == [0.1, 0.2]


def test_of_several_labels_the_newest_counts_once(engine: Engine, use_case: UseCase) -> None:
    labels = [("a", 0.0, "2024-01-08"), ("a", 1.0, "2024-01-10"), ("other", 1.0, "2024-01-09")]
    seen = outcomes(engine, use_case, [("a", "2024-01-01", 0.1)], labels)
    assert (seen.rows, seen.labels, list(seen.y)) == (1, 1, [1.0])


@pytest.mark.parametrize("scored", [[], [("a", "2024-01-01", 0.5)]])
def test_no_labels_are_no_performance(engine: Engine, use_case: UseCase, scored: list) -> None:
    seen = outcomes(engine, use_case, scored, [])
    assert (seen.labels, len(seen.y)) == (0, 0)
    assert measure_performance(seen, use_case)["roc_auc"] == Interval(value=None, rows=0)


def many(rows: int, y: np.ndarray, score: np.ndarray) -> Outcomes:
    return Outcomes(rows=rows, labels=rows, mature=rows, y=y, score=score)


def test_metrics_come_with_intervals_the_primary_first(use_case: UseCase) -> None:
    random = np.random.default_rng(0)
    score = random.random(300)
    found = measure_performance(many(300, (random.random(300) < score).astype(float), score), use_case)
    assert list(found) == ["roc_auc", "log_loss"]
    auc = found["roc_auc"]
    assert auc.low and auc.value and auc.high and auc.low < auc.value < auc.high


@pytest.mark.parametrize(
    ("rows", "y", "score"),
    [
        (49, np.arange(49) % 2.0, np.linspace(0, 1, 49)),
        (100, np.zeros(100), np.linspace(0, 1, 100)),
        (100, np.arange(100) % 2.0, np.full(100, np.nan)),
        (100, np.arange(100) % 2.0, np.where(np.arange(100) == 3, np.inf, 0.5)),
    ],
    ids=["too few", "one class", "nan scores", "an infinite score"],
)
def test_performance_is_undefined_rather_than_wrong(
    use_case: UseCase, rows: int, y: np.ndarray, score: np.ndarray
) -> None:
    found = measure_performance(many(rows, y, score), use_case)["roc_auc"]
    assert (found.value, found.low, found.high, found.rows) == (None, None, None, rows)
    assert has_degraded("roc_auc", found, Interval(value=0.8, rows=500), 0.03).answer is Answer.INCONCLUSIVE


@pytest.mark.parametrize(
    ("metric", "now", "before", "answer"),
    [
        ("roc_auc", (0.80, 0.78, 0.82), (0.80, 0.78, 0.82), Answer.PASS),
        ("roc_auc", (0.90, 0.88, 0.92), (0.80, 0.78, 0.82), Answer.PASS),
        ("roc_auc", (0.76, 0.75, 0.77), (0.80, 0.79, 0.81), Answer.PASS),
        ("roc_auc", (0.70, 0.65, 0.75), (0.80, 0.78, 0.82), Answer.FAIL),
        ("roc_auc", (0.70, 0.55, 0.80), (0.80, 0.78, 0.82), Answer.INCONCLUSIVE),
        ("roc_auc", (0.70, 0.65, 0.75), (0.80, 0.70, 0.90), Answer.INCONCLUSIVE),
        ("roc_auc", (0.70, None, None), (0.80, 0.78, 0.82), Answer.INCONCLUSIVE),
        ("roc_auc", (0.70, 0.65, 0.75), (0.80, None, None), Answer.INCONCLUSIVE),
        ("roc_auc", (0.70, 0.65, 0.75), (None, None, None), Answer.INCONCLUSIVE),
        ("rmse", (1.10, 1.05, 1.15), (1.00, 0.98, 1.02), Answer.FAIL),
        ("rmse", (1.10, 0.95, 1.12), (1.00, 0.98, 1.02), Answer.INCONCLUSIVE),
        ("rmse", (1.10, 1.05, 1.15), (1.00, 0.98, 1.15), Answer.INCONCLUSIVE),
        ("rmse", (0.80, 0.75, 0.85), (1.00, 0.98, 1.02), Answer.PASS),
    ],
)
def test_degraded_is_a_loss_that_is_large_and_sure(
    metric: str, now: tuple[float | None, ...], before: tuple[float | None, ...], answer: Answer
) -> None:
    seen, expected = (Interval(value=value, low=low, high=high, rows=500) for value, low, high in (now, before))
    verdict = has_degraded(metric, seen, expected, 0.05)
    assert verdict.answer is answer
    assert f"{now[0]:.3f}" in verdict.reasons[0]


def test_without_a_training_there_is_no_reference() -> None:
    assert holdout_performance(None) == {}
    verdict = has_degraded("roc_auc", Interval(value=0.5, low=0.4, high=0.6, rows=500), None, 0.05)
    assert verdict.answer is Answer.INCONCLUSIVE

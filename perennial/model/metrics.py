"""How good scores are, and how sure that is: metrics with bootstrap intervals and paired differences.

It compares numbers on the same rows; whether a difference is enough is the gate's decision.

Intervals are percentile intervals over resampled rows (Efron and Tibshirani 1993, ch. 13, for differences
ch. 16). A resample is a vector of counts, one per row, so that a metric is computed with weights and the rows
are never copied.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perennial.errors import Permanent, nearest
from perennial.records import Interval

Vector = NDArray[np.float64]
Weighted = Callable[[Vector], Vector]
"""A metric on fixed rows as a function of their weights, shape (b, n) to (b,); NaN where it is undefined."""
_BLOCK = 2**18
"""Weights held at a time, 2 MB: a block stays in the cache, whatever the number of rows and resamples."""
_UNDEFINED = 0.05
"""Share of resamples in which a metric may be undefined, as with one class, before the interval is."""


class UnknownMetric(Permanent):
    """No metric has that name, or it does not fit the task."""


@dataclass(frozen=True)
class Scores:
    """The scores of one model on the labelled rows of a window, aligned row by row."""

    y: Vector
    """Labels, shape (n,); 0 or 1 for a binary task."""
    score: Vector
    """Probabilities or values, shape (n,)."""
    slices: dict[str, NDArray[Any]]
    """Per slice column the texts of the rows, shape (n,)."""
    rows: str
    """Digest of the keys: equal for two models that were scored on the same rows in the same order."""


@dataclass(frozen=True)
class Metric:
    """One way to judge scores against labels."""

    name: str
    task: Literal["binary", "regression"]
    higher_is_better: bool
    weighted: Callable[[Vector, Vector], Weighted]

    def value(self, y: Vector, score: Vector) -> float | None:
        """Return the metric, or `None` where it is undefined: no rows, one class, a number that is not finite."""
        if not self._fits(y, score):
            return None
        with np.errstate(all="ignore"):
            value = float(self.weighted(y, score)(np.ones((1, len(y))))[0])
        return value if np.isfinite(value) else None

    def _fits(self, y: Vector, score: Vector) -> bool:
        finite = len(y) > 0 and bool(np.isfinite(y).all() and np.isfinite(score).all())
        return finite and (self.task == "regression" or bool(np.isin(y, (0, 1)).all()))


def metric(name: str, task: str | None = None) -> Metric:
    """Return a metric by its name.

    Raises:
        UnknownMetric: No metric of the task, or of any when none is given, has that name.
    """
    known = [one for one, found in METRICS.items() if task in (None, found.task)]
    if name not in known:
        listed = ", ".join(f"`{one}`" for one in known)
        kind = f"`{task}` " if task else ""
        raise UnknownMetric(f"`{name}` is no {kind}metric{nearest(name, known) or '.'} Expected one of {listed}.")
    return METRICS[name]


def interval(
    name: str, y: Vector, score: Vector, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return a metric with its bootstrap percentile interval, each end `None` where it is undefined."""
    return intervals([name], y, score, resamples=resamples, confidence=confidence, seed=seed)[name]


def intervals(
    names: Sequence[str], y: Vector, score: Vector, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Return several metrics with their intervals, all on the same resamples."""
    found = {name: metric(name) for name in names}
    values = {name: one.value(y, score) for name, one in found.items()}
    ready = [found[name].weighted(y, score) for name in names if values[name] is not None]
    drawn = iter(_replicates(ready, len(y), resamples, seed))
    return {
        name: _with_bounds(values[name], next(drawn) if values[name] is not None else None, confidence, len(y))
        for name in names
    }


def paired_difference(
    name: str,
    y: Vector,
    a: Vector,
    b: Vector,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return by how much scores `a` are better than `b` on the same rows: positive is better for any metric.

    Both are computed on the same resamples, so that what is hard for both cancels out (Efron and Tibshirani
    1993, ch. 16).
    """
    one = metric(name)
    value_a, value_b = one.value(y, a), one.value(y, b)
    if value_a is None or value_b is None:
        return Interval(value=None, rows=len(y))
    sign = 1.0 if one.higher_is_better else -1.0
    drawn = _replicates([one.weighted(y, a), one.weighted(y, b)], len(y), resamples, seed)
    return _with_bounds(sign * (value_a - value_b), sign * (drawn[0] - drawn[1]), confidence, len(y))


def _replicates(ready: Sequence[Weighted], rows: int, resamples: int, seed: int) -> Vector:
    """Give one line per metric, shape (len(ready), resamples)."""
    if not ready:
        return np.empty((0, resamples))
    with np.errstate(all="ignore"):
        blocks = [np.stack([one(weights) for one in ready]) for weights in _resampled(rows, resamples, seed)]
    return np.concatenate(blocks, axis=1)


def _resampled(rows: int, resamples: int, seed: int) -> Iterator[Vector]:
    random = np.random.default_rng(seed)
    step = max(1, _BLOCK // rows)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = random.integers(0, rows, (count, rows), dtype=np.int32)
        drawn += np.arange(count, dtype=np.int32)[:, None] * np.int32(rows)
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def _with_bounds(value: float | None, drawn: Vector | None, confidence: float, rows: int) -> Interval:
    if value is None or drawn is None:
        return Interval(value=None, rows=rows)
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < (1 - _UNDEFINED) * len(drawn):
        return Interval(value=value, rows=rows)
    low, high = np.quantile(defined, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Interval(value=value, low=float(low), high=float(high), rows=rows)


def _mean_of(loss: Callable[[Vector, Vector], Vector], then: Callable[[Vector], Vector] | None = None) -> Any:
    def prepare(y: Vector, score: Vector) -> Weighted:
        losses = loss(y, score)

        def weighted(weights: Vector) -> Vector:
            mean: Vector = weights @ losses / weights.sum(axis=1)
            return then(mean) if then else mean

        return weighted

    return prepare


def _log_loss(y: Vector, score: Vector) -> Vector:
    tiny = np.finfo(np.float64).eps
    inside = np.where((score >= 0) & (score <= 1), np.clip(score, tiny, 1 - tiny), np.nan)
    return -np.log(np.where(y == 1, inside, 1 - inside))


def _brier(y: Vector, score: Vector) -> Vector:
    return np.where((score >= 0) & (score <= 1), (y - score) ** 2, np.nan)


def _squared(y: Vector, score: Vector) -> Vector:
    return (y - score) ** 2


def _r2(y: Vector, score: Vector) -> Weighted:
    centred, losses = y - y.mean(), (y - score) ** 2

    def weighted(weights: Vector) -> Vector:
        total = weights.sum(axis=1)
        spread: Vector = weights @ centred**2 - (weights @ centred) ** 2 / total
        return np.where(spread > 0, 1 - weights @ losses / spread, np.nan)

    return weighted


def _roc_auc(y: Vector, score: Vector) -> Weighted:
    """The weighted share of pairs that are in the right order, ties counting half (Mann and Whitney 1947)."""
    order = np.argsort(score, kind="stable")
    positive, starts = y[order], _starts(score[order])

    def weighted(weights: Vector) -> Vector:
        ups, downs = _grouped(weights * positive, starts), _grouped(weights * (1 - positive), starts)
        below = np.cumsum(downs, axis=1) - downs / 2
        pairs: Vector = ups.sum(axis=1) * downs.sum(axis=1)
        ordered: Vector = np.einsum("bn,bn->b", ups, below)
        return ordered / np.where(pairs > 0, pairs, np.nan)

    return lambda weights: weighted(weights[:, order])


def _average_precision(y: Vector, score: Vector) -> Weighted:
    """The mean precision at the thresholds, weighted by the recall each adds; ties are one threshold."""
    order = np.argsort(-score, kind="stable")
    positive, starts = y[order], _starts(score[order])

    def weighted(weights: Vector) -> Vector:
        ups, both = _grouped(weights * positive, starts), _grouped(weights, starts)
        found = np.cumsum(both, axis=1)
        precision = np.cumsum(ups, axis=1) / np.where(found > 0, found, 1)
        total: Vector = ups.sum(axis=1)
        gained: Vector = np.einsum("bn,bn->b", ups, precision)
        return gained / np.where(total > 0, total, np.nan)

    return lambda weights: weighted(weights[:, order])


def _starts(ordered: Vector) -> NDArray[np.intp] | None:
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return None if len(starts) == len(ordered) else starts


def _grouped(weights: Vector, starts: NDArray[np.intp] | None) -> Vector:
    return weights if starts is None else np.add.reduceat(weights, starts, axis=1)


METRICS = {
    one.name: one
    for one in (
        Metric("roc_auc", "binary", True, _roc_auc),
        Metric("average_precision", "binary", True, _average_precision),
        Metric("log_loss", "binary", False, _mean_of(_log_loss)),
        Metric("brier", "binary", False, _mean_of(_brier)),
        Metric("mae", "regression", False, _mean_of(lambda y, score: np.abs(y - score))),
        Metric("rmse", "regression", False, _mean_of(_squared, np.sqrt)),
        Metric("r2", "regression", True, _r2),
    )
}
"""Every metric by name."""

"""The choice of parameters on the validation window, within a declared budget; it never sees the holdout.

Trials are drawn at random (Bergstra and Bengio 2012), which for few trials does as well as anything cleverer.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from perennial.model.estimators import Estimator
from perennial.model.fitted import Fitted, Sample
from perennial.model.metrics import Metric
from perennial.source_spec import Scalar
from perennial.use_case import Candidate, Search


class Choice(NamedTuple):
    """The best of some trials."""

    fitted: Fitted
    parameters: dict[str, Scalar]
    validation: float | None
    """The metric on the validation rows; `None` where it is undefined."""
    trials: int


def choose(
    estimator: Estimator, candidate: Candidate, sample: Sample, metric: Metric, seed: int, threads: int
) -> Choice:
    """Fit a candidate, with a search also the drawn parameters, and keep what does best on the validation rows.

    The declared parameters are the first trial. The draws depend on the seed alone, so a budget of trials gives
    the same model every time; one of seconds may end it earlier, and then the model depends on the machine.

    Raises:
        UnknownParameter: A parameter is not the estimator's.
        FitFailed: The library refused the data or a value of a parameter.
    """
    drawn = _draws(estimator, candidate.search, seed) if candidate.search else []
    deadline = time.monotonic() + (candidate.search.seconds if candidate.search else 0)
    best: Choice | None = None
    for trial, params in enumerate([{}, *drawn], start=1):
        if best is not None and time.monotonic() > deadline:
            break
        complete = estimator.complete({**candidate.params, **params})
        fitted = estimator.fit(sample, complete, seed, threads)
        value = metric.value(sample.y_validation, fitted.scores(sample.x_validation))
        if best is None or _better(value, best.validation, metric):
            best = Choice(fitted, complete, value, trial)
        best = best._replace(trials=trial)
    assert best is not None
    return best


def _draws(estimator: Estimator, search: Search, seed: int) -> list[dict[str, Scalar]]:
    random = np.random.default_rng(seed)
    defaults = estimator.complete(dict.fromkeys(search.space, 0))  # refuses unknown names
    return [
        {name: _drawn(random, space, type(estimator.defaults[name])) for name, space in search.space.items()}
        for _ in range(search.trials - 1)
        if defaults
    ]


def _drawn(random: np.random.Generator, space: tuple[Scalar, ...] | Mapping[Any, float | bool], kind: type) -> Scalar:
    if not isinstance(space, Mapping):
        return space[int(random.integers(len(space)))]
    low, high = float(space["low"]), float(space["high"])
    value = math.exp(random.uniform(math.log(low), math.log(high))) if space.get("log") else random.uniform(low, high)
    return round(value) if kind is int else float(value)


def _better(value: float | None, best: float | None, metric: Metric) -> bool:
    if value is None or best is None:
        return value is not None
    return value > best if metric.higher_is_better else value < best

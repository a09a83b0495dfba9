"""The ways to fit data, by name, with their parameters; how each one does it is in its own module.

It sees matrices and labels, and nothing of use cases, files or metrics.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from perennial.errors import Permanent, nearest
from perennial.model.constant import Constant
from perennial.model.fitted import Fitted, Sample
from perennial.model.linear import LOGISTIC, RIDGE, Linear
from perennial.model.trees import TREES, Boosted, boosted
from perennial.source_spec import Scalar


class UnknownEstimator(Permanent):
    """No estimator has that name, or it does not fit the task."""


class UnknownParameter(Permanent):
    """An estimator has no parameter of that name."""


class FitFailed(Permanent):
    """The library refused the data or the parameters."""


@dataclass(frozen=True)
class Estimator:
    """One way to fit data."""

    name: str
    task: str
    file: str
    """Name of its file in an artifact; the suffix is the format."""
    defaults: Mapping[str, Scalar]
    """Every parameter that may be set, with its default."""
    fitting: Callable[[Sample, Mapping[str, Scalar], int, int], Fitted]
    """Called with sample, all parameters, seed, threads (0 for all)."""
    load: Callable[[bytes], Fitted]

    def complete(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return all parameters, those given over the defaults.

        Raises:
            UnknownParameter: One of them is not the estimator's.
        """
        for name in params:
            if name not in self.defaults:
                known = ", ".join(f"`{one}`" for one in self.defaults) or "none"
                raise UnknownParameter(
                    f"`{self.name}` has no parameter `{name}`{nearest(name, self.defaults) or '.'} It has {known}."
                )
        return {**self.defaults, **params}

    def fit(self, sample: Sample, params: Mapping[str, Scalar], seed: int, threads: int) -> Fitted:
        """Fit on a sample, with the defaults for what `params` leaves out.

        Raises:
            UnknownParameter: A parameter is not the estimator's.
            FitFailed: The library refused the data or a value of a parameter.
        """
        complete = self.complete(params)
        try:
            return self.fitting(sample, complete, seed, threads)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise FitFailed(
                f"`{self.name}` could not be fitted on {len(sample.y)} rows with {json.dumps(complete)}: {error}. "
                "Change `params` of the candidate in use_case.yaml."
            ) from error


def estimator(name: str, task: str) -> Estimator:
    """Return an estimator by its name.

    Raises:
        UnknownEstimator: The task has none of that name.
    """
    known = [one for one, for_task in ESTIMATORS if for_task == task]
    if name not in known:
        listed = ", ".join(f"`{one}`" for one in known)
        raise UnknownEstimator(
            f"`{name}` is no estimator for a `{task}` task{nearest(name, known) or '.'} Expected {listed}."
        )
    return ESTIMATORS[name, task]


ESTIMATORS = {
    (one.name, one.task): one
    for one in (
        Estimator("majority", "binary", "model.json", {}, Constant.fit, Constant.load),
        Estimator("mean", "regression", "model.json", {}, Constant.fit, Constant.load),
        Estimator("logistic_regression", "binary", "model.skops", LOGISTIC, Linear.fit, Linear.load),
        Estimator("ridge", "regression", "model.skops", RIDGE, Linear.fit, Linear.load),
        Estimator("xgboost", "binary", "model.ubj", TREES, boosted("binary:logistic"), Boosted.load),
        Estimator("xgboost", "regression", "model.ubj", TREES, boosted("reg:squarederror"), Boosted.load),
    )
}
"""Every estimator by name and task."""

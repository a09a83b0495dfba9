"""Linear models of imputed, scaled and one-hot columns; the only module that uses scikit-learn.

It knows nothing of encoders: which columns hold codes is told by the sample.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from perennial.model.encoding import Matrix
from perennial.model.fitted import Sample, UnreadableModel, shares
from perennial.model.metrics import Vector
from perennial.model.skops_file import dump_skops, load_skops
from perennial.source_spec import Scalar

LOGISTIC: dict[str, Scalar] = {"C": 1.0, "max_iter": 100, "tol": 1e-4, "sample_rows": 250_000}
RIDGE: dict[str, Scalar] = {"alpha": 1.0, "max_iter": 1000, "tol": 1e-4, "sample_rows": 250_000}


@dataclass(frozen=True)
class Linear:
    """A linear model of imputed and scaled numbers and one-hot categories, as a scikit-learn pipeline."""

    pipeline: Any

    @classmethod
    def fit(cls, sample: Sample, params: Mapping[str, Scalar], seed: int, threads: int) -> Self:
        """Fit on all rows, or on `sample_rows` of them drawn by the seed.

        One thread, because sums over several may come out differently in the last bits. A fit that stops at
        `max_iter` is a usable model, and its metrics say how good.
        """
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        rows = _drawn(len(sample.y), int(params["sample_rows"]), seed)
        pipeline = _pipeline(sample.categorical, {key: params[key] for key in params if key != "sample_rows"})
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            pipeline.fit(sample.x[rows], sample.y[rows])
        return cls(pipeline)

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read a skops file that we wrote."""
        from sklearn.pipeline import Pipeline

        pipeline = load_skops(data)
        if not isinstance(pipeline, Pipeline) or list(pipeline.named_steps) != ["columns", "model"]:
            raise UnreadableModel("The model is no pipeline of `columns` and `model`. It was not used.")
        return cls(pipeline)

    def scores(self, x: Matrix) -> Vector:
        """Return probabilities of the label 1 where the model is a classifier, else values."""
        if hasattr(self.pipeline, "predict_proba"):
            return np.asarray(self.pipeline.predict_proba(x)[:, 1], dtype=np.float64)
        return np.asarray(self.pipeline.predict(x), dtype=np.float64)

    def save(self) -> bytes:
        """Write a skops file."""
        return dump_skops(self.pipeline)

    def importance(self, names: Sequence[str]) -> dict[str, float]:
        """Return shares of the absolute coefficient of a number, of the spread of those of a column's categories."""
        columns = self.pipeline.named_steps["columns"]
        weights = np.ravel(self.pipeline.named_steps["model"].coef_)
        found = dict.fromkeys(names, 0.0)
        numeric, coded = columns.output_indices_["numeric"], columns.output_indices_["categorical"]
        for place, weight in zip(columns.transformers_[0][2], weights[numeric], strict=True):
            found[names[place]] = float(abs(weight))
        sizes = [len(one) for one in getattr(columns.named_transformers_["categorical"], "categories_", ())]
        groups = np.split(weights[coded], np.cumsum(sizes)[:-1]) if sizes else []
        for place, group in zip(columns.transformers_[1][2], groups, strict=True):
            found[names[place]] = float(group.std())
        return shares(found)

    def contributions(self, x: Matrix) -> Matrix:
        """Return coefficient times value of each column, the intercept as base.

        A number counts from its mean on the fitted rows, where a missing one lies too; a category from none. For
        numbers that vary independently these are the Shapley values (Lundberg and Lee 2017, corollary 1).
        """
        columns, model = self.pipeline.named_steps["columns"], self.pipeline.named_steps["model"]
        values = columns.transform(x)
        dense = values.toarray() if hasattr(values, "toarray") else values
        parts = np.asarray(dense, dtype=np.float64) * np.ravel(model.coef_)
        found = np.zeros((len(x), x.shape[1] + 1))
        numeric, coded = columns.output_indices_["numeric"], columns.output_indices_["categorical"]
        found[:, columns.transformers_[0][2]] = parts[:, numeric]
        sizes = [len(one) for one in getattr(columns.named_transformers_["categorical"], "categories_", ())]
        groups = np.split(parts[:, coded], np.cumsum(sizes)[:-1], axis=1) if sizes else []
        for place, group in zip(columns.transformers_[1][2], groups, strict=True):
            found[:, place] = group.sum(axis=1)
        found[:, -1] = np.ravel(model.intercept_)[0]
        return found


def _drawn(rows: int, limit: int, seed: int) -> Any:
    if rows <= limit:
        return slice(None)
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def _pipeline(categorical: tuple[bool, ...], params: Mapping[str, Scalar]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    scaled = Pipeline([("impute", SimpleImputer(keep_empty_features=True)), ("scale", StandardScaler())])
    one_hot = OneHotEncoder(handle_unknown="ignore", dtype=np.float32)
    numeric, coded = [np.flatnonzero(np.array(categorical) == kind).tolist() for kind in (False, True)]
    columns = ColumnTransformer([("numeric", scaled, numeric), ("categorical", one_hot, coded)])
    model = LogisticRegression(**params) if "C" in params else Ridge(**params)
    return Pipeline([("columns", columns), ("model", model)])

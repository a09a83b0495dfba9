"""Gradient-boosted trees; the only module that uses XGBoost.

It knows nothing of encoders: which columns hold codes is told by the sample.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self, cast

import numpy as np

from perennial.model.encoding import Matrix
from perennial.model.fitted import Fitted, Sample, UnreadableModel, shares
from perennial.model.metrics import Vector
from perennial.source_spec import Scalar

TREES: dict[str, Scalar] = {
    "rounds": 500,
    "early_stopping_rounds": 25,
    "learning_rate": 0.1,
    "max_depth": 6,
    "max_leaves": 0,
    "min_child_weight": 1.0,
    "subsample": 1.0,
    "colsample_bytree": 1.0,
    "gamma": 0.0,
    "reg_alpha": 0.0,
    "reg_lambda": 1.0,
    "max_bin": 256,
    "max_cat_to_onehot": 4,
    "max_cat_threshold": 64,
}
_OURS = {"rounds", "early_stopping_rounds"}


@dataclass(frozen=True)
class Boosted:
    """Gradient-boosted trees (Chen and Guestrin 2016), cut after their best round."""

    booster: Any

    @classmethod
    def fit(cls, sample: Sample, params: Mapping[str, Scalar], seed: int, threads: int, objective: str = "") -> Self:
        """Add trees until the loss on the validation rows has not fallen for `early_stopping_rounds`."""
        xgboost = _xgboost()
        kinds = ["c" if one else "q" for one in sample.categorical]
        shape = {"feature_types": kinds, "enable_categorical": True, "nthread": threads, "max_bin": params["max_bin"]}
        data = xgboost.QuantileDMatrix(sample.x, sample.y, **shape)
        later = xgboost.QuantileDMatrix(sample.x_validation, sample.y_validation, ref=data, **shape)
        fixed = {"objective": objective, "tree_method": "hist", "seed": seed, "nthread": threads, "verbosity": 0}
        booster = xgboost.train(
            {key: value for key, value in params.items() if key not in _OURS} | fixed,
            data,
            num_boost_round=int(params["rounds"]),
            evals=[(later, "validation")],
            early_stopping_rounds=int(params["early_stopping_rounds"]) or None,
            verbose_eval=False,
        )
        best = booster.best_iteration if params["early_stopping_rounds"] else int(params["rounds"]) - 1
        return cls(booster[: best + 1])

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read UBJ. Bytes of another format, some of which end the process inside XGBoost, are refused before."""
        xgboost = _xgboost()
        if not (data.startswith(b"{L") and data.endswith(b"}")):
            raise UnreadableModel("The model is no UBJ of XGBoost. It was not used.")
        booster = xgboost.Booster()
        try:
            booster.load_model(bytearray(data))
        except ValueError as error:
            raise UnreadableModel(f"The model is no UBJ of XGBoost: {str(error)[:200]}. It was not used.") from error
        return cls(booster)

    def scores(self, x: Matrix) -> Vector:
        """Return probabilities of the label 1, or values."""
        return np.asarray(self.booster.inplace_predict(x, validate_features=False), dtype=np.float64)

    def save(self) -> bytes:
        """Write UBJ."""
        return bytes(self.booster.save_raw("ubj"))

    def importance(self, names: Sequence[str]) -> dict[str, float]:
        """Return shares of the total gain of the splits on each column."""
        gains = self.booster.get_score(importance_type="total_gain")
        return shares({name: float(gains.get(f"f{place}", 0.0)) for place, name in enumerate(names)})

    def contributions(self, x: Matrix) -> Matrix:
        """Return Shapley values of the columns by TreeSHAP (Lundberg et al. 2020), exact for these trees.

        The base is the mean over the trees' own counts of fitted rows. A row sums to the margin.
        """
        kinds = self.booster.feature_types
        data = _xgboost().DMatrix(x, feature_types=kinds, enable_categorical=True, nthread=1)
        return np.asarray(self.booster.predict(data, pred_contribs=True, validate_features=False))


def _xgboost() -> ModuleType:
    """Import XGBoost without scikit-learn, for which it has wrappers that nothing here uses: 0.3 instead of 1.5 s."""
    is_hidden = "sklearn" not in sys.modules
    if is_hidden:
        cast(dict[str, Any], sys.modules)["sklearn"] = None  # an import of it fails now, as if it were missing
    try:
        import xgboost
    finally:
        if is_hidden:
            del sys.modules["sklearn"]
    return xgboost


def boosted(objective: str) -> Callable[[Sample, Mapping[str, Scalar], int, int], Fitted]:
    """Return the fit for one objective of XGBoost."""
    return lambda sample, params, seed, threads: Boosted.fit(sample, params, seed, threads, objective)

"""What each feature added to the score of single rows, for people who ask why; it says nothing of cause."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from perennial.model.artifact import Model
from perennial.model.constant import Constant
from perennial.values import Frozen


class Contributions(Frozen):
    """One row's score taken apart: `base` and the features sum to it, in `unit`."""

    unit: Literal["log odds", "score"]
    """Log odds where the score is a probability: they add up, probabilities do not."""
    base: float
    """Before any feature is known."""
    features: dict[str, float]
    unseen: tuple[str, ...] = ()
    """Features with a category that was rare or absent when the model was fitted: to it the value is missing."""


def contributions(model: Model, rows: Sequence[Mapping[str, Any]]) -> list[Contributions]:
    """Take the scores of some feature rows apart, in their order.

    Trees give exact Shapley values by TreeSHAP (Lundberg et al. 2020, Nature Machine Intelligence 2, 56-67), linear
    models coefficient times value, a baseline nothing but its base.

    Args:
        model: That scored them.
        rows: Features by name, as they are logged; what the model does not use is ignored.

    Raises:
        KeyError: A feature of the model is not among a row's.
    """
    encoder = model.encoder
    matrix = model.coded(encoder.table(rows))
    in_odds = model.estimator.task == "binary" and not isinstance(model.fitted, Constant)
    return [
        Contributions(
            unit="log odds" if in_odds else "score",
            base=parts[-1],
            features=dict(zip(encoder.features, parts, strict=False)),
            unseen=tuple(name for name, known in encoder.categories.items() if row[name] not in (None, *known)),
        )
        for row, parts in zip(rows, model.fitted.contributions(matrix).tolist(), strict=True)
    ]

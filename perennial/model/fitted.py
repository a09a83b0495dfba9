"""What every estimator takes and gives: a sample to fit, a fitted model that scores, saves and explains itself.

It fits nothing; the estimators do, each in its own module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from perennial.errors import Permanent
from perennial.model.encoding import Matrix
from perennial.model.metrics import Vector


class UnreadableModel(Permanent):
    """The bytes are no model of that estimator."""


@dataclass(frozen=True)
class Sample:
    """What an estimator is fitted on: rows in a fixed order, so that the same sample gives the same bytes."""

    x: Matrix
    """Shape (n, features), NaN where a value is missing."""
    y: Vector
    x_validation: Matrix
    """Later rows, for early stopping only."""
    y_validation: Vector
    categorical: tuple[bool, ...]
    """Per column, whether it holds codes of categories."""


class Fitted(Protocol):
    """A fitted estimator."""

    def scores(self, x: Matrix) -> Vector:
        """Return probabilities of the label 1, or values, shape (n,)."""

    def save(self) -> bytes:
        """Return the whole model: the same bytes for the same sample, parameters and seed, whatever the threads."""

    def importance(self, names: Sequence[str]) -> dict[str, float]:
        """Return how much each column counts, as shares that sum to 1 (or to 0, for a constant)."""

    def contributions(self, x: Matrix) -> Matrix:
        """Return what each column adds to a row's score, and the base last, shape (n, columns + 1).

        A row of it sums to the score, where scores are probabilities to their log odds.
        """


def shares(weights: dict[str, float]) -> dict[str, float]:
    """Return weights as shares of their sum; all 0 where the sum is."""
    total = sum(weights.values())
    return {name: weight / total if total else 0.0 for name, weight in weights.items()}

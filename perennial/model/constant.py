"""The baseline that looks at no column; it is what every model has to beat.

It is kept as one number in JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from perennial.digests import canonical_json
from perennial.model.encoding import Matrix
from perennial.model.fitted import Sample, UnreadableModel
from perennial.model.metrics import Vector
from perennial.source_spec import Scalar


@dataclass(frozen=True)
class Constant:
    """The same score for every row: the rate of the label 1, or its mean."""

    value: float

    @classmethod
    def fit(cls, sample: Sample, params: Mapping[str, Scalar], seed: int, threads: int) -> Self:
        """Take the mean of the labels."""
        return cls(float(sample.y.mean()))

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read the number."""
        try:
            return cls(float(json.loads(data)["value"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableModel(f"The model is no constant: {error!r}. It was not used.") from error

    def scores(self, x: Matrix) -> Vector:
        """Return the number for every row."""
        return np.full(len(x), self.value)

    def save(self) -> bytes:
        """Write the number as JSON."""
        return canonical_json({"value": self.value})

    def importance(self, names: Sequence[str]) -> dict[str, float]:
        """Say that no column counts."""
        return dict.fromkeys(names, 0.0)

    def contributions(self, x: Matrix) -> Matrix:
        """Say that all of the score is the base, a probability too as it is."""
        return np.hstack([np.zeros_like(x), np.full((len(x), 1), self.value)])

"""What MLflow calls to load one of our models from its artifacts; it knows no registry.

The folder is a small store with one model, read by `artifact`, so its digests are checked here as well.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from perennial.model.artifact import InvalidModel, Model, load_model
from perennial.model.metrics import Vector
from perennial.store import Store


@dataclass(frozen=True)
class Predictor:
    """A model as MLflow's pyfunc flavour wants it."""

    model: Model

    def predict(self, frame: Any, params: dict[str, Any] | None = None) -> Vector:
        """Score a pandas frame that has the columns of the signature, one score per row, shape (n,)."""
        return self.model.score(pa.Table.from_pandas(frame[list(self.model.encoder.features)], preserve_index=False))


def _load_pyfunc(path: str) -> Predictor:
    folders = [one.name for one in (Path(path) / "models").glob("*")]
    if len(folders) != 1:
        raise InvalidModel(f"`{path}` holds {len(folders)} models, expected one folder named by its digest.")
    return Predictor(load_model(Store(path), folders[0]))

"""The booster as a service of BentoML, which groups concurrent requests by itself (`batchable`)."""

import os

import bentoml
import numpy as np
import xgboost


@bentoml.service(workers=1, traffic={"timeout": 30})
class Scorer:
    """One booster that was given as a file."""

    def __init__(self) -> None:
        self.booster = xgboost.Booster(model_file=os.environ["BENCH_MODEL"])

    @bentoml.api(batchable=True, max_batch_size=256)
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Score ready-made numbers."""
        return self.booster.inplace_predict(x.astype(np.float32), validate_features=False)

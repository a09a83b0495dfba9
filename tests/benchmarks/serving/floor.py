"""The floor of `make bench-serving`: a booster called in process with ready-made numbers, without HTTP or features.

`python tests/benchmarks/serving/floor.py STORAGE DIGEST` prints, per batch size, calls and rows a second, p50 and p99.
"""

import sys
import time

import numpy as np

from perennial.data.engine import Engine
from perennial.model.artifact import load_golden, load_model
from perennial.settings import Settings
from perennial.store import Store

SECONDS = 5.0


def main(storage: str, digest: str) -> None:
    """Score the model's golden questions, repeated to each batch size, on one thread of XGBoost."""
    store = Store(storage)
    model = load_model(store, digest)
    if hasattr(model.fitted, "booster"):
        model.fitted.booster.set_param({"nthread": 1})
    with Engine(Settings(environment="bench", storage_root="", threads=1)) as engine:
        engine.arrow("questions", load_golden(store, digest).table(model.encoder))
        matrix = model.encoder.matrix(engine.table(model.encoder.select("questions")))
    for rows in (1, 100):
        given, took = np.resize(matrix, (rows, matrix.shape[1])), []
        until = time.perf_counter() + SECONDS
        while (started := time.perf_counter()) < until:
            model.fitted.scores(given)
            took.append(time.perf_counter() - started)
        p50, p99 = (1e3 * value for value in np.percentile(took, (50, 99)))
        rate = len(took) / sum(took)
        print(
            f"floor rows {rows:3d}  {rate:8.0f} calls/s  {rate * rows:9.0f} rows/s  p50 {p50:.3f} ms  p99 {p99:.3f} ms"
        )


if __name__ == "__main__":
    main(*sys.argv[1:3])

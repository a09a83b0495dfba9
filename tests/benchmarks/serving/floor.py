"""The floor of `make bench-serving`: a booster called in process with ready-made numbers, without HTTP or features.

`python -m tests.benchmarks.serving.floor MODEL MATRIX ROWS SECONDS` prints one line of JSON.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from perennial.model.trees import Boosted


def main(model: str, matrix: str, rows: int, seconds: float) -> None:
    """Score as many rows at once as were asked for, again and again, on one thread."""
    fitted = Boosted.load(Path(model).read_bytes())
    fitted.booster.set_param({"nthread": 1})
    given, took = np.load(matrix)[:rows], []
    spent, began = time.process_time(), time.perf_counter()
    now = began
    while now - began < seconds:
        fitted.scores(given)
        before, now = now, time.perf_counter()
        took.append(now - before)
    p50, p99 = (1e3 * value for value in np.percentile(took, (50, 99)))
    told = {"requests": len(took), "seconds": now - began, "p50": p50, "p99": p99, "errors": 0}
    print(json.dumps(told | {"cpu": time.process_time() - spent}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))

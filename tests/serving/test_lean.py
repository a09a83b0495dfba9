"""A process of the service never loads what it has no use for."""

import subprocess
import sys
from pathlib import Path

from tests.model_builders import make_artifact
from tests.servers import ROOT

LISTS = """
import sys
from serving.lean import do_without
do_without()
import pyarrow as pa
from perennial.model.trees import _xgboost
_xgboost()
table = pa.Table.from_pylist([{"a": 1}], pa.schema([("a", pa.int64())]))
assert table.to_pylist() == [{"a": 1}]
print(sorted({"pandas", "sklearn"} & sys.modules.keys()))
"""


def test_neither_arrow_nor_xgboost_brings_pandas_along() -> None:
    done = subprocess.run([sys.executable, "-c", LISTS], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_a_linear_model_still_serves(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path, "logistic_regression")
    script = f"""
import sys
from serving.lean import do_without
do_without()
from perennial.model.artifact import load_model
from perennial.store import Store
import numpy as np
model = load_model(Store({store.root!r}), {digest!r})
assert np.isfinite(model.fitted.scores(np.zeros((1, 3), np.float32))).all()
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr


def test_a_use_case_with_patterns_is_read_without_what_matches_them_in_rows() -> None:
    script = """
import sys
from pathlib import Path
from serving.lean import do_without
do_without()
from perennial.use_case_file import load_use_case
load_use_case(Path("use_cases"), "flight-delay")
print("polars" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr

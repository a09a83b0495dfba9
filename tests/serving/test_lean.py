"""A process of the service never loads what it has no use for."""

import subprocess
import sys

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

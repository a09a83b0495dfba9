"""Call the Python function that a use case brings along for its source; it may lie only below `use_cases/`."""

import importlib.util
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import polars as pl
import pyarrow as pa

from perennial.errors import Permanent, nearest
from perennial.periods import Window


class BadAdapter(Permanent):
    """The adapter is missing, lies elsewhere or returns something else than rows."""


def call_adapter(root: Path, address: str, window: Window | None) -> pa.RecordBatchReader:
    """Return the rows that an adapter gives for a window.

    Args:
        root: Folder `use_cases/`.
        address: `file.py:function`, relative to the root.
        window: What is asked for; `None` for a reference source.

    Raises:
        BadAdapter: There is no such function below the root, or it returned no rows. What it raises itself passes.
    """
    rows = _function(root, address)(window)
    if isinstance(rows, pl.DataFrame):
        rows = rows.to_arrow()
    if isinstance(rows, pa.Table):
        rows = rows.to_reader()
    if not isinstance(rows, pa.RecordBatchReader):
        raise BadAdapter(
            f"`{address}` returned a `{type(rows).__module__}.{type(rows).__name__}`; return a pyarrow Table or "
            "RecordBatchReader, or a polars DataFrame."
        )
    return rows


def _function(root: Path, address: str) -> Callable[[Window | None], Any]:
    file, _, name = address.partition(":")
    path = (root / file).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        raise BadAdapter(f"`{file}` is no file below `{root}`; an adapter lies in the folder of its use case.")
    module = vars(_load(path, path.stat().st_mtime_ns))
    found = module.get(name)
    if not callable(found):
        known = [one for one, value in module.items() if callable(value)]
        raise BadAdapter(f"`{file}` has no function `{name}`{nearest(name, known)}")
    return cast(Callable[[Window | None], Any], found)


@lru_cache(maxsize=16)
def _load(path: Path, modified: int) -> Any:
    """Run a file once per process, so that what it caches stays cached; a file that was edited is run again."""
    spec = importlib.util.spec_from_file_location(_name(path), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def _name(path: Path) -> str:
    return "perennial_adapter_" + re.sub(r"\W", "_", str(path))

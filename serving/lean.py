"""What a process of the service does without, and how it leaves; pyarrow imports pandas at its first list of values."""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

NOT_HERE = ("pandas", "polars")


class Absent:
    """Lets the import of some modules fail, as if they were not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Say that there is no such module, and nothing of others."""
        if name in NOT_HERE:
            raise ModuleNotFoundError(f"The service does without `{name}`.", name=name)
        return None


def do_without() -> None:
    """Do without them from now on; for the start of a process.

    pandas alone takes 50 MB, and 0.2 to 1 s in which no request is answered: at the first answer that is logged.
    """
    sys.meta_path.insert(0, Absent())


def leave() -> NoReturn:
    """End this process, whose work is done, without taking its objects apart: DuckDB would fill the log with them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)

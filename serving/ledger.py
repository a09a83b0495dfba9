"""What a replica has answered and logged, in a file that outlives its process: only with the machine it is gone.

A report is a second old when a process dies; the ledger is not, so that what died with it can be told to the answer.
"""

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from perennial.release.answer_rows import log_folder, segment_path
from perennial.release.reports import read_reports, write_report
from perennial.workspace import Workspace
from serving.settings import SHARED
from serving.telling import tell

_FORM = struct.Struct("<5q")


class Standing(NamedTuple):
    """How a log stands."""

    answered: int = 0
    logged: int = 0
    dropped: int = 0
    segment: int = 0
    """Number of the segment that is being written, 0 for none: it may be in the store, and not counted as logged."""
    rows: int = 0
    """In that segment."""


class Ledger:
    """The file of one replica; without a folder it keeps nothing."""

    def __init__(self, replica: str, variables: Mapping[str, str] = os.environ) -> None:
        folder = variables.get(SHARED)
        self._memory: mmap.mmap | None = None
        if folder:
            with Path(folder, f"{replica}.{os.getpid()}.ledger").open("w+b") as file:
                file.truncate(_FORM.size)
                self._memory = mmap.mmap(file.fileno(), _FORM.size)

    def write(self, standing: Standing) -> None:
        """Put down how the log stands; it takes less than a microsecond."""
        if self._memory is not None:
            _FORM.pack_into(self._memory, 0, *standing)


def settle(ws: Workspace, variables: Mapping[str, str] = os.environ) -> None:
    """Complete the last report of every replica of this machine that died, so that it says what was lost with it."""
    for path, replica, standing in _left_behind(variables):
        report = next((one for one in read_reports(ws) if one.replica == replica and not one.ended), None)
        if report is not None:
            logged = standing.logged + (standing.rows if _is_there(ws, replica, standing.segment) else 0)
            exact = {"answered": standing.answered, "logged": logged, "dropped": standing.dropped}
            write_report(ws, report.model_copy(update=exact))
            tell("answers.lost", replica=replica, rows=standing.answered - logged)
        path.unlink()


def _left_behind(variables: Mapping[str, str]) -> Iterator[tuple[Path, str, Standing]]:
    folder = variables.get(SHARED)
    for path in sorted(Path(folder).glob("*.ledger")) if folder else ():
        replica, pid, _ = path.name.split(".")
        if not _lives(int(pid)):
            yield path, replica, Standing(*_FORM.unpack(path.read_bytes()))


def _is_there(ws: Workspace, replica: str, segment: int) -> bool:
    waits = segment_path(ws, replica, segment) in ws.store.list(log_folder(ws))
    return waits or any(one.holds(replica, segment) for one in ws.state().collected)


def _lives(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True

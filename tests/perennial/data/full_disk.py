"""Fill a disk under a delivery in a process of its own, and run it again when there is space; prints what happened.

Called with a folder and a way: `tmpfs` means that the folder is a small file system of its own, `limit` that no file
may grow beyond a limit of the process. It checks what must hold after each failure, and knows nothing of pytest.
"""

import json
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from perennial.data.acceptance import accept
from perennial.data.landing import receive
from perennial.store import StorageFull
from perennial.workspace import Workspace
from tests.perennial.data.parcels import JANUARY, deliver, give, good_rows, open_parcels, stored, with_values

ROWS = 3000
LEFT = (0, 4_096, 32_768, 65_536, 131_072, 262_144)


def main(folder: Path, way: str) -> None:
    tempfile.tempdir = str(folder / "temporary")
    Path(tempfile.tempdir).mkdir()
    print(json.dumps([attempt(folder / str(left), left, way) for left in LEFT]))


def attempt(folder: Path, left: int, way: str) -> str:
    ws = open_parcels(folder, tolerance=0.1)
    give(ws, rows())
    stage = deliver_with_space(ws, left, way)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    accepted = deliver(ws)
    assert (accepted.accepted, accepted.quarantined) == (ROWS - 1, 1)
    assert stored(ws, "raw_parcels", accepted.partition).num_rows == ROWS - 1
    assert stored(ws, "quarantine", f"parcels/{accepted.partition}").num_rows == 1
    assert [one.record.kind for one in ws.journal.entries()] == ["delivery.received", "delivery.accepted"]
    return stage


def deliver_with_space(ws: Workspace, left: int, way: str) -> str:
    with space(Path(ws.store.root), left, way):
        try:
            received = receive(ws, "parcels", JANUARY, JANUARY.end)
        except StorageFull:
            assert ws.state().received == []
            return "receive"
        try:
            accept(ws, received, JANUARY.end)
        except StorageFull as error:
            assert "run it again" in str(error)
            assert ws.state().accepted == []
            return "accept"
    return "done"


@contextmanager
def space(root: Path, left: int, way: str) -> Iterator[None]:
    with filled(root.parent / "filler", left) if way == "tmpfs" else limited(left):
        yield


@contextmanager
def filled(filler: Path, left: int) -> Iterator[None]:
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(4096))
    os.truncate(filler, max(0, filler.stat().st_size - left))
    yield
    filler.unlink()


@contextmanager
def limited(left: int) -> Iterator[None]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left // 2, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def rows() -> pa.Table:
    draw = random.Random(0)
    weights = {number: draw.random() * 100 for number in range(ROWS)}
    return with_values(good_rows(ROWS), "weight", weights | {7: -1.0})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

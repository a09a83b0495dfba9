"""The storage goes away while three replicas answer and a release is on its way to them.

Answers need no storage: no request fails, the release arrives once the storage is back, and nothing that was answered
meanwhile is missing in the lake.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from perennial.records import Trained
from perennial.workspace import Workspace
from tests.faults.serving import oracle
from tests.faults.serving.bounds import AWAY
from tests.faults.serving.stage import Stage, copied, playing
from tests.servers import until
from tests.storage_servers import s3_server

pytestmark = [pytest.mark.long, pytest.mark.alone]

Away = Callable[[], None]
Storage = Callable[[Workspace, Path], AbstractContextManager[tuple[Workspace, Away, Away]]]


@contextmanager
def in_a_folder(ws: Workspace, folder: Path) -> Iterator[tuple[Workspace, Away, Away]]:
    """Storage that is taken away by moving it; a file stands in its place, so that nobody begins a new one there."""
    own = copied(ws, folder / "storage")
    root, elsewhere = folder / "storage", folder / "elsewhere"

    def leave() -> None:
        root.rename(elsewhere)
        root.touch()

    def back() -> None:
        root.unlink()
        elsewhere.rename(root)

    yield own, leave, back


@contextmanager
def on_s3(ws: Workspace, folder: Path) -> Iterator[tuple[Workspace, Away, Away]]:
    """Storage whose server takes requests and answers none."""
    with s3_server() as s3, pytest.MonkeyPatch.context() as patch:
        for name, value in s3.variables.items():
            patch.setenv(name, value)
        bucket, original = s3.create_bucket("perennial"), Path(ws.settings.storage_root)
        for one in original.rglob("*"):
            if one.is_file():
                s3.client.upload_file(str(one), "perennial", str(one.relative_to(original)))
        place = {"storage_root": bucket, "storage_endpoint": s3.endpoint}
        [server] = [one for one in psutil.Process().children() if "ThreadedMotoServer" in "".join(one.cmdline())]
        yield (
            Workspace(ws.use_case, ws.settings.model_copy(update=place)),
            lambda: os.kill(server.pid, signal.SIGSTOP),
            lambda: os.kill(server.pid, signal.SIGCONT),
        )


@pytest.mark.parametrize("storage", [in_a_folder, on_s3])
def test_without_storage_replicas_go_on_and_catch_up_when_it_is_back(
    made: tuple[Workspace, Trained], tmp_path: Path, storage: Storage
) -> None:
    with storage(made[0], tmp_path) as (ws, leave, back):
        with playing(ws, made[1], tmp_path / "stage") as stage:
            released = away(stage, leave, back)
            stage.until_all(lambda one: one.release == released)
            stage.until_asked(1)
            stage.traffic.stop()
        requests = stage.traffic.requests()
        assert oracle.failures(requests) == oracle.Failures()
        assert oracle.astray(requests, stage.history()) == []
        assert oracle.missing(requests, oracle.logged(ws)) == []


def away(stage: Stage, leave: Away, back: Away) -> int:
    """Take the storage away in the middle of a swap, bring it back, and return the release's number."""
    judged = stage.models.make("good")
    released, _ = stage.release(judged)
    until(30, lambda: [child for one in stage.service.workers() for child in one.children()])  # the version is probed
    leave()
    try:
        stage.until_asked(AWAY)
    finally:
        back()
    return released.number

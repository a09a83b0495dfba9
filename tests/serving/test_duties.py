"""Duties that may wait do so while nothing is new, so that a long life does not make a long journal."""

from datetime import datetime
from pathlib import Path

import pytest

from perennial.workspace import Workspace
from serving import duties, telling
from serving.duties import CALM, NEW, Calm, Duty
from tests.builders import make_use_case
from tests.perennial.release.trials import open_shop, released, tried


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(duties, "monotonic", clock)
    return clock


def done(clock: Clock, ws: Workspace, calm: bool, seconds: int) -> list[int]:
    """Seconds at which something that is due every 5 is done."""
    times: list[int] = []

    def do(ws: Workspace, at: datetime) -> None:
        times.append(round(clock.now - 1000))

    duty = Duty("collect", do, 5, CALM)
    for _ in range(seconds):
        clock.now += 1
        duty.turn(ws, lambda ws: calm)
    return times


def test_in_calm_it_is_done_every_five_minutes_else_every_five_seconds(clock: Clock, tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, rows=1)
    assert done(clock, ws, False, 20) == [5, 10, 15, 20]
    clock.now = 1000
    assert done(clock, ws, True, 601) == [300, 600]


def test_it_is_calm_once_nothing_has_been_new_for_a_while(clock: Clock, tmp_path: Path) -> None:
    ws, calm = make_use_case(tmp_path, rows=1), Calm()
    clock.now += NEW
    assert not calm(ws)
    clock.now += 1
    assert calm(ws)


def test_a_trial_is_new_only_at_its_beginning(clock: Clock, tmp_path: Path) -> None:
    ws, calm = open_shop(tmp_path), Calm()
    released(ws, 1)
    calm(ws)
    clock.now += NEW + 1
    tried(ws, 2)
    assert not calm(ws)
    clock.now += NEW + 1
    assert ws.state().rollout and calm(ws), "it goes on for hours, and labels are looked at every ten minutes"


def test_without_storage_it_is_not_calm(clock: Clock, tmp_path: Path) -> None:
    ws, calm = make_use_case(tmp_path, rows=1), Calm()
    clock.now += NEW + 1
    Path(ws.settings.storage_root).joinpath("journal").parent.mkdir(parents=True, exist_ok=True)
    Path(ws.settings.storage_root).joinpath("journal").write_text("a file where a folder belongs")
    assert not calm(ws)


def test_what_fails_is_told_every_minute_and_tried_again(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(telling, "monotonic", clock)
    tries = list[float]()

    def fail(ws: Workspace, at: datetime) -> None:
        tries.append(clock.now)
        raise OSError("away")

    duty, ws = Duty("collect", fail, 5), make_use_case(tmp_path, rows=1)
    for _ in range(25):
        clock.now += 5
        duty.turn(ws, lambda ws: False)
    told = capsys.readouterr()
    assert (len(tries), (told.out + told.err).count("collect.failed")) == (25, 3)

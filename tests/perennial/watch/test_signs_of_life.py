"""A run is alive while it says so: silence is what a killed process leaves behind."""

import errno
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from perennial.periods import Period
from perennial.records import RetrainingDecided, RetrainingEnded
from perennial.retraining import Outcome
from perennial.store import StoreAway
from perennial.watch.claims import Life, Runner, claim
from perennial.watch.signs_of_life import (
    SILENCE,
    forget_signs,
    give_sign,
    giving_signs,
    last_sign,
    life_by_signs,
    why_unfinished,
)
from perennial.workspace import Workspace
from tests.builders import make_use_case, moment

NOW = moment("2026-11-24")
MAY = Period.parse("2024-05")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return make_use_case(tmp_path, rows=1, months=())


def test_who_is_silent_for_too_long_is_lost_and_of_who_never_spoke_nothing_is_known(ws: Workspace) -> None:
    assert life_by_signs(ws, "me", NOW) is Life.UNKNOWN
    give_sign(ws, "me", NOW)
    assert life_by_signs(ws, "me", NOW + SILENCE - timedelta(seconds=1)) is Life.ALIVE
    assert life_by_signs(ws, "me", NOW + SILENCE) is Life.LOST
    assert life_by_signs(ws, "me", NOW - timedelta(hours=1)) is Life.ALIVE
    forget_signs(ws, "me")
    assert life_by_signs(ws, "me", NOW) is Life.UNKNOWN


@pytest.mark.parametrize("trouble", [StoreAway("It does not answer."), OSError(errno.EIO, "Input/output error")])
def test_signs_are_given_until_the_work_is_done_whatever_went_wrong_with_one(ws: Workspace, trouble: Exception) -> None:
    asked, third = [], threading.Event()

    def clock() -> datetime:
        asked.append(1)
        if len(asked) == 2:
            raise trouble
        if len(asked) > 3:
            third.set()
        return NOW + timedelta(seconds=len(asked))

    with giving_signs(ws, "me", clock, every=timedelta(milliseconds=5)):
        first = last_sign(ws, "me")
        assert first and first >= NOW
        assert third.wait(30)
        sign = last_sign(ws, "me")
        assert sign and sign >= NOW + timedelta(seconds=3)
    assert not [one for one in threading.enumerate() if one.name == "signs of life of me"]


def test_only_a_run_that_came_to_its_end_leaves_no_sign(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreAway), giving_signs(ws, "failed", lambda: NOW):
        raise StoreAway("It may hold something still.")
    assert last_sign(ws, "failed") == NOW
    with giving_signs(ws, "done", lambda: NOW):
        assert last_sign(ws, "done") == NOW
    assert last_sign(ws, "done") is None
    monkeypatch.setattr(type(ws.store), "delete", lambda *_: (_ for _ in ()).throw(StoreAway("It does not answer.")))
    with giving_signs(ws, "away", lambda: NOW):
        """Its work is done, and stays so."""


def test_a_person_is_told_who_holds_what_is_not_done_and_when_to_come_again(ws: Workspace) -> None:
    assert why_unfinished(ws) is None
    asked = RetrainingDecided(period=MAY.label, release=None, action="retrain", reasons=("The first.",))
    ws.journal.decide(lambda _: asked, MAY.end)
    assert "nobody has taken it up" in str(why_unfinished(ws))
    claim(ws, MAY, MAY.end, Runner("me", 1, NOW), {})
    assert "run me holds it until 2026-11-25 00:00" in str(why_unfinished(ws))
    give_sign(ws, "me", NOW)
    assert "last sign of life at 2026-11-24 00:00:00" in str(why_unfinished(ws))
    assert "again after 2026-11-24 00:05:00" in str(why_unfinished(ws))
    over = RetrainingEnded(request=1, claim=1, outcome=Outcome.NOT_RELEASED, reason="It is no better.")
    ws.journal.decide(lambda _: over, MAY.end)
    assert why_unfinished(ws) is None

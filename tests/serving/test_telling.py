"""A trouble that lasts is told again and again, but not at every look."""

import json

import pytest

from serving import telling
from serving.telling import AGAIN, Trouble


def test_a_trouble_is_told_when_it_changes_and_every_minute_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = [0.0]
    monkeypatch.setattr(telling, "monotonic", lambda: 1000 + seconds[0])
    trouble, told = Trouble("journal.not-followed", replica="a"), []
    for seconds[0], error in ((0.0, "away"), (1.0, "away"), (2.0, "broken"), (AGAIN, "broken"), (AGAIN + 2, "broken")):
        trouble.heard(OSError(error))
        told += [(seconds[0], json.loads(line)["error"]) for line in capsys.readouterr().err.splitlines()]
    assert told == [(0.0, "OSError: away"), (2.0, "OSError: broken"), (AGAIN + 2, "OSError: broken")]
    trouble.heard(None)
    assert trouble.now is None and not capsys.readouterr().err
    trouble.heard(OSError("broken"))
    assert "broken" in capsys.readouterr().err

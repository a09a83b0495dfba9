"""A workspace folds its journal once as long as there is no news, and never gives a state of other entries."""

from pathlib import Path

from perennial.workspace import Workspace
from tests.builders import deliver, make_use_case


def test_without_news_the_state_is_the_same_and_with_news_another(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, rows=20)
    deliver(ws, "2024-01")
    before, seen = ws.state(), ws.journal.entries()
    assert ws.state() is before
    deliver(Workspace(ws.use_case, ws.settings), "2024-02")
    after = ws.state()
    assert (before.seq, after.seq) == (len(seen), len(ws.journal.entries()))
    assert len(after.accepted) > len(before.accepted)
    assert ws.state_of(seen) == before

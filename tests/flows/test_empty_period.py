"""A period in which nothing happened, as its delivery says, on a real Prefect server: all of the loop goes on."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from blocks.documents import using
from cli.backfill import run
from flows.pipeline import pipeline
from perennial.data.engine import Engine
from perennial.periods import Period
from perennial.records import Level
from perennial.release.predictions import corrected_rows, written_batches
from perennial.watch.findings import Category
from perennial.workspace import Workspace
from tests.builders import make_use_case, write_month

CHANGES: dict[str, Any] = {
    "starts": "2024-01",
    "sources": {name: {"volume": {"min_rows": 0}} for name in ("orders", "outcomes")},
    "training": {"holdout": "7d"},
    "retraining": {"on": ["performance", "growth"], "growth": 0.1},
}


def closed_in_february(folder: Path) -> Workspace:
    ws = make_use_case(folder, rows=2000, changes=CHANGES)
    write_month(ws.use_case.folder, "2024-02", rows=0, seed=0)
    return ws


@pytest.mark.long
def test_a_backfill_lives_through_it_and_trains_and_measures_what_comes_after(server: None, tmp_path: Path) -> None:
    ws = closed_in_february(tmp_path)
    with using(ws.settings):
        run(["shop-returns"], None, 3, ws.settings, Console(quiet=True))
        before = ws.journal.entries()
        pipeline("shop-returns", period="2024-02", as_of=Period.parse("2024-02").end)
    assert ws.journal.entries() == before
    state = ws.state()
    assert [(one.period, one.rows) for one in state.predicted] == [("2024-02", 0), ("2024-03", 2000)]
    assert [(one.period, one.rows) for one in state.measured] == [("2024-02", 0), ("2024-03", 2000)]
    assert [(one.level, one.category) for one in state.measured[0].findings] == [(Level.INFO, Category.NO_PREDICTIONS)]
    assert [one.action for one in state.decided] == ["retrain", "nothing", "retrain"]
    learnt_from = [[one.partition(".")[0] for one in trained.snapshots] for trained in state.trained]
    assert learnt_from == [["2024-01"], ["2024-01", "2024-03"]]
    with Engine(ws.settings) as engine:
        corrected_rows(engine, ws, written_batches(ws.journal.entries()), "counting")
        assert engine.scalar("SELECT count(*) FROM counting") == 2000

"""A row that comes with a later period's delivery counts in its own period: as feature, score, label and example."""

from datetime import timedelta
from pathlib import Path

import pytest

from perennial.data.engine import Engine
from perennial.data.features import build_features, snapshot_view
from perennial.model.plan import PAST, make_plan, open_rows
from perennial.model.training import train
from perennial.periods import Period
from perennial.records import Answer, Level, Released
from perennial.release.predictions import predict
from perennial.watch.findings import Category
from perennial.watch.monitoring import measure
from perennial.workspace import Workspace
from tests.builders import deliver, make_use_case

FEBRUARY, MARCH = Period.parse("2024-02"), Period.parse("2024-03")
LATE = "2024-02-000050"
"""An order of the middle of February."""


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """The order is in the delivery of March; a model of the two months before serves."""
    ws = make_use_case(tmp_path, rows=200, months=["2024-01", "2024-02", "2024-03"])
    february, march = (ws.use_case.folder / "deliveries" / f"orders-{one}.csv" for one in (FEBRUARY, MARCH))
    lines = february.read_text().splitlines(keepends=True)
    [late] = [line for line in lines if LATE in line]
    february.write_text("".join(line for line in lines if line != late))
    march.write_text(march.read_text() + late)
    deliver(ws, "2024-01", "2024-02")
    trained = train(ws, FEBRUARY.end)
    first = Released(number=1, model=trained.model, version=1, replaces=None, reason="It is the first.")
    ws.journal.append(first, FEBRUARY.end, ws.journal.head)
    return ws


def keys(ws: Workspace, partition: str) -> set[str]:
    with Engine(ws.settings) as engine:
        snapshot_view(engine, ws, [partition], "snapshot")
        return set(engine.table("SELECT order_id FROM snapshot")["order_id"].to_pylist())


def examples(ws: Workspace) -> set[str]:
    """The keys of what a training at the end of March learns from."""
    with Engine(ws.settings) as engine:
        open_rows(engine, ws, make_plan(ws, MARCH.end))
        return set(engine.table(f"SELECT order_id FROM {PAST}")["order_id"].to_pylist())


def test_once_delivered_it_is_scored_labelled_and_learnt_from_and_what_was_before_stays(ws: Workspace) -> None:
    before = predict(ws, FEBRUARY, FEBRUARY.end)
    training = make_plan(ws, FEBRUARY.end).key
    assert before.rows == 199 and LATE not in keys(ws, before.snapshot)
    deliver(ws, "2024-03")
    assert (ws.state().delivery("orders", "2024-03").accepted, ws.state().delivery("orders", "2024-03").late) == (
        201,
        1,
    )
    assert build_features(ws, MARCH, MARCH.end).rows == 200
    after = predict(ws, FEBRUARY, MARCH.end)
    assert after.rows == 200 and LATE in keys(ws, after.snapshot)
    measured = measure(ws, FEBRUARY, MARCH.end)
    assert (measured.rows, measured.labels) == (200, 200)
    assert LATE in examples(ws)
    audit = train(ws, MARCH.end).audit
    assert audit is not None and audit.answer is Answer.PASS
    assert predict(ws, FEBRUARY, FEBRUARY.end) == before
    assert make_plan(ws, FEBRUARY.end).key == training


def test_what_was_computed_for_a_later_moment_than_that_of_a_run_that_is_late_stays(ws: Workspace) -> None:
    later = MARCH.end + timedelta(days=1)
    before = predict(ws, FEBRUARY, later)
    deliver(ws, "2024-03", as_of=MARCH.end)
    assert predict(ws, FEBRUARY, later) == before and before.rows == 199
    assert predict(ws, FEBRUARY, later + timedelta(seconds=1)).rows == 200
    assert [one.category for one in measure(ws, MARCH, MARCH.end).findings][-1] == Category.LATE_ROWS


def test_it_is_told_with_where_it_belongs(ws: Workspace) -> None:
    deliver(ws, "2024-03")
    predict(ws, MARCH, MARCH.end)
    [told] = [one for one in measure(ws, MARCH, MARCH.end).findings if one.category == Category.LATE_ROWS]
    assert told.level is Level.INFO
    assert told.summary == "1 row of `orders` in `2024-03` happened in earlier periods, the oldest in `2024-02`."
    assert not [one for one in measure(ws, FEBRUARY, MARCH.end).findings if one.category == Category.LATE_ROWS]


def test_the_period_before_the_oldest_row_is_not_computed_again(ws: Workspace) -> None:
    january = build_features(ws, Period.parse("2024-01"), FEBRUARY.end)
    deliver(ws, "2024-03")
    assert build_features(ws, Period.parse("2024-01"), MARCH.end) == january

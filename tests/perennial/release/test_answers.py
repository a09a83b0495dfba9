"""Collected answers are in the lake once each, whoever collects and wherever a collector dies."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from perennial.crashpoints import VARIABLE
from perennial.data import lake
from perennial.data.engine import Engine
from perennial.periods import Period
from perennial.release import answers
from perennial.release.answer_rows import aside_path, log_folder, read_segment, segment_path, write_segment
from perennial.release.answers import SegmentsSetAside, collect_answers
from perennial.release.predictions import batch_name, predict, prediction_rows
from perennial.release.reports import Report, read_reports, report_path, with_departed
from perennial.workspace import Workspace
from tests.builders import moment
from tests.perennial.release.conftest import MAY, Shop
from tests.perennial.release.trials import report_written

JUNE = moment("2024-06-01")
CHILD = """
import sys
from datetime import datetime, UTC
from perennial.release.answers import collect_answers
from perennial.settings import Settings
from perennial.workspace import Workspace
ws = Workspace.open("shop-returns", Settings.model_validate_json(sys.argv[1]))
collect_answers(ws, datetime(2024, 6, 1, tzinfo=UTC))
"""


def log(ws: Workspace, replica: str, number: int, rows: int = 3) -> str:
    """Write a segment as a replica would."""
    path = segment_path(ws, replica, number)
    given = [answer(f"{replica}-{number}-{place}") for place in range(rows)]
    ws.store.create(path, write_segment(ws.use_case, given))
    return path


def rewrite(ws: Workspace, path: str, change: Callable[[pa.Table], pa.Table]) -> bytes:
    """Change a segment to what other code, or a replica with another declaration, would have written."""
    sink, rows = pa.BufferOutputStream(), change(read_segment(ws.use_case, ws.store.get(path)))
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    data = bytes(sink.getvalue())
    ws.store.put(path, data)
    return data


def with_key(*values: Any) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.set_column(rows.column_names.index("order_id"), "order_id", [pa.array(values)])


def answer(name: str) -> dict[str, Any]:
    row = {"order_id": name, "ordered_at": JUNE, "price": 9.5, "channel": "app", "shop": "bonn"}
    known = {"prediction_id": f"{name}/0", "request_id": name, "predicted_at": JUNE, "model_version": 1, "release": 1}
    rest = {"score": 0.25, "features_digest": "f" * 64, "arm": "champion", "rollout": None}
    shadow = {"shadow_score": None, "shadow_version": None}
    return {"row": row, "features": {"price": 9.5, "shop_size": None}, **known, **rest, **shadow}


def collected_ids(ws: Workspace) -> list[str]:
    """All that a reader sees: rows of the batches that the journal names."""
    batches = [one.batch for one in ws.state().collected if one.rows]
    with Engine(ws.settings) as engine:
        for table in ("predictions", "requests"):
            engine.files(table, lake.files(ws, table, "batch", batches))
        both = "SELECT prediction_id FROM predictions JOIN requests USING (prediction_id) ORDER BY ALL"
        return engine.table(both)["prediction_id"].to_pylist()


def test_each_answer_is_collected_once_and_its_segment_is_gone(shop: Shop) -> None:
    log(shop.ws, "a", 1)
    log(shop.ws, "b", 1, rows=2)
    record = collect_answers(shop.ws, JUNE)
    assert record is not None
    assert (record.rows, record.versions, record.lost) == (5, {1: 5}, {})
    assert shop.ws.store.list(log_folder(shop.ws)) == []
    assert collect_answers(shop.ws, JUNE) is None
    log(shop.ws, "a", 2, rows=1)
    collect_answers(shop.ws, JUNE)
    assert collected_ids(shop.ws) == ["a-1-0/0", "a-1-1/0", "a-1-2/0", "a-2-0/0", "b-1-0/0", "b-1-1/0"]


def test_all_that_waits_is_collected_at_once_in_batches(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST", 2)
    for replica in ("a", "b", "c"):
        log(shop.ws, replica, 1, rows=1)
        log(shop.ws, replica, 2, rows=1)
    silent = Report(replica="c", at=JUNE - timedelta(minutes=5), address="", started_at=JUNE, answered=2, logged=2)
    report_written(shop.ws, silent)
    assert collect_answers(shop.ws, JUNE) is not None
    assert [one.segments for one in shop.ws.state().collected] == [{one: ((1, 2),)} for one in ("a", "b", "c")]
    assert shop.ws.state().departed == {}, "it left when its segments were still waiting"
    assert collect_answers(shop.ws, JUNE) is not None and shop.ws.state().departed.keys() == {"c"}
    assert collected_ids(shop.ws) == [f"{one}-{number}-0/0" for one in ("a", "b", "c") for number in (1, 2)]


def test_segments_of_other_code_or_another_declaration_are_collected_as_far_as_they_fit(shop: Shop) -> None:
    log(shop.ws, "a", 1)
    rewrite(shop.ws, log(shop.ws, "b", 1), with_key(1, 2, 3))
    rewrite(
        shop.ws, log(shop.ws, "c", 1), lambda rows: rows.drop_columns(["shadow_score"]).append_column("new", [[1] * 3])
    )
    record = collect_answers(shop.ws, JUNE)
    assert record is not None and record.rows == 9
    assert len(collected_ids(shop.ws)) == 9


def test_what_cannot_be_read_is_set_aside_and_all_else_is_collected(shop: Shop) -> None:
    kept = {}
    lacking = [lambda rows, name=name: rows.drop_columns([name]) for name in ("order_id", "model_version")]
    for replica, change in zip("abc", [*lacking, with_key([1], [2], [3])], strict=True):
        path = log(shop.ws, replica, 1)
        kept[path] = rewrite(shop.ws, path, change)
    torn = log(shop.ws, "d", 1)
    kept[torn] = shop.ws.store.get(torn)[:-2000]
    shop.ws.store.put(torn, kept[torn])
    garbage = segment_path(shop.ws, "e", 1)
    kept[garbage] = b"no segment"
    shop.ws.store.create(garbage, kept[garbage])
    log(shop.ws, "f", 1)
    for _ in range(2):  # it is told as long as they lie there
        with pytest.raises(SegmentsSetAside, match="5 segments of answers could not be read"):
            collect_answers(shop.ws, JUNE)
    assert collected_ids(shop.ws) == [f"f-1-{place}/0" for place in range(3)]
    assert {path: shop.ws.store.get(aside_path(shop.ws, path)) for path in kept} == kept
    assert shop.ws.store.list(log_folder(shop.ws)) == []
    for path in kept:
        shop.ws.store.delete(aside_path(shop.ws, path))
    assert collect_answers(shop.ws, JUNE) is None


@pytest.mark.parametrize("place", ["collecting:between-tables", "collecting:before-record", "collecting:after-record"])
def test_a_collector_killed_anywhere_doubles_and_loses_nothing(shop: Shop, place: str) -> None:
    log(shop.ws, "a", 1)
    command = [sys.executable, "-c", CHILD, shop.ws.settings.model_dump_json()]
    killed = subprocess.run(command, cwd=Path(__file__).parents[3], env={**os.environ, VARIABLE: place})
    assert killed.returncode == -9
    log(shop.ws, "a", 2)
    collect_answers(shop.ws, JUNE)
    collect_answers(shop.ws, JUNE)
    assert collected_ids(shop.ws) == [f"a-{number}-{row}/0" for number in (1, 2) for row in range(3)]
    assert shop.ws.store.list(log_folder(shop.ws)) == []


def test_the_record_names_runs_of_numbers_however_many_segments_there_are(shop: Shop) -> None:
    for number in (1, 2, 3, 5):
        log(shop.ws, "a", number, rows=1)
    log(shop.ws, "b", 7, rows=1)
    record = collect_answers(shop.ws, JUNE)
    assert record is not None
    assert record.segments == {"a": ((1, 3), (5, 5)), "b": ((7, 7),)}
    assert [record.holds("a", number) for number in range(1, 7)] == [True, True, True, False, True, False]
    log(shop.ws, "a", 4, rows=1)
    again = log(shop.ws, "a", 5, rows=1)
    assert (late := collect_answers(shop.ws, JUNE)) is not None and late.segments == {"a": ((4, 4),)}
    assert again not in shop.ws.store.list(log_folder(shop.ws))


def test_of_two_collectors_with_different_views_one_wins(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    log(shop.ws, "a", 1)
    other = Workspace(shop.ws.use_case, shop.ws.settings)
    decide = shop.ws.journal.decide

    def late(*arguments: Any) -> Any:
        log(other, "a", 2)
        assert collect_answers(other, JUNE) is not None
        return decide(*arguments)

    monkeypatch.setattr(shop.ws.journal, "decide", late)
    assert collect_answers(shop.ws, JUNE) is None
    assert collected_ids(other) == [f"a-{number}-{row}/0" for number in (1, 2) for row in range(3)]


def test_what_died_with_a_replica_is_said_once(shop: Shop) -> None:
    told = {"address": "", "started_at": JUNE, "answered": 10, "logged": 7}
    report_written(shop.ws, Report(replica="dead", at=JUNE - timedelta(minutes=5), **told))
    report_written(shop.ws, Report(replica="left", at=JUNE - timedelta(minutes=5), ended=True, **told))
    report_written(shop.ws, Report(replica="alive", at=JUNE, **told))
    record = collect_answers(shop.ws, JUNE)
    assert record is not None
    assert (record.rows, record.lost) == (0, {"dead": 3})
    assert record.departed.keys() == {"dead", "left"}
    assert [one.replica for one in read_reports(shop.ws)] == ["alive"]
    assert collect_answers(shop.ws, JUNE) is None
    assert shop.ws.state().lost == {"dead": 3}


def test_a_replica_whose_clock_is_late_is_not_told_as_dead(shop: Shop) -> None:
    late = Report(replica="late", at=JUNE - timedelta(minutes=5), address="", started_at=JUNE, answered=9)
    report_written(shop.ws, late, at=JUNE)
    assert collect_answers(shop.ws, JUNE) is None
    assert read_reports(shop.ws) == [late]
    record = collect_answers(shop.ws, JUNE + timedelta(seconds=61))
    assert record is not None and record.lost == {"late": 9}


def test_a_report_of_newer_code_is_read_too(shop: Shop) -> None:
    one = Report(replica="newer", at=JUNE, address="", started_at=JUNE)
    shop.ws.store.put(report_path(shop.ws, "newer"), b'{"later": 1, ' + one.model_dump_json().encode()[1:])
    assert read_reports(shop.ws) == [one]


def test_a_replica_that_was_only_cut_off_counts_by_what_it_says_last(shop: Shop) -> None:
    told = {"address": "", "started_at": JUNE, "answered": 10}
    report_written(shop.ws, Report(replica="cut", at=JUNE, logged=7, **told))
    collect_answers(shop.ws, JUNE + timedelta(minutes=5))
    back = Report(replica="cut", at=JUNE + timedelta(minutes=6), logged=10, **told)
    report_written(shop.ws, back)
    assert with_departed(read_reports(shop.ws), shop.ws.state()) == [back]
    assert collect_answers(shop.ws, JUNE + timedelta(minutes=6)) is None
    record = collect_answers(shop.ws, JUNE + timedelta(minutes=9))
    assert record is not None
    assert (record.lost, shop.ws.state().lost, read_reports(shop.ws)) == ({"cut": 0}, {"cut": 0}, [])


def test_a_report_that_a_dying_collector_left_is_cleared_away(shop: Shop) -> None:
    gone = Report(replica="gone", at=JUNE, address="", started_at=JUNE, ended=True)
    report_written(shop.ws, gone)
    assert collect_answers(shop.ws, JUNE + timedelta(minutes=2)) is not None
    report_written(shop.ws, gone)
    assert collect_answers(shop.ws, JUNE + timedelta(minutes=3)) is None
    assert read_reports(shop.ws) == []


def test_batch_scoring_is_read_as_before_beside_collected_answers(shop: Shop) -> None:
    shop.serve(shop.trained)
    before = predict(shop.ws, Period.parse("2024-03"), MAY)
    log(shop.ws, "a", 1)
    collect_answers(shop.ws, JUNE)
    after = predict(shop.ws, Period.parse("2024-04"), MAY)
    with Engine(shop.ws.settings) as engine:
        prediction_rows(engine, shop.ws, [batch_name(before), batch_name(after)], "rows")
        assert engine.scalar("SELECT count(*) FROM rows") == before.rows + after.rows

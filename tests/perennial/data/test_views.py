from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from perennial.data import views
from perennial.data.acceptance import accept
from perennial.data.engine import Engine, QueryFailed
from perennial.data.landing import receive
from perennial.data.views import NEWEST_LABEL, hidden_columns, known_deliveries, open_views
from perennial.periods import Period
from perennial.records import Accepted
from perennial.settings import Settings
from perennial.state import State
from perennial.workspace import Workspace
from tests.builders import deliver, make_use_case, moment, write_month

JANUARY, FEBRUARY = Period.parse("2024-01"), Period.parse("2024-02")


def test_the_first_delivery_counts_from_the_start_and_a_later_one_from_its_acceptance():
    state = state_of(("2024-01", 1, "2024-03-01"), ("2024-01", 2, "2024-05-01"))
    assert revisions(state, "2024-01-15") == [1]
    assert revisions(state, "2024-04-30") == [1]
    assert revisions(state, "2024-05-01") == [2]


def test_a_replayed_revision_takes_the_place_of_the_one_before_it():
    state = state_of(("2024-01", 2, "2024-02-01"), ("2024-01", 2, "2024-03-01"))
    first, second = state.accepted
    assert known_deliveries(state, moment("2024-02-15")) == [first]
    assert known_deliveries(state, moment("2024-03-15")) == [second]


def test_an_older_revision_never_comes_back():
    state = state_of(("2024-01", 2, "2024-02-01"), ("2024-01", 1, "2024-03-01"))
    assert revisions(state, "2024-04-01") == [2]


def test_periods_are_known_independently_and_in_order():
    state = state_of(("2024-02", 1, "2024-03-01"), ("2024-01", 1, "2024-03-02"), ("2024-01", 2, "2024-03-03"))
    known = known_deliveries(state, moment("2024-03-02"))
    assert [(one.period, one.revision) for one in known] == [("2024-01", 1), ("2024-02", 1)]


def test_rows_are_seen_from_the_moment_they_are_known(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=50, months=["2024-01"])
    deliver(ws, "2024-01")
    with Engine(ws.settings) as engine:
        for as_of in (moment("2024-01-10"), moment("2024-01-20")):
            open_views(engine, ws, as_of)
            assert engine.scalar("SELECT max(known_at) <= ? FROM outcomes", [as_of])
            assert engine.scalar("SELECT max(event_time) FROM outcomes") <= as_of - timedelta(days=7)
            assert engine.scalar("SELECT max(event_time) <= ? FROM orders", [as_of])
            assert engine.scalar("SELECT count(*) FROM labels") == engine.scalar("SELECT count(*) FROM outcomes") > 0
            assert engine.scalar("SELECT count(*) FROM shops") == 4


def test_a_corrected_delivery_is_seen_once_it_was_accepted(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=50, months=["2024-01"])
    deliver(ws, "2024-01")
    write_month(ws.use_case.folder, "2024-01", rows=60, seed=9)
    deliver(ws, "2024-01", as_of=moment("2024-03-01"))
    with Engine(ws.settings) as engine:
        open_views(engine, ws, moment("2024-02-20"))
        assert engine.scalar("SELECT count(*) FROM orders") == 50
        open_views(engine, ws, moment("2024-03-01"))
        assert engine.scalar("SELECT count(*) FROM orders") == 60


def test_of_labels_known_at_the_same_moment_the_same_counts_with_any_number_of_threads():
    found = []
    for threads in (1, 2, 4):
        settings = Settings(environment="test", storage_root="", threads=threads)
        with Engine(settings, alone=True) as engine:
            engine.keep(
                "labels",
                "SELECT i % 50_000 AS id, (i // 50_000)::DOUBLE AS label, "
                "TIMESTAMPTZ '2024-01-01' + to_days((i // 50_000 >= 2)::INTEGER) AS known_at FROM range(300_000) t(i) "
                "UNION ALL SELECT 7, 9.0, TIMESTAMPTZ '2023-12-31'",
            )
            found += engine.rows(f"SELECT DISTINCT {NEWEST_LABEL} FROM labels GROUP BY id")
    assert found == [(5.0,)] * 3


def test_which_label_counts_is_said_in_one_place():
    homes = [file for file in Path(views.__file__).parents[1].rglob("*.py") if "arg_max(label" in file.read_text()]
    assert homes == [Path(views.__file__)]


def test_a_source_without_delivery_is_an_empty_view_with_its_columns(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=50, months=["2024-01"])
    accept(ws, receive(ws, "orders", JANUARY, JANUARY.end), JANUARY.end)
    with Engine(ws.settings) as engine:
        open_views(engine, ws, JANUARY.end)
        outcomes = engine.schema("SELECT * FROM outcomes")
        assert outcomes.names == ["order_id", "ordered_at", "returned", "refund", "event_time", "known_at"]
        orders = engine.schema("SELECT ordered_at, event_time, order_id FROM orders")
        assert [outcomes.field(one).type for one in orders.names] == orders.types
        assert engine.scalar("SELECT count(*) FROM outcomes") == 0
        assert engine.scalar("SELECT count(*) FROM labels") == 0
        assert engine.scalar("SELECT count(*) FROM observations o LEFT JOIN shops s USING (shop)") == 50


def test_observations_are_the_entity_in_the_window_without_its_end(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=50, months=["2024-01", "2024-02"])
    deliver(ws, "2024-01", "2024-02")
    with Engine(ws.settings) as engine:
        open_views(engine, ws, FEBRUARY.end, JANUARY)
        assert engine.scalar("SELECT count(*) FROM observations") == 50
        assert engine.scalar("SELECT max(event_time) < ? FROM observations", [JANUARY.end])
        assert engine.scalar("SELECT count(*) FROM orders") == 100
        last = engine.scalar("SELECT max(event_time) FROM observations")
        open_views(engine, ws, FEBRUARY.end, Period(label="2024-01", start=JANUARY.start, end=last))
        assert engine.scalar("SELECT count(*) FROM observations") == 49


def test_a_row_without_label_value_has_no_label(tmp_path: Path):
    value = "CASE WHEN refund > 20 THEN returned END"
    ws = make_use_case(tmp_path, rows=50, months=["2024-01"], changes={"label": {"value": value}})
    deliver(ws, "2024-01")
    with Engine(ws.settings) as engine:
        open_views(engine, ws, moment("2024-03-01"))
        expected = engine.scalar("SELECT count(*) FROM outcomes WHERE refund > 20")
        assert engine.scalar("SELECT count(*) FROM labels") == expected
        assert 0 < expected < 50
        assert engine.schema("SELECT label FROM labels").field("label").type == "double"


def test_a_label_is_known_after_its_delay(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=50, months=["2024-01"], changes={"label": {"known_after": "3d"}})
    deliver(ws, "2024-01")
    with Engine(ws.settings) as engine:
        open_views(engine, ws, moment("2024-01-25"))
        newest = engine.scalar("SELECT max(event_time) FROM labels")
        assert moment("2024-01-13") < newest <= moment("2024-01-15")
        assert engine.scalar("SELECT bool_and(known_at = event_time + INTERVAL 10 DAY) FROM labels")


def test_a_broken_label_expression_is_named_by_the_view(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=50, months=["2024-01"], changes={"label": {"value": "no_such_column"}})
    deliver(ws, "2024-01")
    with Engine(ws.settings) as engine, pytest.raises(QueryFailed, match="no_such_column"):
        open_views(engine, ws, JANUARY.end)


def test_a_label_of_the_entity_itself_is_hidden_and_waits_for_its_column(tmp_path: Path):
    ws = self_labelled(tmp_path)
    assert hidden_columns(ws.use_case) == {"returned", "settled_at"}
    with Engine(ws.settings) as engine:
        open_views(engine, ws, moment("2024-01-03"))
        for view in ("orders", "observations"):
            names = engine.schema(f"SELECT * FROM {view}").names
            assert names == ["order_id", "ordered_at", "price", "event_time", "known_at"]
        assert engine.table("SELECT order_id FROM orders ORDER BY 1")["order_id"].to_pylist() == ["a", "b", "c"]
        assert engine.table("SELECT order_id, label FROM labels").to_pylist() == [{"order_id": "a", "label": 1.0}]
        open_views(engine, ws, moment("2024-03-01"))
        known = engine.table(
            "SELECT order_id, strftime(known_at, '%m-%d') AS on_day FROM labels ORDER BY 1"
        ).to_pylist()
        assert known == [{"order_id": "a", "on_day": "01-02"}, {"order_id": "b", "on_day": "01-20"}]


def test_the_label_is_hidden_however_its_column_is_written(tmp_path: Path):
    use_case = self_labelled(tmp_path).use_case
    for value in ("RETURNED", '"Returned" = TRUE', "price > 0 AND returned"):
        label = use_case.label.model_copy(update={"value": value})
        assert "returned" in hidden_columns(use_case.model_copy(update={"label": label})), value
    label = use_case.label.model_copy(update={"value": "price = 'returned' OR not_returned"})
    assert "returned" not in hidden_columns(use_case.model_copy(update={"label": label}))


def test_a_source_of_another_name_hides_nothing(tmp_path: Path):
    assert hidden_columns(make_use_case(tmp_path, months=[]).use_case) == frozenset()


def self_labelled(tmp_path: Path) -> Workspace:
    """Orders that carry their outcome: `a` was settled on 2 January, `b` on the 20th, `c` never."""
    orders: dict[str, Any] = {
        "known_at": "settled_at",
        "columns": {
            "settled_at": {"type": "timestamp", "nullable": True},
            "returned": {"type": "integer", "nullable": True},
        },
    }
    label = {"source": "orders", "value": "returned <> 0 AND 'price' <> order_id", "known_at": "settled_at"}
    ws = make_use_case(tmp_path, months=[], changes={"sources": {"orders": orders}, "label": label})
    for unused in ("channel", "shop"):
        del ws.use_case.sources["orders"].columns[unused]
    file = ws.use_case.folder / "deliveries" / "orders-2024-01.csv"
    file.write_text(
        "order_id,ordered_at,settled_at,returned,price\n"
        "a,2024-01-01T10:00:00Z,2024-01-02T00:00:00Z,1,5\n"
        "b,2024-01-02T10:00:00Z,2024-01-20T00:00:00Z,0,5\n"
        "c,2024-01-02T11:00:00Z,2024-02-20T00:00:00Z,,5\n"
    )
    accept(ws, receive(ws, "orders", JANUARY, JANUARY.end), JANUARY.end)
    return ws


def state_of(*deliveries: tuple[str, int, str]) -> State:
    state = State()
    for number, (period, revision, accepted_on) in enumerate(deliveries):
        one = Accepted(
            source="orders",
            period=period,
            revision=revision,
            digest="d",
            contract="c",
            rows=1,
            accepted=1,
            quarantined=0,
            reasons={},
            partition=f"{period}.{number}",
            table_version=number,
        )
        state.accepted.append(one)
        state.accepted_at[one.partition] = moment(accepted_on)
    return state


def revisions(state: State, as_of: str) -> list[int]:
    return [one.revision for one in known_deliveries(state, datetime.fromisoformat(f"{as_of}T00:00:00+00:00"))]


STRICT = {"sources": {"orders": {"columns": {"price": {"max": 150.5}}, "tolerance": 0.9}}}


def test_a_period_accepted_again_under_a_mended_contract_counts_at_its_own_moment(tmp_path: Path) -> None:
    """Who mends a declaration and lives through the same periods again gets what it says now, from the first on."""
    strict = make_use_case(tmp_path, rows=40, changes=STRICT)
    january, march = Period.parse("2024-01"), Period.parse("2024-03")
    deliver(strict, "2024-01", "2024-03")
    file = strict.use_case.folder / "use_case.yaml"
    file.write_text(file.read_text().replace("max: 150.5", "max: 9999.5"))
    mended = Workspace.open(strict.use_case.slug, strict.settings)
    deliver(mended, "2024-01")
    state = mended.state()
    assert max(one.at for one in mended.journal.entries()) == march.end
    [first, again] = [one for one in state.accepted if (one.source, one.period) == ("orders", "2024-01")]
    known = {(one.source, one.period): one for one in known_deliveries(state, january.end)}
    assert first.quarantined > again.quarantined == 0
    assert known["orders", "2024-01"] == again

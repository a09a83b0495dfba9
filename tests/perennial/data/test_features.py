from pathlib import Path
from typing import Any

import pytest

from perennial.data import lake
from perennial.data.acceptance import accept
from perennial.data.engine import Engine, QueryFailed
from perennial.data.features import (
    FeatureColumns,
    FeaturesQueryWrong,
    build_features,
    feature_columns,
    labelled_rows_sql,
    snapshot_view,
)
from perennial.data.landing import receive
from perennial.data.observing import NoObservations, NotBegun
from perennial.data.views import open_views
from perennial.periods import Period, Window
from perennial.records import FeaturesBuilt
from perennial.workspace import Workspace
from tests.builders import deliver, features_sql, make_use_case, moment, write_month

JANUARY, FEBRUARY = Period.parse("2024-01"), Period.parse("2024-02")


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return open_delivered(tmp_path_factory.mktemp("delivered"))


def open_delivered(folder: Path, **declared: Any) -> Workspace:
    ws = make_use_case(folder, rows=60, months=["2024-01", "2024-02"], **declared)
    deliver(ws, "2024-01", "2024-02")
    return ws


def stored(ws: Workspace, *built: FeaturesBuilt) -> list[dict[str, Any]]:
    with Engine(ws.settings) as engine:
        snapshot_view(engine, ws, [one.partition for one in built], "snapshot")
        return engine.table("SELECT * FROM snapshot").to_pylist()


def write_query(ws: Workspace, sql: str) -> None:
    (ws.use_case.folder / "features.sql").write_text(sql)


def test_one_row_per_observation_in_order_and_recorded(delivered: Workspace):
    built = build_features(delivered, FEBRUARY, FEBRUARY.end)
    rows = stored(delivered, built)
    assert built.rows == len(rows) == 60
    assert [row["event_time"] for row in rows] == sorted(row["event_time"] for row in rows)
    assert all(FEBRUARY.start <= row["event_time"] < FEBRUARY.end for row in rows)
    assert delivered.state().features[built.partition] == built
    assert built.features == ("price", "channel", "shop", "shop_size", "known_rate")


def test_building_again_changes_nothing(delivered: Workspace):
    first = build_features(delivered, JANUARY, FEBRUARY.end)
    seen = delivered.state().seq, lake.version(delivered, "features")
    assert build_features(delivered, JANUARY, FEBRUARY.end) == first
    assert (delivered.state().seq, lake.version(delivered, "features")) == seen


def test_a_record_lost_after_the_write_is_made_up_for(tmp_path: Path):
    ws = open_delivered(tmp_path)
    first = build_features(ws, JANUARY, FEBRUARY.end)
    newest = ws.store.list(f"journal/{ws.use_case.slug}")[-1]
    (tmp_path / "storage" / newest).unlink()
    ws = Workspace(ws.use_case, ws.settings)
    assert build_features(ws, JANUARY, FEBRUARY.end) == first
    assert len(stored(ws, first)) == 60


def test_deliveries_after_the_period_do_not_matter_to_it(tmp_path: Path):
    ws = make_use_case(tmp_path, rows=60, months=["2024-01", "2024-02"])
    deliver(ws, "2024-01")
    first = build_features(ws, JANUARY, JANUARY.end)
    deliver(ws, "2024-02")
    assert build_features(ws, JANUARY, FEBRUARY.end) == first


def test_a_corrected_delivery_query_or_unfinished_period_is_another_snapshot(tmp_path: Path):
    ws = open_delivered(tmp_path)
    first = build_features(ws, FEBRUARY, FEBRUARY.end)
    halfway = build_features(ws, FEBRUARY, moment("2024-02-15"))
    assert halfway.partition != first.partition
    assert halfway.rows < first.rows
    write_month(ws.use_case.folder, "2024-01", rows=70, seed=9)
    deliver(ws, "2024-01", as_of=moment("2024-04-01"))
    corrected = build_features(ws, FEBRUARY, moment("2024-04-01"))
    assert corrected.deliveries != first.deliveries
    assert build_features(ws, FEBRUARY, moment("2024-03-15")) == first
    write_query(ws, features_sql() + "-- changed\n")
    assert build_features(ws, FEBRUARY, moment("2024-04-01")).partition not in (first.partition, corrected.partition)


def test_only_labels_known_before_an_observation_count(delivered: Workspace):
    rows = stored(delivered, build_features(delivered, JANUARY, FEBRUARY.end))
    early = [row for row in rows if row["event_time"] < moment("2024-01-08")]
    assert early
    assert all(row["known_rate"] is None for row in early)
    assert rows[-1]["known_rate"] is not None


def test_a_period_without_rows_says_what_to_do(delivered: Workspace):
    with pytest.raises(NoObservations, match="`2024-06`"):
        build_features(delivered, Period.parse("2024-06"), moment("2024-07-01"))


def test_only_of_a_period_that_is_over_a_delivery_says_that_nothing_happened(tmp_path: Path):
    ws = open_delivered(tmp_path)
    with pytest.raises(NoObservations, match=r"known at 2024-02-01 00:00 UTC, .* not over before 2024-03-01 00:00"):
        build_features(ws, FEBRUARY, FEBRUARY.start)
    assert not ws.state().features


def test_a_period_that_has_not_begun_has_no_features(delivered: Workspace):
    with pytest.raises(NotBegun, match=r"`2024-02` of `shop-returns` begins at 2024-02-01 00:00 UTC"):
        build_features(delivered, FEBRUARY, moment("2024-01-31"))


@pytest.mark.parametrize("late", [0, 5])
def test_a_period_in_which_nothing_happened_as_its_delivery_says_has_features_without_rows(tmp_path: Path, late: int):
    ws = make_use_case(tmp_path, months=["2024-01"], changes={"sources": {"orders": {"volume": {"min_rows": 0}}}})
    write_month(ws.use_case.folder, "2024-01", rows=late, seed=1)
    orders = ws.use_case.folder / "deliveries" / "orders-2024-01.csv"
    orders.rename(orders.with_name("orders-2024-02.csv"))
    accept(ws, receive(ws, "orders", FEBRUARY, FEBRUARY.end), FEBRUARY.end)
    built = build_features(ws, FEBRUARY, FEBRUARY.end)
    assert (built.rows, stored(ws, built)) == (0, [])
    assert build_features(ws, FEBRUARY, FEBRUARY.end) == built
    write_query(ws, features_sql() + "-- changed\n")
    assert build_features(ws, FEBRUARY, FEBRUARY.end).rows == 0


def test_text_is_categorical_and_everything_else_a_double(tmp_path: Path):
    ws = open_delivered(tmp_path)
    write_query(
        ws,
        "SELECT o.order_id, o.event_time, o.price > 50 AS dear, 1 AS whole, CAST(1.5 AS DECIMAL(4, 2)) AS exact, "
        "CAST(NULL AS INTEGER) AS nothing, o.channel, CAST('a' AS ENUM ('a', 'b')) AS choice FROM observations o;\n",
    )
    built = build_features(ws, JANUARY, FEBRUARY.end)
    row = stored(ws, built)[0]
    assert {name: type(value) for name, value in row.items() if name in ("dear", "whole", "exact")} == {
        "dear": float,
        "whole": float,
        "exact": float,
    }
    with Engine(ws.settings) as engine:
        snapshot_view(engine, ws, [built.partition], "snapshot")
        assert feature_columns(engine, ws.use_case, "snapshot") == FeatureColumns(
            all=("dear", "whole", "exact", "nothing", "channel", "choice"),
            numeric=("dear", "whole", "exact", "nothing"),
            categorical=("channel", "choice"),
        )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT o.event_time, o.price FROM observations o", "no column `order_id`"),
        ("SELECT o.order_id, o.price FROM observations o", "no column `event_time`"),
        ("SELECT o.order_id, o.event_time FROM observations o", "no feature"),
        ("SELECT o.order_id, o.event_time, o.price AS label FROM observations o", "`label`, a name that is taken"),
        ("SELECT o.order_id, o.event_time, o.price AS score FROM observations o", "`score`, a name that is taken"),
        ("SELECT o.order_id, o.event_time, o.price AS Score FROM observations o", "Rename it with `AS`; taken are"),
        ("SELECT o.order_id, o.event_time, random() AS luck FROM observations o", "`random` gives another value"),
        (
            "WITH p AS (PIVOT observations ON channel USING sum(price) GROUP BY order_id, event_time) SELECT * FROM p",
            "`PIVOT` has to name its columns",
        ),
        ("SELECT o.order_id, o.event_time, o.ordered_at FROM observations o", "`ordered_at` as `timestamp"),
        ("SELECT o.order_id, o.event_time, o.price FROM observations o, shops", "more than one row for 60"),
        ("SELECT o.order_id, o.event_time, o.price FROM observations o WHERE price < 0", "no row for 60"),
        ("SELECT o.order_id, o.event_time, o.price FROM orders o", "not in `observations`: 60"),
        (
            "SELECT o.order_id, o.event_time + INTERVAL 1 DAY AS event_time, o.price FROM observations o",
            "no row for 60",
        ),
    ],
)
def test_a_query_of_the_wrong_shape_is_refused(delivered: Workspace, query: str, message: str):
    before = lake.version(delivered, "features"), delivered.state().seq
    write_query(delivered, query)
    try:
        with pytest.raises(FeaturesQueryWrong, match=message):
            build_features(delivered, FEBRUARY, FEBRUARY.end)
    finally:
        write_query(delivered, features_sql())
    assert (lake.version(delivered, "features"), delivered.state().seq) == before


def test_a_missing_row_is_seen_even_if_another_makes_up_for_it(delivered: Workspace):
    one = "SELECT * FROM observations ORDER BY order_id LIMIT 1"
    rest = "SELECT * FROM observations ORDER BY order_id LIMIT 58 OFFSET 2"
    write_query(
        delivered,
        f"SELECT order_id, event_time, price FROM (({one}) UNION ALL ({one}) UNION ALL ({rest}))",
    )
    try:
        with pytest.raises(FeaturesQueryWrong, match="more than one row for 1"):
            build_features(delivered, JANUARY, FEBRUARY.end)
    finally:
        write_query(delivered, features_sql())


def test_an_sql_mistake_names_the_file(delivered: Workspace):
    write_query(delivered, "SELEC 1")
    try:
        with pytest.raises(QueryFailed, match=r"`shop-returns/features\.sql` failed"):
            build_features(delivered, JANUARY, FEBRUARY.end)
    finally:
        write_query(delivered, features_sql())


@pytest.mark.parametrize("before", ["", "\n-- of an order\n"])
def test_an_sql_mistake_is_in_the_line_that_the_file_has_it_in(delivered: Workspace, before: str):
    wrong = before + features_sql().replace("s.size", "s.sise")
    line = wrong[: wrong.index("s.sise")].count("\n") + 1
    write_query(delivered, wrong)
    try:
        with pytest.raises(QueryFailed, match=rf"\nLINE {line}: .*s\.sise"):
            build_features(delivered, FEBRUARY, FEBRUARY.end)
    finally:
        write_query(delivered, features_sql())


def test_a_dropped_feature_does_not_come_back_as_an_empty_one(tmp_path: Path):
    ws = open_delivered(tmp_path)
    build_features(ws, JANUARY, FEBRUARY.end)
    write_query(ws, "SELECT o.order_id, o.event_time, o.shop, o.price FROM observations o")
    built = build_features(ws, JANUARY, FEBRUARY.end)
    assert list(stored(ws, built)[0]) == ["order_id", "event_time", "shop", "price"]


def test_a_feature_keeps_its_kind(tmp_path: Path):
    ws = open_delivered(tmp_path)
    build_features(ws, JANUARY, FEBRUARY.end)
    write_query(ws, "SELECT o.order_id, o.event_time, o.shop AS price FROM observations o")
    with pytest.raises(FeaturesQueryWrong, match="`price` as a text, but in the table `features` it is a number"):
        build_features(ws, JANUARY, FEBRUARY.end)


def test_labelled_rows_are_the_features_of_a_window_with_their_newest_label(delivered: Workspace):
    built = [build_features(delivered, period, FEBRUARY.end) for period in (JANUARY, FEBRUARY)]
    window = Window(start=moment("2024-01-10"), end=moment("2024-02-10"))
    with Engine(delivered.settings) as engine:
        open_views(engine, delivered, FEBRUARY.end)
        snapshot_view(engine, delivered, [one.partition for one in built], "snapshot")
        rows = engine.table(labelled_rows_sql(engine, delivered.use_case, "snapshot", window)).to_pylist()
        early = labelled_rows_sql(engine, delivered.use_case, "snapshot", window, moment("2024-01-25"))
        known = engine.table(early).to_pylist()
        truth = {row["order_id"]: row["label"] for row in engine.table("SELECT * FROM labels").to_pylist()}
    assert list(rows[0]) == [*delivered.use_case.key, "event_time", *built[0].features, "label"]
    times = [(row["event_time"], row["order_id"]) for row in rows]
    assert times == sorted(times)
    assert window.start <= times[0][0]
    assert times[-1][0] < window.end
    assert {row["order_id"]: row["label"] for row in rows} == {key: truth[key] for _, key in times}
    assert 0 < len(known) < len(rows)
    assert max(row["event_time"] for row in known) < moment("2024-01-18")


def test_of_two_labels_the_newest_known_counts(delivered: Workspace):
    built = build_features(delivered, JANUARY, FEBRUARY.end)
    with Engine(delivered.settings) as engine:
        snapshot_view(engine, delivered, [built.partition], "snapshot")
        engine.view(
            "labels",
            "SELECT '2024-01-000003' AS order_id, CAST(day AS DOUBLE) AS label, "
            "TIMESTAMPTZ '2024-02-01 00:00:00+00' + to_days(day) AS known_at FROM (VALUES (1), (5), (3)) t(day)",
        )
        for before, label in ((None, 5.0), (moment("2024-02-05"), 3.0)):
            sql = labelled_rows_sql(engine, delivered.use_case, "snapshot", JANUARY, before)
            assert engine.table(sql)["label"].to_pylist() == [label]

"""What a declaration gets wrong shows without data."""

from pathlib import Path

import pytest

from perennial.data.engine import QueryFailed
from perennial.data.rehearsal import BadLabel, NotForRequests, files_not_there, rehearse
from perennial.workspace import Workspace
from tests.builders import features_sql, make_use_case, write_month

SELECTED = "SELECT o.order_id, o.event_time,"


def asks(folder: Path, query: str, **changes: object) -> Workspace:
    """Open a use case without data and with another features query."""
    ws = make_use_case(folder, months=(), changes=changes)
    (ws.use_case.folder / ws.use_case.features).write_text(query)
    return ws


def test_a_right_declaration_passes_without_data(tmp_path: Path) -> None:
    rehearse(make_use_case(tmp_path, months=()))


def test_a_source_without_any_file_is_named_until_one_is_there(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, months=())
    assert [one for one in files_not_there(ws) if "`sources.orders.read` of `shop-returns`: No file matches" in one]
    write_month(ws.use_case.folder, "2024-03", rows=5, seed=1)
    assert not [one for one in files_not_there(ws) if "orders" in one]


def test_a_label_of_no_column_is_named_with_the_columns_there_are(tmp_path: Path) -> None:
    ws = make_use_case(tmp_path, months=(), changes={"label": {"value": "nosuchcolumn"}})
    with pytest.raises(BadLabel, match=r"`nosuchcolumn`, cannot be computed.*Expected a SQL expression"):
        rehearse(ws)


@pytest.mark.parametrize("query", ["SELEC 1", "SELECT o.*, o.nosuch AS x FROM observations o"])
def test_a_features_query_that_cannot_run_is_named(tmp_path: Path, query: str) -> None:
    ws = make_use_case(tmp_path, months=())
    (ws.use_case.folder / ws.use_case.features).write_text(query)
    with pytest.raises(QueryFailed, match=r"features\.sql"):
        rehearse(ws)


@pytest.mark.parametrize(
    "query",
    [
        features_sql(),
        f"{SELECTED} o.z FROM (WITH x AS (SELECT *, 1 AS z FROM observations) SELECT * FROM x) o",
        f"WITH R AS (SELECT shop, max(size) AS m FROM shops GROUP BY shop) {SELECTED} r.m FROM observations o "
        "LEFT JOIN r USING (shop)",
        f"{SELECTED} s.size FROM observations o LEFT JOIN shops s ON s.shop <= o.shop "
        "QUALIFY row_number() OVER (PARTITION BY o.order_id ORDER BY s.size) = 1",
        "SELECT o.order_id, o.event_time, max(s.size) AS m FROM observations o LEFT JOIN shops s ON s.shop <= o.shop "
        "GROUP BY ALL",
        f"WITH m AS (SELECT order_id, max(price) AS m FROM observations GROUP BY order_id) {SELECTED} m.m "
        "FROM observations o LEFT JOIN m USING (order_id)",
        f"{SELECTED} l.label AS last FROM observations o "
        "ASOF LEFT JOIN labels l ON l.order_id = o.order_id AND l.known_at < o.event_time",
        f"{SELECTED} (SELECT avg(x.price) FROM orders x WHERE x.known_at < o.event_time AND x.shop = o.shop) AS p "
        "FROM observations o",
        f"{SELECTED} s.size FROM observations o JOIN shops s USING (shop)",
        f"{SELECTED} CAST(o.shop AS INTEGER) AS number FROM observations o",
    ],
)
def test_a_query_that_answers_a_request_as_it_does_training_passes(tmp_path: Path, query: str) -> None:
    rehearse(asks(tmp_path, query, serving={}))


@pytest.mark.parametrize(
    "feature",
    [
        "count(*) OVER (PARTITION BY o.event_time)",
        "count(*) OVER ()",
        "lag(o.price) OVER (PARTITION BY o.shop, o.channel ORDER BY o.event_time)",
        "o.price - avg(o.price) OVER (PARTITION BY o.shop, o.channel, o.event_time)",
        "(SELECT max(x.price) FROM observations x WHERE x.shop = o.shop AND x.event_time < o.event_time)",
        "o.order_id = (SELECT min(order_id) FROM (SELECT * FROM observations ORDER BY price LIMIT 1))",
        "(WITH p AS (SELECT shop, avg(price) AS p FROM observations GROUP BY ALL) SELECT p FROM p WHERE shop = o.shop)",
    ],
)
def test_a_feature_that_rests_on_other_rows_than_its_own_is_named(tmp_path: Path, feature: str) -> None:
    query = f"{SELECTED} o.price, {feature} AS mixed FROM observations o"
    rehearse(asks(tmp_path / "batch", query))
    with pytest.raises(NotForRequests, match=r"`mixed` of `shop-returns/features.sql` is .* for the same row alone"):
        rehearse(asks(tmp_path / "online", query, serving={}))


def test_a_query_that_only_runs_over_a_period_is_named(tmp_path: Path) -> None:
    query = f"{SELECTED} (SELECT count(*) FROM information_schema.tables) AS tables FROM observations o"
    rehearse(asks(tmp_path / "batch", query))
    with pytest.raises(NotForRequests, match=r"could not answer a request with it: .*tables"):
        rehearse(asks(tmp_path / "online", query, serving={}))

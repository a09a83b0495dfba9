from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perennial.data.engine import Engine
from perennial.data.features import FeaturesQueryWrong, compute_features
from perennial.data.online import OnlineFeatures
from perennial.data.views import open_views
from perennial.model.encoding import Encoder
from perennial.periods import Period
from perennial.workspace import Workspace
from tests.builders import deliver, features_sql, make_use_case, moment

FEBRUARY = Period.parse("2024-02")
AS_OF = moment("2024-02-10")
ENCODER = Encoder(
    features=("price", "channel", "shop", "shop_size", "known_rate"),
    categories={"channel": ("app", "web"), "shop": ("aachen", "bonn", "celle", "dresden")},
)


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = make_use_case(tmp_path_factory.mktemp("online"), rows=100, months=["2024-01", "2024-02"])
    deliver(made, "2024-01", "2024-02")
    return made


@pytest.fixture(scope="module")
def offline(ws: Workspace) -> dict[str, dict[str, Any]]:
    """Orders of February with their features, as training sees them, by id."""
    with Engine(ws.settings) as engine:
        open_views(engine, ws, FEBRUARY.end, FEBRUARY)
        compute_features(engine, ws.use_case)
        orders = engine.table("SELECT order_id, event_time AS ordered_at, price, channel, shop FROM observations")
        features = {one["order_id"]: one for one in engine.table("SELECT * FROM computed_features").to_pylist()}
    return {one["order_id"]: one | {"features": features[one["order_id"]]} for one in orders.to_pylist()}


def asked(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "features"}


def test_online_features_are_those_of_training_row_by_row_and_together(ws: Workspace, offline: dict[str, Any]):
    rows = [*offline.values()]
    with OnlineFeatures(ws, FEBRUARY.end) as online:
        query = online.prepared(ENCODER)
        together = query.ask([asked(one) for one in rows])
        alone = [query.ask([asked(one)]) for one in rows[:5]]
    wanted = [{name: one["features"][name] for name in ENCODER.features} for one in rows]
    assert together.dicts() == wanted
    assert [one.dicts()[0] for one in alone] == wanted[:5]
    assert together.matrix.shape == (len(rows), 5)
    np.testing.assert_array_equal(together.matrix[:5], np.concatenate([one.matrix for one in alone]))


@pytest.mark.parametrize(
    "source",
    [
        "(WITH x AS (SELECT *, price * 2 AS twice FROM observations) SELECT * FROM x) o LEFT JOIN shops s USING (shop)",
        "Asked o LEFT JOIN sizes s ON s.shop = o.shop",
        "asked o LEFT JOIN Shops s USING (shop), (WITH best AS (SELECT max(size) AS m FROM SHOPS) SELECT m FROM best)",
    ],
)
def test_names_of_any_case_and_expressions_in_expressions_mean_the_same(
    ws: Workspace, offline: dict[str, Any], source: str
):
    query = (
        "WITH Sizes AS (SELECT * FROM shops), asked AS (SELECT *, price * 2 AS twice FROM Observations) "
        f"SELECT o.order_id, o.event_time, o.twice, s.size FROM {source}"
    )
    rows = [asked(one) for one in offline.values()]
    with OnlineFeatures(ws, FEBRUARY.end, query) as online:
        found = online.run(rows)
    assert found == [(one["price"] * 2, one["features"]["shop_size"]) for one in offline.values()]


def test_the_matrix_is_coded_as_for_training(ws: Workspace):
    rows = [
        {"order_id": "x", "ordered_at": AS_OF, "price": 3.5, "channel": "web", "shop": "celle"},
        {"order_id": "y", "ordered_at": AS_OF, "price": None, "channel": "store", "shop": "essen"},
    ]
    with OnlineFeatures(ws, AS_OF) as online:
        answer = online.prepared(ENCODER).ask(rows)
    assert answer.matrix[0, :4].tolist() == [3.5, 1, 2, 3]
    assert np.isnan(answer.matrix[1, :4]).all()
    assert answer.features.column("shop").to_pylist() == ["celle", "essen"]


def test_the_order_is_that_of_the_rows_and_a_key_may_come_twice(ws: Workspace):
    prices = [5.0, 4.0, 3.0, 2.0, 1.0]
    rows = [
        {"order_id": name, "ordered_at": AS_OF, "price": price, "channel": "app", "shop": "bonn"}
        for name, price in zip("babca", prices, strict=True)
    ]
    with OnlineFeatures(ws, AS_OF) as online:
        answer = online.prepared(ENCODER).ask(rows)
    assert [one["price"] for one in answer.dicts()] == prices
    assert answer.matrix[:, 0].tolist() == prices


def test_equal_rows_of_a_request_are_computed_once(ws: Workspace, offline: dict[str, Any]):
    one, other, *_ = (asked(one) for one in offline.values())
    with OnlineFeatures(ws, FEBRUARY.end) as online:
        query = online.prepared(ENCODER)
        passes: list[int] = []
        plain = online._standing.ask
        online._standing.ask = lambda given: passes.append(given.num_rows) or plain(given)
        found = query.ask([one, other, dict(one), one | {"price": 7.0}, dict(one)]).dicts()
        alone = query.ask([one]).dicts()[0]
    assert passes == [2, 1, 1]
    assert found[0] == found[2] == found[4] == alone
    assert found[3] == alone | {"price": 7.0}


def test_no_rows_have_no_features(ws: Workspace):
    with OnlineFeatures(ws, AS_OF) as online:
        assert online.prepared(ENCODER).ask([]).matrix.shape == (0, 5)


def test_the_reference_says_what_the_features_rest_on(ws: Workspace):
    def reference(as_of: str, query: str | None = None) -> str:
        with OnlineFeatures(ws, moment(as_of), query) as online:
            return online.reference

    assert reference("2024-05-01") == reference("2024-06-01")
    assert reference("2024-02-10") != reference("2024-02-11")
    assert reference("2024-05-01") != reference("2024-05-01", features_sql() + "-- changed")


def test_a_query_that_loses_the_row_is_told_apart(ws: Workspace):
    sql = "SELECT o.order_id, o.event_time, o.price FROM observations o JOIN labels l USING (order_id)"
    row = {"order_id": "new", "ordered_at": AS_OF, "price": 1.0, "channel": "app", "shop": "bonn"}
    with OnlineFeatures(ws, AS_OF, sql) as online, pytest.raises(FeaturesQueryWrong, match="gave 0 rows"):
        online.prepared(Encoder(features=("price",), categories={})).ask([row])


def test_sources_reach_back_as_far_as_declared(tmp_path: Path):
    made = make_use_case(tmp_path, rows=60, months=["2024-01", "2024-02"], changes={"serving": {"history": "10d"}})
    deliver(made, "2024-01", "2024-02")
    sql = "SELECT o.order_id, o.event_time, (SELECT min(known_at) FROM labels) AS oldest FROM observations o"
    sql = sql.replace("min(known_at)", "epoch(max(known_at)) - epoch(min(known_at))")
    row = {"order_id": "new", "ordered_at": AS_OF, "price": 1.0, "channel": "app", "shop": "bonn"}
    with OnlineFeatures(made, moment("2024-03-20"), sql) as online:
        found = online.prepared(Encoder(features=("oldest",), categories={})).ask([row])
    assert 8 * 86400 < found.dicts()[0]["oldest"] <= 10 * 86400

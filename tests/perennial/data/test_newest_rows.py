"""How far back the newest row lies, of the sources that a features query reads."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from perennial.data.acceptance import accept
from perennial.data.landing import receive
from perennial.data.online import OnlineFeatures
from perennial.periods import Period
from perennial.workspace import Workspace
from tests.builders import deliver, make_use_case, moment

FEBRUARY, MARCH = Period.parse("2024-02"), Period.parse("2024-03")
ENTITY = "SELECT o.order_id, o.event_time, o.price{} FROM observations o"
ORDERS_BEFORE = ", (SELECT count(*) FROM Orders h WHERE h.event_time < o.event_time) AS before"
BY_SHOP = "WITH counts AS (SELECT shop, count(*) AS n FROM orders GROUP BY shop) "


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Orders come each month; their outcomes failed to in February."""
    made = make_use_case(tmp_path_factory.mktemp("shop"), rows=60, months=["2024-01", "2024-02"])
    deliver(made, "2024-01")
    accept(made, receive(made, "orders", FEBRUARY, FEBRUARY.end), FEBRUARY.end)
    return made


def newest(ws: Workspace, as_of: datetime, query: str | None = None) -> datetime | None:
    with OnlineFeatures(ws, as_of, query) as online:
        return online.newest_row_at


def test_a_source_that_fails_is_not_hidden_by_one_that_comes(ws: Workspace) -> None:
    both = ENTITY.format(
        ORDERS_BEFORE + ", (SELECT avg(h.label) FROM labels h WHERE h.known_at < o.event_time) AS rate"
    )
    with OnlineFeatures(ws, moment("2024-03-20"), both) as online:
        assert online.newest_row_at is not None
        assert moment("2024-02-05") < online.newest_row_at < moment("2024-02-08"), "January's labels, after a week"
        assert moment("2024-02-27") < online.rests_on.moment < FEBRUARY.end, "what it was computed from"


@pytest.mark.parametrize(
    "query",
    [
        ENTITY.format(ORDERS_BEFORE),
        BY_SHOP + ENTITY.format(", c.n") + " LEFT JOIN counts c USING (shop)",
        "WITH orders AS (SELECT * FROM orders) " + ENTITY.format(", (SELECT count(*) FROM orders) AS n"),
    ],
)
def test_only_what_the_query_reads_counts(ws: Workspace, query: str) -> None:
    found = newest(ws, moment("2024-03-20"), query)
    assert found is not None and moment("2024-02-27") < found < FEBRUARY.end


@pytest.mark.parametrize("query", [ENTITY.format(""), ENTITY.format(", s.size") + " LEFT JOIN shops s USING (shop)"])
def test_a_query_that_reads_no_rows_with_times_rests_on_none(ws: Workspace, query: str) -> None:
    assert newest(ws, moment("2024-03-20"), query) is None


def test_a_delivery_without_rows_tells_up_to_its_end_that_nothing_happened(tmp_path: Path) -> None:
    changes = {"sources": {name: {"volume": {"min_rows": 0}} for name in ("orders", "outcomes")}}
    made = make_use_case(tmp_path, rows=60, months=["2024-02"], changes=changes)
    deliver(made, "2024-02")
    for source, columns in (("orders", "price,channel,shop"), ("outcomes", "returned,refund")):
        file = made.use_case.folder / "deliveries" / f"{source}-2024-03.csv"
        file.write_text(f"order_id,ordered_at,{columns}\n")
    deliver(made, "2024-03")
    labels_until = MARCH.end + timedelta(days=7)
    before = newest(made, labels_until - timedelta(seconds=1))
    assert before is not None and before < FEBRUARY.end + timedelta(days=7)
    assert newest(made, labels_until) == labels_until
    assert newest(made, MARCH.end, ENTITY.format(ORDERS_BEFORE)) == MARCH.end


def test_deliveries_of_a_source_that_is_declared_no_more_are_passed_over(ws: Workspace) -> None:
    kept = {name: one for name, one in ws.use_case.sources.items() if name != "shops"}
    fewer = Workspace(ws.use_case.model_copy(update={"sources": kept}), ws.settings)
    assert newest(fewer, moment("2024-03-20"), ENTITY.format(ORDERS_BEFORE)) is not None

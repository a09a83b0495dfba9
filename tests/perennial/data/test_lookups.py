from typing import Any

import pytest

from perennial.data.engine import Engine
from perennial.data.lookups import with_lookups
from perennial.data.query_parts import split
from tests.model_builders import make_engine

ASKED = """(VALUES
  (1, 'bonn', 10, TIMESTAMPTZ '2024-01-02 00:00+00'),
  (2, 'celle', 11, TIMESTAMPTZ '2024-01-03 00:00+00'),
  (3, 'essen', 10, TIMESTAMPTZ '2024-01-02 00:00+00'),
  (4, NULL, 10, TIMESTAMPTZ '2024-01-02 00:00+00'),
  (5, 'celle', NULL, TIMESTAMPTZ '2024-01-01 00:00+00')
) AS given(id, shop, day, event_time)"""


@pytest.fixture
def engine():
    with make_engine() as opened:
        opened.keep("observations", f"SELECT * FROM {ASKED}")
        opened.keep(
            "shops",
            "SELECT * FROM (VALUES ('bonn', 2.5, 'a'), ('celle', NULL, 'b'), (NULL, 9, 'c')) t(shop, size, kind)",
        )
        opened.keep(
            "days",
            "SELECT *, TIMESTAMPTZ '2024-01-02 12:00+00' AS known_at, [{n: 1, x: 0.5}, {n: 2, x: NULL}] AS list, "
            "{one: [{two: {three: n}}, NULL], none: NULL} AS deep, [{pairs: MAP {'a': n}}] AS maps "
            "FROM (VALUES ('bonn', 10::SMALLINT, 1), ('celle', 11::SMALLINT, 2)) t(shop, day, n)",
        )
        opened.keep("orders", "SELECT * FROM (VALUES ('bonn', 1), ('bonn', 2)) t(shop, n)")
        yield opened


def rewritten(engine: Engine, sql: str) -> str:
    parts = split(engine, sql)
    return engine.text(with_lookups(engine, parts.request, ["shops", "days", "orders"]))


def rows(engine: Engine, sql: str) -> list[dict[str, Any]]:
    return engine.table(f"SELECT * FROM ({sql}) ORDER BY id").to_pylist()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT o.id, s.size FROM observations o LEFT JOIN shops s ON s.shop = o.shop",
        "SELECT o.id, s.size, s.kind AS k FROM observations o LEFT JOIN shops s ON o.shop = s.shop",
        "SELECT o.id, d.n FROM observations o LEFT JOIN days d ON d.shop = o.shop "
        "AND d.day = o.day AND d.known_at < o.event_time",
        "SELECT o.id, o.day - d.n AS x FROM observations o LEFT JOIN days d ON d.shop = o.shop "
        "AND d.day + 1 = o.day + 1",
        "SELECT o.id, coalesce(s.size, d.n) AS x FROM observations o LEFT JOIN shops s ON s.shop = o.shop "
        "LEFT JOIN days d ON d.shop = o.shop AND d.day = o.day WHERE s.kind IS DISTINCT FROM 'b'",
        "SELECT o.id, count(*) AS n, max(s.size) AS x FROM observations o "
        "LEFT JOIN shops s ON s.shop = o.shop GROUP BY o.id, s.kind",
        "WITH more AS (SELECT o.*, d.list AS list FROM observations o "
        "LEFT JOIN days d ON d.shop = o.shop AND d.day = o.day) "
        "SELECT o.id, len(list_filter(o.list, lambda one: one.x > 0)) AS n, o.list[-1].n AS last, shops.size "
        "FROM more o LEFT JOIN shops ON shops.shop = o.shop",
        "SELECT o.id, s.size, d.n FROM observations o LEFT JOIN shops s ON s.shop = o.shop "
        "LEFT JOIN days d ON d.day = o.day AND d.shop = o.shop",
        "SELECT o.id, d.deep, d.deep['one'][1]['two']['three'] AS three, d.maps FROM observations o "
        "LEFT JOIN days d ON d.shop = o.shop AND d.day = o.day",
        "SELECT o.id, s.size, (SELECT max(e.n) FROM orders e WHERE e.shop = s.shop) AS n "
        "FROM observations o LEFT JOIN shops s ON s.shop = o.shop",
        "SELECT o.id, s.size FROM (SELECT * FROM observations) o "
        "LEFT JOIN shops s ON s.shop = upper(lower(o.shop)) OR FALSE LEFT JOIN days d ON d.shop = o.shop",
    ],
)
def test_a_look_up_gives_what_the_join_gave(engine: Engine, sql: str):
    found = rewritten(engine, sql)
    assert "look_up" in found
    assert rows(engine, found) == rows(engine, sql)
    assert engine.types(found) == engine.types(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT o.id, e.n FROM observations o LEFT JOIN orders e ON e.shop = o.shop",
        "SELECT o.id, s.size FROM observations o LEFT JOIN shops s USING (shop)",
        "SELECT o.id, s.size FROM observations o JOIN shops s ON s.shop = o.shop",
        "SELECT o.id, s.size FROM observations o FULL JOIN shops s ON s.shop = o.shop",
        "SELECT o.id, s.size FROM observations o LEFT JOIN shops s ON s.shop > o.shop AND s.size = 2.5 AND o.day = 10",
        "SELECT o.id, s.size FROM observations o LEFT JOIN shops s ON s.size = o.day",
        "SELECT * FROM observations o LEFT JOIN shops s ON s.shop = o.shop",
        "SELECT o.id, s FROM observations o LEFT JOIN shops s ON s.shop = o.shop",
        "SELECT o.id, size FROM observations o LEFT JOIN shops s ON s.shop = o.shop",
        "SELECT o.id, s.size, list_filter([{size: 3}], lambda s: s.size > 1)[1].size AS x "
        "FROM observations o LEFT JOIN shops s ON s.shop = o.shop",
        "SELECT o.id, s.size, (SELECT max(s.n) FROM orders s) AS x "
        "FROM observations o LEFT JOIN shops s ON s.shop = o.shop",
        "SELECT o.id FROM observations o",
    ],
)
def test_what_could_mean_something_else_stays_a_join(engine: Engine, sql: str):
    found = rewritten(engine, sql)
    assert "look_up" not in found
    assert rows(engine, found) == rows(engine, sql)


def test_the_reference_table_is_not_asked_again(engine: Engine):
    found = rewritten(engine, "SELECT o.id, s.size FROM observations o LEFT JOIN shops s ON s.shop = o.shop")
    engine.execute("DROP TABLE shops")
    assert rows(engine, found)[0] == {"id": 1, "size": 2.5}

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from perennial.data.engine import Engine, QueryFailed
from perennial.data.standing import Standing
from tests.model_builders import make_engine

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])
SIMPLE = "SELECT id, id * 2 AS twice, upper(name) AS name FROM asked"
HOLDS_BACK = "SELECT id, count(*) OVER () AS n, name FROM asked"


@pytest.fixture
def engine() -> Iterator[Engine]:
    with make_engine() as opened:
        opened.execute("SET threads = 1")
        yield opened


def standing(engine: Engine, sql: str) -> tuple[Standing, list[int]]:
    """A query, and a list that grows by one each time that it is begun."""
    made, begun = Standing(engine, "asked", SCHEMA, sql), list[int]()
    plain = made._begun
    made._begun = lambda: begun.append(1) or plain()  # type: ignore[func-returns-value,method-assign]
    return made, begun


def rows(*ids: int | None) -> pa.RecordBatch:
    return pa.record_batch([[*ids], [None if one is None else f"n{one}" for one in ids]], schema=SCHEMA)


def answers(*ids: int | None) -> list[tuple[Any, ...]]:
    return [(one, None if one is None else one * 2, None if one is None else f"N{one}") for one in ids]


def test_batches_of_any_size_are_answered_one_after_the_other_by_one_query(engine: Engine):
    query, begun = standing(engine, SIMPLE)
    for number, size in enumerate([1, 1, 2, 1, 100, 3, 2048, 1, 1]):
        ids = [number * 10_000 + place for place in range(size)]
        assert query.ask(rows(*ids)) == answers(*ids)
    assert query.ask(rows(None, 1)) == answers(None, 1)
    assert len(begun) == 1


def test_more_rows_than_the_engine_takes_at_once_are_answered_too(engine: Engine):
    query, _ = standing(engine, SIMPLE)
    for size in (2049, 1, 10_000, 1):
        assert query.ask(rows(*range(size))) == answers(*range(size))


def test_it_reads_no_further_than_the_rows_it_is_given(engine: Engine):
    query, begun = standing(engine, SIMPLE)
    passes = [query.ask(rows(number)) for number in range(500)]
    assert passes == [answers(number) for number in range(500)]
    assert len(begun) == 1


def prices(start: int, price: float, size: int) -> pa.RecordBatch:
    """Rows with the same keys each time, and other values."""
    return pa.record_batch([[*range(start, start + size)], [f"n{price}"] * size], schema=SCHEMA)


@pytest.mark.parametrize("size", [1, 63, 64, 100, 256, 2048, 3000])
@pytest.mark.parametrize(
    "sql",
    [
        HOLDS_BACK,
        "SELECT id, i, name FROM asked, range(2) t(i)",
        "SELECT id, i, name FROM asked LEFT JOIN (SELECT i // 2 AS i FROM range(6000) t(i)) ON id = i",
        "SELECT id, lag(name) OVER () AS b, name FROM asked",
        "SELECT id, row_number() OVER () AS b, name FROM asked",
        "SELECT id, first_value(name) OVER () AS b, name FROM asked",
        "SELECT a.id, b.id, b.name FROM asked a JOIN asked b USING (id)",
        "SELECT id, 1 AS b, name FROM asked WHERE id % 2 = 0 UNION ALL SELECT id, 2, name FROM asked WHERE id % 2 = 1",
        "SELECT id, (SELECT max(id) FROM asked) AS b, name FROM asked",
        "SELECT id, unnest([1, 2]) AS b, name FROM asked",
        "SELECT id, 1 AS b, name FROM asked ORDER BY name, id LIMIT 5",
    ],
)
def test_what_remembers_doubles_or_reads_rows_twice_answers_each_as_if_alone(
    engine: Engine, sql: str, size: int
) -> None:
    query = Standing(engine, "asked", SCHEMA, sql)
    assert not query.stays_open
    for price in (1.0, 2.0):
        given = prices(0, price, size)
        with make_engine() as other:
            other.arrow("asked", pa.Table.from_batches([given]))
            assert sorted(query.ask(given)) == sorted(other.rows(sql))


def test_rows_that_are_lost_are_nobody_elses(engine: Engine):
    query, begun = standing(engine, "SELECT id, id % 3 AS b, name FROM asked WHERE id % 3 = 0")
    assert query.stays_open
    for size in (1, 64, 100, 2048, 3000):
        assert query.ask(rows(*range(1, size + 1))) == [(one, 0, f"n{one}") for one in range(3, size + 1, 3)]
        assert query.ask(rows(3)) == [(3, 0, "n3")]
        assert query.ask(rows(4)) == []
    assert len(begun) > 5


def test_rows_that_fail_harm_no_others(engine: Engine):
    query, begun = standing(engine, "SELECT id, 1 // (id - CAST(name[2:] AS INTEGER) + 1) AS x, name FROM asked")
    assert query.ask(rows(1)) == [(1, 1, "n1")]
    bad = pa.record_batch([[1], ["none"]], schema=SCHEMA)
    for _ in range(2):
        with pytest.raises(QueryFailed, match="Could not convert"):
            query.ask(bad)
    assert query.ask(rows(2, 3)) == [(2, 1, "n2"), (3, 1, "n3")]
    assert query.ask(rows(4)) == [(4, 1, "n4")]
    assert len(begun) == 3


def test_the_engine_is_free_once_it_is_ended_and_it_begins_anew(engine: Engine):
    query, begun = standing(engine, SIMPLE)
    for number in range(3):
        assert query.ask(rows(number)) == answers(number)
        query.end()
        assert engine.scalar("SELECT 1") == 1
    assert len(begun) == 3


def test_nothing_is_left_of_one_that_nobody_holds_any_more(engine: Engine):
    query, _ = standing(engine, SIMPLE)
    query.ask(rows(1))
    feed = weakref.ref(query._feed)
    engine.__exit__(None, None, None)
    del query
    gc.collect()
    assert feed() is None

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


def test_a_query_that_holds_rows_back_is_begun_for_each_batch(engine: Engine):
    query, begun = standing(engine, HOLDS_BACK)
    assert query.ask(rows(1, 2)) == [(1, 2, "n1"), (2, 2, "n2")]
    assert query.ask(rows(3)) == [(3, 1, "n3")]
    assert len(begun) == 2


@pytest.mark.parametrize("size", [1, 63, 64, 100])
def test_a_join_loses_no_row_whether_or_not_it_lets_a_batch_through(engine: Engine, size: int):
    engine.keep("names", "SELECT 'n' || i AS name, i AS place FROM range(5000) t(i)")
    query, _ = standing(engine, "SELECT id, place, a.name FROM asked a LEFT JOIN names n ON n.name = a.name")
    for start in (0, 1000, 4990):
        ids = range(start, start + size)
        wanted = [(one, one if one < 5000 else None, f"n{one}") for one in ids]
        assert sorted(query.ask(rows(*ids))) == wanted


@pytest.mark.parametrize("size", [1, 3000])
def test_rows_that_are_lost_or_doubled_are_nobody_elses(engine: Engine, size: int):
    query, _ = standing(engine, "SELECT id, i, name FROM asked, range(2) t(i) WHERE id >= 0 AND (i = 0 OR id < 5000)")
    assert len(query.ask(rows(*range(size)))) != size
    assert query.ask(rows(6000)) == [(6000, 0, "n6000")]
    assert query.ask(rows(-1)) == []
    assert query.ask(rows(7000)) == [(7000, 0, "n7000")]


def test_what_is_left_of_too_many_rows_is_no_answer_to_others(engine: Engine):
    query, _ = standing(engine, "SELECT id, i, name FROM asked, range(5000) t(i) WHERE id = 1 OR i = 0")
    assert len(query.ask(rows(1))) > 1
    assert query.ask(rows(2)) == [(2, 0, "n2")]


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

"""A query that is asked again and again about a few rows; one that passes them on, row by row, stays open.

To begin a small query, above all to make room for its vectors, takes the engine ten times as long as a few rows take.
So rows go into a query that runs, and what it makes of them comes out before the next go in. A query that remembers
rows, holds them back or reads them twice, as for a sum, a window or a join, is begun anew each time.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from perennial.data.engine import Engine, QueryFailed, quote

_PASSING = {"PROJECTION", "FILTER", "PYTHON_ARROW_SCAN"}
"""Operators that are done with some rows before they take others."""
_TAKE = "take"
_SIGNAL = (1, 1)
"""What a batch leaves in the result, read value by value: with fewer than two the engine asks for rows ahead."""


class Standing:
    """One query over batches of rows, for one thread at a time."""

    def __init__(self, engine: Engine, source: str, schema: pa.Schema, sql: str) -> None:
        """Prepare it; it begins with the first rows.

        Args:
            engine: Alone, with one thread. It answers nothing else until this is ended.
            source: What the query calls the rows that it is given.
            schema: Of these rows.
            sql: One SELECT.
        """
        engine.arrow(source, schema.empty_table())
        [(_, plan)] = engine.rows(f"EXPLAIN (FORMAT json) {sql}")
        self.stays_open = {*_operators(json.loads(plan)[0])} <= _PASSING
        self._engine, self._source, self._schema, self._sql = engine, source, schema, sql
        self._feed = feed = _Feed()
        self._result: pa.RecordBatchReader | None = None
        if self.stays_open:
            kinds = engine.types(sql)
            engine.function(_TAKE, lambda *row: feed.take(row), [*kinds.values()], "TINYINT[]", volatile=True)
            engine.execute("SET streaming_buffer_size = '1B'")
            self._taking = f"SELECT unnest({_TAKE}({', '.join(map(quote, kinds))})) FROM ({sql})"

    def ask(self, rows: pa.RecordBatch) -> list[tuple[Any, ...]]:
        """Return what the query makes of some rows.

        Raises:
            QueryFailed: The engine refused it, or these rows.
        """
        if not self.stays_open:
            self._engine.arrow(self._source, pa.Table.from_batches([rows]))
            return self._engine.rows(self._sql)
        try:
            return self._passed_on(rows)
        except (pa.ArrowException, OSError) as error:
            self._result = None
            raise QueryFailed(f"`{self._source}` failed: {error}") from error
        except BaseException:
            self._result = None  # what is left of these rows must not pass for an answer to others
            raise

    def _passed_on(self, rows: pa.RecordBatch) -> list[tuple[Any, ...]]:
        feed = self._feed
        feed.give(rows)
        while len(feed.found) < rows.num_rows and not (self._result is None and feed.is_taken):
            if self._result is None:
                self._result = self._begun()
            elif next(self._result, None) is None:
                self._result = None
        return feed.found

    def end(self) -> None:
        """Let the engine be asked other things; the next rows begin the query anew."""
        self._result = None

    def _begun(self) -> pa.RecordBatchReader:
        self._engine.arrow(self._source, pa.RecordBatchReader.from_batches(self._schema, self._feed.batches()))
        return self._engine.batches(self._taking, rows=1)


class _Feed:
    """What goes in and comes out. It knows no engine, which would outlive its last user in a cycle."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, ...]] = []
        self.is_taken = True
        self._rows: pa.RecordBatch | None = None

    def give(self, rows: pa.RecordBatch) -> None:
        self.found, self.is_taken, self._rows = [], False, rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give what was given; asked for more, which is when a row was lost, end."""
        while self._rows is not None:
            rows, self._rows, self.is_taken = self._rows, None, True
            yield rows

    def take(self, row: tuple[Any, ...]) -> tuple[int, ...]:
        self.found.append(row)
        return _SIGNAL if len(self.found) == 1 else ()


def _operators(part: Mapping[str, Any]) -> Iterator[str]:
    yield part["name"]
    for one in part["children"]:
        yield from _operators(one)

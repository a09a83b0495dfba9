"""A query that stays open: rows go in, and what it makes of them comes out before the next go in.

To begin a small query, above all to make room for its vectors, takes the engine ten times as long as a few rows take. A
query that holds rows back, for a sum or a sort, is ended to give them and begun anew for the next.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from perennial.data.engine import Engine, QueryFailed, quote

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
        kinds = engine.types(sql)
        self._engine, self._source, self._schema = engine, source, schema
        self._feed = feed = _Feed()
        engine.function(_TAKE, lambda *row: feed.take(row), [*kinds.values()], "TINYINT[]", volatile=True)
        engine.execute("SET streaming_buffer_size = '1B'")
        self._sql = f"SELECT unnest({_TAKE}({', '.join(map(quote, kinds))})) FROM ({sql})"
        self._result: pa.RecordBatchReader | None = None

    def ask(self, rows: pa.RecordBatch) -> list[tuple[Any, ...]]:
        """Return what the query makes of some rows.

        Raises:
            QueryFailed: The engine refused it, or these rows.
        """
        feed = self._feed
        feed.give(rows)
        while len(feed.found) < rows.num_rows:
            try:
                if self._result is None:
                    self._result = self._begun()
                else:
                    self._result.read_next_batch()
            except StopIteration:
                self._result = None
            except (pa.ArrowException, OSError, QueryFailed) as error:
                self._result = None
                raise QueryFailed(f"`{self._source}` failed: {error}") from error
            if self._result is None and feed.is_taken:
                break
        if len(feed.found) != rows.num_rows:
            self._result = None  # what is left of these rows must not pass for an answer to others
        return feed.found

    def end(self) -> None:
        """Let the engine be asked other things; the next rows begin the query anew."""
        self._result = None

    def _begun(self) -> pa.RecordBatchReader:
        self._engine.arrow(self._source, pa.RecordBatchReader.from_batches(self._schema, self._feed.batches()))
        return self._engine.batches(self._sql, rows=1)


class _Feed:
    """What goes in and comes out. It knows no engine, which would outlive its last user in a cycle."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, ...]] = []
        self.is_taken = True
        self._rows: pa.RecordBatch | None = None

    def give(self, rows: pa.RecordBatch) -> None:
        self.found, self.is_taken, self._rows = [], False, rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give what was given; asked for more, which is when rows are held back, end."""
        while self._rows is not None:
            rows, self._rows, self.is_taken = self._rows, None, True
            yield rows

    def take(self, row: tuple[Any, ...]) -> tuple[int, ...]:
        self.found.append(row)
        return _SIGNAL if len(self.found) == 1 else ()

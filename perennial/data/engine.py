"""What runs the queries: embedded DuckDB; the only module that imports a SQL engine.

It knows files, Arrow data and SQL, and nothing of use cases, so that another engine can stand here.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from inspect import Parameter, Signature
from itertools import count
from pathlib import Path
from tempfile import gettempdir
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb
import pyarrow as pa

from perennial.errors import Permanent
from perennial.settings import Settings
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.data.object_files import ObjectFiles

BATCH_ROWS = 131_072
_NUMBERS = count(1)
_AT_ONCE = 2_000
"""Rows that become plain values in one piece: no other thread runs while they do."""


class QueryFailed(Permanent):
    """The engine refused a query; the message is the engine's own, with the query's name."""


class QueryHindered(QueryFailed):
    """A file, memory or disk was wanting, which says nothing of the query."""


class Engine:
    """One in-memory database with bounded memory, which spills to disk beyond it; times are UTC."""

    def __init__(self, settings: Settings, *, alone: bool = False) -> None:
        """Open an empty database.

        Args:
            settings: Where the store is, and how much memory and how many threads queries take.
            alone: Whether it is for a purpose of its own, with functions or settings that nobody else has. All others
                of a process that are open share the memory: DuckDB takes 25 ms to start, and 4 for one more database.
        """
        is_remote = "://" in settings.storage_root
        self._is_alone = alone or is_remote
        start = _started.__wrapped__ if self._is_alone else _started
        self._database = start(settings.memory_limit, settings.threads)
        self._connection = self._database.cursor()
        self._name = f"database_{next(_NUMBERS)}"
        self._connection.execute(f"ATTACH ':memory:' AS {self._name}")
        self._connection.execute(f"USE {self._name}")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET enable_progress_bar = false")  # it would stand among what a command prints
        self._objects: ObjectFiles | None = None
        if is_remote:
            self._read_objects(Store(settings.storage_root, settings.storage_endpoint))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()  # ends what it was asked last, which might still read the database
        if self._is_alone:
            self._database.close()
            return
        with self._database.cursor() as other:
            other.execute(f"DETACH DATABASE IF EXISTS {self._name}")

    def files(self, name: str, files: Sequence[str]) -> None:
        """Give Parquet files, at least one, the name of a view; `key=value` folders become columns."""
        self.view(name, f"SELECT * FROM {parquet(files)}")

    def view(self, name: str, sql: str) -> None:
        """Give a SELECT the name of a view; it runs when the view is asked."""
        self.execute(f"CREATE OR REPLACE VIEW {quote(name)} AS {sql}", name=name)

    def keep(self, name: str, sql: str, query: str = "query") -> None:
        """Run a SELECT once and keep its rows as a table of this engine, spilled to disk when they are many.

        It begins in the first line of what is run, so that the engine's messages count lines as its file does.
        """
        self.execute(f"CREATE OR REPLACE TEMP TABLE {quote(name)} AS {sql}", name=query)

    def schema(self, sql: str) -> pa.Schema:
        """Return names and types of what a SELECT gives, without running it over the data."""
        return self.table(f"SELECT * FROM ({sql}) LIMIT 0").schema

    def arrow(self, name: str, data: pa.Table) -> None:
        """Give Arrow data the name of a view."""
        self._connection.register(name, data)

    def execute(self, sql: str, parameters: Sequence[Any] = (), name: str = "query") -> None:
        """Run a statement without looking at its result.

        Raises:
            QueryFailed: The engine refused it.
        """
        with self._naming(name):
            self._connection.execute(sql, list(parameters))

    def table(self, sql: str, parameters: Sequence[Any] = (), name: str = "query") -> pa.Table:
        """Run a SELECT and return all of its rows."""
        with self._naming(name):
            return self._select(sql, parameters).to_arrow_table()

    def batches(
        self, sql: str, parameters: Sequence[Any] = (), rows: int = BATCH_ROWS, name: str = "query"
    ) -> pa.RecordBatchReader:
        """Run a SELECT and return its rows in batches, read while the engine produces them.

        The engine answers nothing else until the reader is read to its end or dropped.
        """
        with self._naming(name):
            reader = self._select(sql, parameters).to_arrow_reader(rows)
        return self._streamed(reader, name) if self._objects else reader

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a SELECT and return all of its rows as plain values."""
        return list(self.each(sql))

    def each(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Run a SELECT and give its rows as plain values; many rows do not hold up other threads meanwhile.

        The engine is to be asked nothing else until all are read.
        """
        with self._naming("query"):
            self._connection.execute(sql)
            while some := self._connection.fetchmany(_AT_ONCE):
                yield from some

    def scalar(self, sql: str, parameters: Sequence[Any] = (), name: str = "query") -> Any:
        """Run a SELECT of few rows and return the first column of its first row; `None` when there is no row."""
        with self._naming(name):
            rows = self._select(sql, parameters).fetchall()
        return rows[0][0] if rows else None

    def tree(self, sql: str) -> dict[str, Any]:
        """Return one SELECT as the engine's own parser sees it, as plain data.

        Raises:
            QueryFailed: It is no SELECT.
        """
        tree = json.loads(self.scalar("SELECT json_serialize_sql(CAST(? AS VARCHAR))", [sql]))
        if tree["error"]:
            raise QueryFailed(f"The query is no SELECT: {tree['error_message']}")
        return dict(tree)

    def text(self, tree: Mapping[str, Any]) -> str:
        """Write what `tree` gave, or what was made of it, as SQL again."""
        return str(self.scalar("SELECT json_deserialize_sql(CAST(? AS JSON))", [json.dumps(tree)]))

    def types(self, sql: str) -> dict[str, str]:
        """Return the columns of a SELECT with their types as SQL names them."""
        described = self.table(f"DESCRIBE {sql}")
        return dict(zip(described["column_name"].to_pylist(), described["column_type"].to_pylist(), strict=True))

    def function(
        self, name: str, function: Callable[..., Any], takes: Sequence[str], gives: str, *, volatile: bool = False
    ) -> None:
        """Let queries of an engine that is alone call a Python function, once per row, also with NULL.

        Args:
            name: What queries call it.
            function: Takes one plain value per argument; a struct is a dictionary.
            takes: SQL types of the arguments.
            gives: SQL type of the result.
            volatile: Whether it may answer the same question differently.
        """
        assert self._is_alone, f"`{name}` would be seen by everybody. Expected `Engine(settings, alone=True)`."
        arguments = [Parameter(f"argument_{place}", Parameter.POSITIONAL_ONLY) for place in range(len(takes))]
        vars(function)["__signature__"] = Signature(arguments)  # it counts them, and knows no `*arguments`
        create: Any = self._connection.create_function  # its stubs know no types by SQL name
        create(name, function, list(takes), gives, null_handling="special", side_effects=volatile)

    def _read_objects(self, store: Store) -> None:
        from perennial.data.object_files import ObjectFiles

        self._objects = ObjectFiles(store)
        self._connection.register_filesystem(self._objects)

    def _select(self, sql: str, parameters: Sequence[Any]) -> duckdb.DuckDBPyRelation:
        return self._connection.sql(sql, params=list(parameters))

    def _streamed(self, reader: pa.RecordBatchReader, name: str) -> pa.RecordBatchReader:
        def rest() -> Iterator[pa.RecordBatch]:
            with self._naming(name):
                yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, rest())

    @contextmanager
    def _naming(self, query: str) -> Iterator[None]:
        """An object store that was away or refused is named as such: DuckDB only keeps the text of it."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if self._objects and (trouble := self._objects.take_trouble()):
                raise trouble from None
            if not isinstance(error, duckdb.Error):
                raise
            failed = QueryHindered if isinstance(error, duckdb.OperationalError) else QueryFailed
            raise failed(f"`{query}` failed: {error}") from error


@cache
def _started(memory_limit: str, threads: int) -> duckdb.DuckDBPyConnection:
    started = duckdb.connect()
    spill = Path(gettempdir()) / f"perennial-spill-{os.getpid()}"
    started.execute(f"SET memory_limit = '{memory_limit}'")
    started.execute(f"SET temp_directory = '{spill}'")
    if threads:
        started.execute(f"SET threads = {threads}")
    return started


def parquet(files: Sequence[str]) -> str:
    """Write Parquet files, at least one, as what may follow FROM; `key=value` folders become text columns."""
    listed = ", ".join(quote_text(file) for file in files)
    return f"read_parquet([{listed}], hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"


def quote_time(at: datetime) -> str:
    """Write a time, which must know its zone, as a SQL timestamp."""
    return f"TIMESTAMPTZ '{at.astimezone(UTC).isoformat()}'"


def quote(name: str) -> str:
    """Write a name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Write a text as a SQL string."""
    return "'" + text.replace("'", "''") + "'"

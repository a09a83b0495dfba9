"""Open one delivery of a source, wherever it lies, as a stream of rows; the only module that imports SQLAlchemy.

It changes no value and judges none. What a CSV file or a database holds arrives as text, because only the
contract knows what was meant; Parquet files and Python adapters keep the types they have.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encode

import pyarrow as pa

from perennial.data.adapter import call_adapter
from perennial.data.engine import QueryFailed
from perennial.data.source_files import find_files, read_csv, read_parquet, within
from perennial.errors import PerennialError, Permanent, Transient, nearest
from perennial.periods import Period
from perennial.source_spec import CsvRead, ParquetRead, PythonRead, Source, SqlRead
from perennial.workspace import Workspace

if TYPE_CHECKING:
    import sqlalchemy

_SQL_ROWS = 10_000
_SPEAK_UTC = {
    "postgresql": "SET TIME ZONE 'UTC'",
    "mysql": "SET time_zone = '+00:00'",
    "mariadb": "SET time_zone = '+00:00'",
    "oracle": "ALTER SESSION SET TIME_ZONE = '+00:00'",
}
"""By database that compares times without a zone in the zone of its session, which its server or account may set."""


class UnknownSource(Permanent):
    """The use case declares no source of that name."""


class UnreadableSource(Permanent):
    """What the source holds, or how it is declared, cannot be read."""


class SourceAway(Transient):
    """The source did not answer; it may later."""


def read_delivery(ws: Workspace, source_name: str, period: Period | None) -> pa.RecordBatchReader:
    """Open the rows of one period of a source, or all rows of a reference source.

    Files whose path does not name the period, and queries that use neither `:start` nor `:end`, are filtered by
    event time; rows whose event time is missing or cannot be read belong to every period, so that they are seen.
    Otherwise the delivery is what the source says, with rows of earlier periods if they came late; those of the entity
    count in the period in which they happened, from the moment the delivery was accepted.

    Args:
        ws: Whose source.
        source_name: A key of `sources`.
        period: Ignored for a reference source, and needed for any other.

    Returns:
        A stream that must be read to its end or dropped.

    Raises:
        UnknownSource: No source has that name.
        UnreadableSource: A file is truncated or damaged, a query or an adapter failed; also while reading.
        UnreadableFile, BadAdapter: There is no such file or function.
        SourceAway: A database or the network did not answer; also while reading.
    """
    source = declared_source(ws, source_name)
    if source.is_reference:
        period = None
    elif period is None:
        raise UnreadableSource(f"`{source_name}` has an event time, so it is read period by period: name one.")
    folder = TemporaryDirectory(prefix="perennial-")
    try:
        with _naming(source_name):
            rows = _open(ws, source, period, Path(folder.name))
    except BaseException:
        folder.cleanup()
        raise
    return pa.RecordBatchReader.from_batches(rows.schema, _named(source_name, rows, folder))


def declared_source(ws: Workspace, name: str) -> Source:
    """Return the declaration of a source.

    Raises:
        UnknownSource: No source has that name.
    """
    known = ws.use_case.sources
    if name not in known:
        raise UnknownSource(f"`{name}` is no source of `{ws.use_case.slug}`{nearest(name, known)}")
    return known[name]


def gives_text(source: Source) -> bool:
    """Say whether a source gives every value as text, whatever was meant."""
    return isinstance(source.read, CsvRead | SqlRead)


def _open(ws: Workspace, source: Source, period: Period | None, folder: Path) -> pa.RecordBatchReader:
    match source.read:
        case PythonRead(python=address):
            return call_adapter(Path(ws.settings.use_cases), address, period)
        case CsvRead(csv=address) as read:
            rows = read_csv(ws.settings, read, _files(ws, address, period, folder))
            return rows if "{period}" in address else within(rows, source.event_time, period)
        case ParquetRead(parquet=address):
            window = None if "{period}" in address else period
            return read_parquet(ws.settings, _files(ws, address, period, folder), source.event_time, window)
        case SqlRead() as read:
            rows = _read_sql(read, period)
            return rows if _bounds_in(read.query) else within(rows, source.event_time, period)


def _files(ws: Workspace, address: str, period: Period | None, folder: Path) -> list[str]:
    if "{period}" in address and period is None:
        raise UnreadableSource(f"`{address}` names a period, but a source without `event_time` has none.")
    return find_files(ws.settings, address.replace("{period}", str(period)), folder)


def _named(source: str, rows: pa.RecordBatchReader, folder: TemporaryDirectory[str]) -> Iterator[pa.RecordBatch]:
    with folder, _naming(source):
        yield from rows


@contextmanager
def _naming(source: str) -> Iterator[None]:
    try:
        yield
    except QueryFailed as error:
        raise UnreadableSource(f"`{source}` cannot be read. {_first_lines(error)}") from error
    except PerennialError:
        raise
    except (ConnectionError, TimeoutError) as error:
        raise SourceAway(f"`{source}` did not answer ({type(error).__name__}: {error}).") from error
    except Exception as error:
        raise UnreadableSource(f"`{source}` cannot be read. {type(error).__name__}: {_first_lines(error)}") from error


def _first_lines(error: Exception) -> str:
    lines = str(error).partition("Possible fixes")[0].partition("Possible Solution")[0].splitlines()
    return ". ".join(line.strip().rstrip(".") for line in lines if line.strip()) + "."


def _read_sql(read: SqlRead, period: Period | None) -> pa.RecordBatchReader:
    rows = _sql_rows(read, period)
    schema = pa.schema([pa.field(name, pa.string()) for name in next(rows)])

    def batches() -> Iterator[pa.RecordBatch]:
        for some in rows:
            columns = [pa.array(map(_text, column), pa.string()) for column in zip(*some, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _sql_rows(read: SqlRead, period: Period | None) -> Iterator[Any]:
    """Yield the names of the columns, then lists of rows."""
    import sqlalchemy

    url = _sql_url(read.sql)
    bounds = {} if period is None else {name: _bound(url, getattr(period, name)) for name in _bounds_in(read.query)}
    with _without_password(url):
        database = sqlalchemy.create_engine(url)
        try:
            with database.connect() as connection:
                if setting := _SPEAK_UTC.get(url.get_backend_name()):
                    connection.exec_driver_sql(setting)
                query = sqlalchemy.text(read.query).execution_options(yield_per=_SQL_ROWS)
                result = connection.execute(query, bounds)
                yield list(result.keys())
                yield from result.partitions()
        finally:
            database.dispose()


def _sql_url(address: str) -> "sqlalchemy.URL":
    import sqlalchemy

    missing = [name for name in re.findall(r"\$\{(\w+)\}", address) if name not in os.environ]
    if missing:
        raise UnreadableSource(f"The environment has no `{missing[0]}`, which `{address}` names. Set it and run again.")
    whole = re.fullmatch(r"\$\{(\w+)\}", address)
    filled = re.sub(r"\$\{(\w+)\}", lambda found: percent_encode(os.environ[found[1]], safe=""), address)
    try:
        return sqlalchemy.make_url(os.environ[whole[1]] if whole else filled)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        form = "driver://user:password@host/database"
        raise UnreadableSource(f"`{address}` gives no database URL; expected the form `{form}`.") from None


def _bounds_in(query: str) -> set[str]:
    return set(re.findall(r"(?<![:\w\\]):(start|end)\b", query))


def _bound(url: "sqlalchemy.URL", moment: datetime) -> datetime | str:
    # SQLite compares times as text, where `2013-02-01 00:00:00` comes before the same with a fraction or a zone.
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if url.get_backend_name() == "sqlite" else moment


@contextmanager
def _without_password(url: "sqlalchemy.URL") -> Iterator[None]:
    import sqlalchemy

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError, ValueError) as error:
        text = f"{type(error).__name__}: {error}"
        for secret in {str(url.password or ""), percent_encode(str(url.password or ""), safe="")} - {""}:
            text = text.replace(secret, "***")
        away = isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.TimeoutError | OSError)
        if away and (url.get_backend_name() != "sqlite" or "locked" in text):
            raise SourceAway(f"`{url.render_as_string()}` did not answer ({text}).") from None
        raise UnreadableSource(f"`{url.render_as_string()}` cannot be queried: {text}.") from None


def _text(value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value:f}"
        case bytes() | memoryview():
            return bytes(value).hex()
        case datetime():
            return value.isoformat(" ")
        case _:
            return str(value)

"""Read CSV and Parquet files, by path, glob or object store URL, through the engine; it casts nothing.

A CSV file gives text and is read strictly: a row with too few or too many fields, a quote that never closes and an
archive that ends early are errors, because what was cut off cannot be told from what was never there. So is a page
of a Parquet file that is not as its checksum says; where a writer left none, a changed value shows nowhere.
"""

import csv
import glob
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from perennial.data.casting import cast
from perennial.data.engine import Engine, quote, quote_text, quote_time
from perennial.errors import Permanent
from perennial.periods import Window
from perennial.settings import Settings
from perennial.source_spec import CsvRead
from perennial.store import MissingObject, Store

_WHOLE_LINES = "delim = '\x1f', quote = '', escape = '', header = false, columns = {'line': 'VARCHAR'}"


class UnreadableFile(Permanent):
    """No file matches, one is empty or damaged, or files of one delivery do not fit together."""


def find_files(settings: Settings, address: str, folder: Path) -> list[str]:
    """Return local paths of the files that match a path, glob or URL, sorted by name.

    A relative path starts at the folder `use_cases/`, or at the folder that holds it. Objects of a store are copied
    first, so that they are read as files are; in a URL `*` stops at `/`.

    Args:
        settings: Where the use cases are.
        address: What a source declares, with its period filled in.
        folder: For the copies.

    Raises:
        UnreadableFile: There is none.
        StoreAway: The object store did not answer.
    """
    if "://" in address:
        return _copies(settings, address, folder)
    root = Path(settings.use_cases).resolve()
    patterns = [str(root / address), str(root.parent / address)]
    with Engine(settings) as engine:
        for pattern in patterns:
            found = engine.table(f"SELECT file FROM glob({quote_text(pattern)}) ORDER BY file", name=pattern)
            if found.num_rows:
                return list(found["file"].to_pylist())
    raise _no_file(patterns[0])


def read_csv(settings: Settings, read: CsvRead, files: Sequence[str]) -> pa.RecordBatchReader:
    """Return all rows of CSV files, every column as text.

    Raises:
        UnreadableFile: A file is empty, or the files have different columns.
    """
    engine = Engine(settings)
    header = _common_header(engine, files, read.delimiter)
    columns = ", ".join(f"'c{number}': 'VARCHAR'" for number in range(len(header)))
    nulls = ", ".join(quote_text(text) for text in read.null_values)
    dialect = f"delim = {quote_text(read.delimiter)}, quote = '\"', escape = '\"', header = true"
    sql = f"SELECT * FROM {_csv(files, f'{dialect}, nullstr = [{nulls}], columns = {{{columns}}}')}"
    return _stream(engine, sql, pa.schema([pa.field(name, pa.string()) for name in header]))


def read_parquet(
    settings: Settings, files: Sequence[str], column: str | None, window: Window | None
) -> pa.RecordBatchReader:
    """Return the rows of Parquet files, those of a window if one is given, with the types that they have.

    Args:
        settings: How much memory and how many threads.
        files: At least one; their columns must be the same.
        column: Event time, by which rows are chosen if it is a time; rows without it belong to every window.
        window: `None` for all rows.

    Raises:
        UnreadableFile: A page of a file is not as its checksum says.
    """
    engine = Engine(settings)
    sql = f"SELECT * FROM read_parquet([{', '.join(map(quote_text, files))}])"
    schema = engine.schema(sql)
    for file in files:
        _require_intact_pages(file)
    if window is not None and column is not None and column in schema.names and _is_time(schema.field(column).type):
        time, start, end = quote(column), quote_time(window.start), quote_time(window.end)
        sql += f" WHERE {time} IS NULL OR ({time} >= {start} AND {time} < {end})"
    return _stream(engine, sql, schema)


def within(rows: pa.RecordBatchReader, column: str | None, window: Window | None) -> pa.RecordBatchReader:
    """Return the rows of text columns whose event time lies in a window, or is missing or cannot be read."""
    if window is None or column is None or rows.schema.names.count(column) != 1:
        return rows

    def kept() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            times = cast(pl.Series(batch.column(column)), "timestamp")
            inside = ((times >= window.start) & (times < window.end)).fill_null(True)
            yield batch.filter(inside.to_arrow())

    return pa.RecordBatchReader.from_batches(rows.schema, kept())


def _copies(settings: Settings, address: str, folder: Path) -> list[str]:
    plain = re.split(r"[*?\[]", address)[0].rpartition("/")[0]
    store, pattern = Store(plain, settings.storage_endpoint), address[len(plain) + 1 :]
    is_glob = glob.has_magic(pattern)
    names = [name for name in store.list("") if _matches(name, pattern)] if is_glob else [pattern]
    copies = [folder / f"{number:06d}-{PurePosixPath(name).name}" for number, name in enumerate(names)]
    try:
        for name, copy in zip(names, copies, strict=True):
            store.download(name, copy)
    except MissingObject:
        raise _no_file(address) from None
    if not copies:
        raise _no_file(address)
    return [str(copy) for copy in copies]


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _no_file(pattern: str) -> UnreadableFile:
    return UnreadableFile(f"No file matches `{pattern}`. Put the delivery there, or correct the path.")


def _common_header(engine: Engine, files: Sequence[str], delimiter: str) -> list[str]:
    headers = [_header(engine, file, delimiter) for file in files]
    for file, header in zip(files, headers, strict=True):
        if header != headers[0]:
            raise UnreadableFile(
                f"`{file}` has the columns {header}, but `{files[0]}` has {headers[0]}. Files of one delivery need the "
                "same columns in the same order; correct the file, or let the path match only files that fit together."
            )
    return headers[0]


def _header(engine: Engine, file: str, delimiter: str) -> list[str]:
    line = engine.scalar(f"SELECT line FROM {_csv([file], _WHOLE_LINES)} LIMIT 1", name=file)
    if line is None:
        raise UnreadableFile(f"`{file}` is empty; expected at least a line with the names of its columns.")
    return next(csv.reader([line], delimiter=delimiter))


def _require_intact_pages(file: str) -> None:
    try:  # the engine heeds no checksums
        with pq.ParquetFile(file, page_checksum_verification=True) as pages:
            for _ in pages.iter_batches():
                pass
    except (OSError, pa.ArrowInvalid) as error:
        raise UnreadableFile(
            f"`{file}` is damaged, so nothing of it was read: {error}. Copy it again from where it was written."
        ) from error


def _csv(files: Sequence[str], options: str) -> str:
    listed = ", ".join(map(quote_text, files))
    return f"read_csv([{listed}], auto_detect = false, strict_mode = true, null_padding = false, {options})"


def _stream(engine: Engine, sql: str, schema: pa.Schema) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        with engine:
            for batch in engine.batches(sql, name="read files"):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))

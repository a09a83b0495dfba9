"""Keep what a source gave as one immutable Parquet file whose digest names it; it judges nothing.

The same rows in the same order give the same bytes, however the source cut them into batches.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from perennial.data.parquet_file import write_parquet
from perennial.data.sources import UnreadableSource, declared_source, read_delivery
from perennial.digests import digest_file
from perennial.errors import Permanent
from perennial.journal import after_newest
from perennial.periods import Period
from perennial.records import Entry, Received
from perennial.state import fold
from perennial.storage_trouble import naming_full_storage
from perennial.workspace import Workspace

WHOLE = "whole"
"""Period of a delivery of a reference source."""


class DamagedDelivery(Permanent):
    """A landed file does not have the bytes that the journal names."""


def receive(ws: Workspace, source: str, period: Period | None, as_of: datetime) -> Received:
    """Land the rows of one period of a source, in memory bounded by one chunk of rows.

    The content of the newest revision again changes nothing and returns its record; any other content, an older
    one included, is the next revision. Zero rows are a delivery too; the contract judges their number.

    Args:
        ws: Where to.
        source: A key of `sources`.
        period: What to ask the source for; ignored for a reference source, whose period is `whole`.
        as_of: The moment of receipt, UTC; a correction counts from after the newest moment of the journal, if that is
            later, so that no computation of the past changes.

    Raises:
        UnreadableSource, UnreadableFile, BadAdapter: Nothing was landed; the source or its declaration must change.
        SourceAway: Nothing was landed; try again.
        StorageFull: Nothing is visible.
    """
    label = WHOLE if period is None or declared_source(ws, source).is_reference else period.label
    with TemporaryDirectory(prefix="perennial-") as folder:
        file = Path(folder) / "delivery.parquet"
        rows = _write(read_delivery(ws, source, period), file, source)
        digest = digest_file(file)
        path = f"landing/{ws.use_case.slug}/{source}/{label}/{digest}.parquet"
        ws.store.upload(path, file)  # before the record, and again if it was there: a damaged file heals

    def newest(entries: Sequence[Entry]) -> Received | None:
        return newest_received(fold(entries).received, source, label)

    def known(entries: Sequence[Entry]) -> Received | None:
        before = newest(entries)
        return before if before is not None and before.digest == digest else None

    def as_revision(entries: Sequence[Entry]) -> Received:
        before = newest(entries)
        revision = 1 if before is None else before.revision + 1
        return Received(source=source, period=label, revision=revision, digest=digest, rows=rows, path=path)

    def moment(entries: Sequence[Entry]) -> datetime:
        return as_of if newest(entries) is None else after_newest(entries, as_of)

    return ws.journal.find_or_append(known, as_revision, moment)


def newest_received(received: Sequence[Received], source: str, period: str) -> Received | None:
    """Return the newest revision of a delivery, `None` before the first."""
    found = [one for one in received if one.source == source and one.period == period]
    return max(found, key=lambda one: one.revision, default=None)


def fetch(ws: Workspace, received: Received, folder: Path) -> Path:
    """Copy a landed file to a folder and return the copy, which has the bytes that were received.

    Raises:
        DamagedDelivery: It has others. They were not parsed.
        MissingObject: The file is gone.
    """
    copy = folder / "landed.parquet"
    ws.store.download(received.path, copy)
    found = digest_file(copy)
    if found != received.digest:
        raise DamagedDelivery(
            f"`{ws.store.uri(received.path)}` has the digest `{found[:12]}`, expected `{received.digest[:12]}`: its "
            f"bytes changed after they were received. Nothing was read; ingest `{received.source}` for "
            f"`{received.period}` again, which writes the file anew if the source still gives the same rows."
        )
    return copy


def open_landed(file: Path) -> pq.ParquetFile:
    """Open a landed file, whose row groups are the chunks that it was written in."""
    return pq.ParquetFile(file, page_checksum_verification=True)


def _write(rows: pa.RecordBatchReader, file: Path, source: str) -> int:
    schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in rows.schema])
    with naming_full_storage(str(file)):
        try:
            return write_parquet(rows, file, schema)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise UnreadableSource(f"`{source}` gives what Parquet cannot hold: {error}") from error


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind

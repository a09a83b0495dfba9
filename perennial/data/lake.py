"""Versioned tables of one use case (Delta Lake); the only module that imports deltalake.

A table is partitioned by one column, and a partition is written once: readers name the partitions
that the journal names, so an append that was never recorded is never seen, and repeating it adds nothing.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote as percent_encode

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction

from perennial.data.parquet_file import write_parquet
from perennial.digests import digest_file
from perennial.errors import Permanent, Transient
from perennial.storage_trouble import naming_full_storage, naming_store_trouble
from perennial.workspace import Workspace

_DIGITS = 16
"""Of its digest in the name of a file."""
_KNOWN = 200_000
"""Files whose digest a process remembers: more than it reads at one go, or it would forget each before the next time.
A comparison of a trial reads up to 40,000 (`paired_losses.MOST_BATCHES` of two tables)."""


class MissingPartition(Permanent):
    """The journal names a partition that the lake does not have."""


class DamagedPartition(Permanent):
    """A file of the lake does not have the bytes that were written."""


class RetypedColumn(Permanent):
    """New rows give a column of a table another type than its rows have."""


class LakeBusy(Transient):
    """Another writer committed at the same moment."""


def append(
    workspace: Workspace, table: str, rows: pa.Table | pa.RecordBatchReader, partition_by: str, partition: str
) -> int:
    """Add one partition in one commit, or nothing if the table has it already.

    Its rows lie in one file, in the order in which they came (Delta's own writer would shuffle them), so the same
    rows give the same bytes. The commit carries the partition's name as a Delta transaction, so of two writers of
    the same partition one is refused. A partition without rows has a file without rows.

    Args:
        workspace: Whose lake.
        table: Name of the table, created by its first append.
        rows: Rows without the partition column.
        partition_by: Name of the partition column.
        partition: Its value for all of these rows.

    Returns:
        A Delta version of the table that has the partition.

    Raises:
        RetypedColumn: The table has a column of the same name and another type.
        LakeBusy: Another writer committed at the same moment, perhaps the same partition.
        StorageFull: There is no space left; nothing of the partition is visible.
    """
    reader = rows.to_reader() if isinstance(rows, pa.Table) else rows
    schema = Schema.from_arrow(reader.schema.append(pa.field(partition_by, pa.string())))
    address = workspace.table(table)
    with naming_full_storage(address), naming_store_trouble(address), _naming_rivals(address):
        before = _open(workspace, table)
        held = before or _create(workspace, table, schema, partition_by)
        first = before.version() + 1 if before else 0
        _add_columns(held, schema)
        if held.transaction_version(partition) is None:  # asked of the snapshot that is committed to
            with TemporaryDirectory(prefix="perennial-") as folder:
                added = _store(workspace, table, reader, schema, partition_by, partition, Path(folder))
            _commit(held, added, partition_by, partition)
            held.update_incremental()
        else:
            first = 0  # whoever wrote it may have died before it was durable
        _settle(workspace, table, range(first, held.version() + 1))
        return int(held.version())


def files(workspace: Workspace, table: str, partition_by: str, partitions: Sequence[str]) -> list[str]:
    """Return the addresses of the Parquet files of some partitions, in the order of the partitions.

    A file in a folder is read once per process to see that it still has the bytes that its name is the digest of:
    the engine would read a flipped bit as another value. An object store answers for its own bytes.

    Raises:
        MissingPartition: The table or one of the partitions does not exist.
        DamagedPartition: The bytes of a file changed after they were written.
    """
    held = _open(workspace, table)
    listed: dict[str, list[str]] = {}
    for uri in sorted(held.file_uris()) if held is not None else ():
        listed.setdefault(uri.split("/")[-2], []).append(uri)
    found: list[str] = []
    for partition in partitions:
        uris = listed.get(_folder(partition_by, partition))
        if uris is None:
            raise MissingPartition(
                f"`{workspace.table(table)}` has no partition `{partition}`, which the journal of "
                f"`{workspace.use_case.slug}` names. Restore the table from a backup."
            )
        found.extend(uris)
    for one in found:
        if "://" not in one:
            _check_bytes(Path(one))
    return found


def version(workspace: Workspace, table: str) -> int | None:
    """Return the newest version of a table, `None` if it does not exist yet."""
    held = _open(workspace, table)
    return held.version() if held is not None else None


def _check_bytes(file: Path) -> None:
    if not file.is_file():
        raise MissingPartition(f"`{file}` is gone, which its table names. Restore it from a backup.")
    about = file.stat()
    if _digest(file, about.st_mtime_ns, about.st_size)[:_DIGITS] != file.stem:
        raise DamagedPartition(
            f"`{file}` does not have the bytes that were written: its digest is no longer its name. Nothing was read. "
            "Restore the file from a backup."
        )


def _folder(partition_by: str, partition: str) -> str:
    return f"{partition_by}={percent_encode(partition, safe='')}"


@lru_cache(maxsize=_KNOWN)
def _digest(file: Path, modified: int, size: int) -> str:
    return digest_file(file)


def _open(workspace: Workspace, table: str) -> DeltaTable | None:
    try:
        with naming_store_trouble(workspace.table(table)):
            return DeltaTable(workspace.table(table), storage_options=workspace.store.table_options())
    except TableNotFoundError:
        return None


def _create(workspace: Workspace, table: str, schema: Schema, partition_by: str) -> DeltaTable:
    return DeltaTable.create(
        workspace.table(table),
        schema,
        mode="ignore",
        partition_by=[partition_by],
        storage_options=workspace.store.table_options(),
    )


def _add_columns(held: DeltaTable, schema: Schema) -> None:
    types = {field.name: field.type for field in held.schema().fields}
    for field in schema.fields:
        if types.get(field.name, field.type) != field.type:
            raise RetypedColumn(
                f"`{held.table_uri}` holds `{field.name}` as {types[field.name].type}, and the new rows as "
                f"{field.type.type}. Nothing was written; give the column its old type, or another name."
            )
    new = [field for field in schema.fields if field.name not in types]
    if new:
        held.alter.add_columns(new)


def _store(
    workspace: Workspace,
    table: str,
    rows: pa.RecordBatchReader,
    schema: Schema,
    partition_by: str,
    partition: str,
    folder: Path,
) -> list[AddAction]:
    stored = pa.schema([field for field in pa.schema(schema.to_arrow()) if field.name != partition_by])
    file = folder / "rows.parquet"
    count = write_parquet(rows, file, stored)
    path = f"{_folder(partition_by, partition)}/{digest_file(file)[:_DIGITS]}.parquet"
    workspace.store.upload(f"{workspace.table_folder(table)}/{path}", file)
    about = file.stat()
    statistics = json.dumps({"numRecords": count})
    return [AddAction(path, about.st_size, {partition_by: partition}, int(about.st_mtime * 1000), True, statistics)]


def _commit(held: DeltaTable, added: list[AddAction], partition_by: str, partition: str) -> None:
    properties = CommitProperties(
        custom_metadata={partition_by: partition}, app_transactions=[Transaction(partition, 1)]
    )
    held.create_write_transaction([*added], "append", held.schema(), [partition_by], commit_properties=properties)


def _settle(workspace: Workspace, table: str, versions: range) -> None:
    """Make commits durable, which Delta does not, and the checkpoints that it may have made of them."""
    names = [f"{version:020d}.{kind}" for version in versions for kind in ("json", "checkpoint.parquet")]
    workspace.store.settle(f"{workspace.table_folder(table)}/_delta_log", [*names, "_last_checkpoint"])


@contextmanager
def _naming_rivals(address: str) -> Iterator[None]:
    try:
        yield
    except CommitFailedError as error:
        raise LakeBusy(
            f"Another writer committed to `{address}` at the same moment ({error}). Nothing was written; try again."
        ) from error

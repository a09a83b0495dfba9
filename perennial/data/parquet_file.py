"""Write rows to one Parquet file in bounded memory, so that the same rows in the same order give the same bytes."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CHUNK_ROWS = 250_000
"""Rows of a row group, so of all that is in memory at once."""


def write_parquet(rows: pa.RecordBatchReader, file: Path, schema: pa.Schema) -> int:
    """Write a stream of rows and return how many there were.

    How the rows were cut into batches leaves no trace. Each page has a checksum.

    Args:
        rows: Columns of the schema by name and place.
        file: Created or replaced.
        schema: Types to write, to which those of the rows are cast.

    Raises:
        pyarrow.ArrowInvalid: A value does not fit its type.
    """
    written = 0
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for chunk in _chunks(rows):
            writer.write_table(chunk.cast(schema).combine_chunks(), row_group_size=CHUNK_ROWS)
            written += chunk.num_rows
    return written


def _chunks(rows: pa.RecordBatchReader) -> Iterator[pa.Table]:
    waiting, count = [], 0
    for batch in rows:
        waiting.append(batch)
        count += batch.num_rows
        while count >= CHUNK_ROWS:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, CHUNK_ROWS)
            waiting, count = table.slice(CHUNK_ROWS).to_batches(), count - CHUNK_ROWS
    if count:
        yield pa.Table.from_batches(waiting)

"""What is wrong with the rows of one landed delivery, found chunk by chunk and kept as tables of an engine.

It says which rows are good and why the others are not; whether that is bearable is decided in `acceptance`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from perennial.data.casting import ARROW
from perennial.data.contract import EXAMPLES, REASON, ROW, RowContract
from perennial.data.engine import Engine, parquet, quote, quote_time
from perennial.data.landing import open_landed
from perennial.periods import Period
from perennial.source_spec import Source

DUPLICATE_KEY = "duplicate key"
_ROW, _REASON = quote(ROW), quote(REASON)
_GOOD = f"(SELECT * FROM typed ANTI JOIN complaints USING ({_ROW}))"
_TIMES = ("event_time", "known_at")
_COMPLAINTS = pa.schema([(ROW, pa.int64()), (REASON, pa.string())])
_QUARANTINE = pa.schema(
    [
        ("source", pa.string()),
        ("row_number", pa.int64()),
        ("key", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
        ("reasons", pa.list_(pa.string())),
        ("row", pa.string()),
    ]
)


@dataclass(frozen=True)
class Findings:
    """The numbers behind the judgement of a delivery."""

    rows: int
    good: int
    reasons: dict[str, int]
    """Bad rows per reason, most frequent first; a row can have several."""
    examples: dict[str, list[str]]
    """A few offending values as they came, by reason."""
    newest: datetime | None
    """Event time of the newest good row."""
    oldest: datetime | None
    """Event time of the oldest good row."""
    late: int
    """Good rows that happened before the period."""
    shared_with: tuple[str, ...]
    """Partitions of other deliveries that already have keys of this one."""


class Inspection:
    """The rows of one delivery under the contract of its source.

    The engine gets a view `typed`, with every row as far as it can be read, and a table `complaints`.
    """

    def __init__(self, engine: Engine, source: Source, landed: Path, period: Period | None, folder: Path) -> None:
        """Judge every row by itself, in memory bounded by one chunk.

        Args:
            engine: Not used for anything else.
            source: What is declared.
            landed: A file whose columns are as declared.
            period: Of the delivery; `None` for a reference source.
            folder: Where to keep what is found, about as large as the delivery.
        """
        self._engine = engine
        self._source = source
        self._landed = landed
        self._key = ", ".join(quote(name) for name in source.key)
        self._start = quote_time(period.start) if period else "NULL"
        self._examples = self._judge_rows(period.end if period else None, folder)

    def findings(self, others: Mapping[str, str], files: Sequence[str]) -> Findings:
        """Compare the keys and count.

        Of several rows with one key the first that is good by itself stays good. A key that another delivery of the
        source has already is taken.

        Args:
            others: Period by partition of the other deliveries.
            files: Parquet files of these partitions.
        """
        shared = self.taken_by(files)
        self._complain_about_keys(others)
        reasons = self._engine.table(
            f"SELECT {_REASON}, count(*) AS n FROM complaints GROUP BY ALL ORDER BY n DESC, {_REASON}", name="reasons"
        )
        counts = self._engine.table(
            "SELECT (SELECT count(*) FROM typed) AS n, count(*) AS good, max(event_time) AS newest, "
            f"min(event_time) AS oldest, count(*) FILTER (event_time < {self._start}) AS late FROM {_GOOD}",
            name="good rows",
        )
        rows, good, newest, oldest, late = (column[0].as_py() for column in counts.columns)
        by_reason = dict(zip(*(column.to_pylist() for column in reasons.columns), strict=True))
        return Findings(rows, good, by_reason, self._examples, newest, oldest, late, shared)

    def taken_by(self, files: Sequence[str]) -> tuple[str, ...]:
        """Return the partitions among some files of other deliveries that have a key of this one, sorted."""
        known = self._engine.schema(f"SELECT * FROM {parquet(files)}").names if files else []
        shared = f"FROM typed JOIN {parquet(files)} USING ({self._key})" if set(self._source.key) <= set(known) else ""
        rows = shared or f"FROM (SELECT {_ROW}, '' AS delivery FROM typed LIMIT 0)"
        self._engine.keep("taken", f"SELECT {_ROW}, min(delivery) AS delivery {rows} GROUP BY ALL", "keys taken")
        return tuple(self._engine.table("SELECT DISTINCT delivery FROM taken ORDER BY 1")["delivery"].to_pylist())

    def good_rows(self) -> pa.RecordBatchReader:
        """Return the good rows as they go into the lake, sorted by key."""
        columns = [*(name for name in self._source.columns if name not in _TIMES), *_TIMES]
        selected = f"SELECT {', '.join(map(quote, columns))} FROM {_GOOD} ORDER BY {self._key}"
        return self._engine.batches(selected, name="good rows")

    def bad_rows(self, name: str) -> pa.RecordBatchReader:
        """Return the bad rows of a source of that name as they go into quarantine, in the order in which they came."""
        return pa.RecordBatchReader.from_batches(_QUARANTINE, self._bad_batches(name))

    def _judge_rows(self, end: datetime | None, folder: Path) -> dict[str, list[str]]:
        contract = RowContract(self._source, end)
        typed, complaints = folder / "typed.parquet", folder / "complaints.parquet"
        schema = pa.schema([(name, ARROW[column.type]) for name, column in self._source.columns.items()])
        for name in ("event_time", "known_at"):
            schema = schema if name in schema.names else schema.append(pa.field(name, ARROW["timestamp"]))
        schema = schema.insert(0, pa.field(ROW, pa.int64()))
        examples: dict[str, list[str]] = {}
        with pq.ParquetWriter(typed, schema) as rows, pq.ParquetWriter(complaints, _COMPLAINTS) as reasons:
            for first, chunk in self._chunks():
                judged = contract.judge(chunk, first)
                rows.write_table(judged.typed.to_arrow().select(schema.names).cast(schema))
                reasons.write_table(judged.complaints.to_arrow().cast(_COMPLAINTS))
                for reason, values in judged.examples.items():
                    examples[reason] = list(dict.fromkeys([*examples.get(reason, []), *values]))[:EXAMPLES]
        self._engine.view("typed", f"SELECT * FROM {parquet([str(typed)])}")
        self._engine.keep("complaints", f"SELECT * FROM {parquet([str(complaints)])}")
        return examples

    def _chunks(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the declared columns group by group, with the number of the first row, from 1."""
        landed = open_landed(self._landed)
        first = 1
        for group in range(landed.num_row_groups):
            rows = pl.DataFrame(landed.read_row_group(group, columns=list(self._source.columns)))
            yield first, rows
            first += rows.height

    def _complain_about_keys(self, others: Mapping[str, str]) -> None:
        repeated = f"SELECT {self._key} FROM typed GROUP BY ALL HAVING count(*) > 1"
        good = f"{_GOOD} JOIN ({repeated}) USING ({self._key})"
        firsts = f'SELECT {self._key}, min({_ROW}) AS "first row" FROM {good} GROUP BY ALL'
        later = f'SELECT {_ROW}, ? FROM typed JOIN ({firsts}) USING ({self._key}) WHERE {_ROW} > "first row"'
        self._engine.execute(f"INSERT INTO complaints {later}", [DUPLICATE_KEY], name="duplicate keys")
        for partition, period in others.items():
            self._engine.execute(
                f"INSERT INTO complaints SELECT {_ROW}, ? FROM taken WHERE delivery = ?",
                [f"key already in delivery `{period}`", partition],
                name="keys taken",
            )

    def _bad_batches(self, name: str) -> Iterator[pa.RecordBatch]:
        reasons = f"""
            SELECT {_ROW}, list({_REASON} ORDER BY rowid) AS "row reasons" FROM complaints
            WHERE {_ROW} BETWEEN ? AND ? GROUP BY ALL"""
        selected = (
            f'SELECT {_ROW}, event_time, "row reasons" FROM typed JOIN ({reasons}) USING ({_ROW}) ORDER BY {_ROW}'
        )
        for first, chunk in self._chunks():
            bad = self._engine.table(selected, [first, first + chunk.height - 1], name="bad rows")
            came = chunk[(pl.Series(bad[ROW]) - first).cast(pl.UInt32)].select(pl.all().cast(pl.String, strict=False))
            columns = {
                "source": pa.array([name] * bad.num_rows, pa.string()),
                "row_number": bad[ROW],
                "key": _as_json(came.select(self._source.key)),
                "event_time": bad["event_time"],
                "reasons": bad["row reasons"],
                "row": _as_json(came),
            }
            yield from pa.table(columns).cast(_QUARANTINE).to_batches()


def _as_json(rows: pl.DataFrame) -> pa.Array:
    return pa.array([json.dumps(row, ensure_ascii=False) for row in rows.iter_rows(named=True)], pa.string())

"""A source of parcels beside those of `tests.builders`, for tests of one delivery; it asserts nothing."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather

from perennial.data import lake
from perennial.data.acceptance import accept
from perennial.data.engine import Engine, parquet
from perennial.data.landing import receive
from perennial.periods import Period
from perennial.records import Accepted
from perennial.source_spec import Source
from perennial.workspace import Workspace
from tests.builders import make_use_case

JANUARY, FEBRUARY = Period.parse("2024-01"), Period.parse("2024-02")
COLUMNS: dict[str, Any] = {
    "id": {"type": "string"},
    "sent_at": {"type": "timestamp"},
    "weight": {"type": "number", "min": 0, "max": 100},
    "pieces": {"type": "integer", "nullable": True},
    "kind": {"type": "string", "values": ["box", "bag"]},
    "fragile": {"type": "boolean", "nullable": True},
}
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("sent_at", pa.timestamp("us", "UTC")),
        ("weight", pa.float64()),
        ("pieces", pa.int64()),
        ("kind", pa.string()),
        ("fragile", pa.bool_()),
    ]
)


def open_parcels(folder: Path, read: dict[str, Any] | None = None, **declared: Any) -> Workspace:
    """Open a use case that also has the source `parcels`: by default an adapter that returns what was given last."""
    ws = make_use_case(folder, months=())
    given = str(folder / "given.arrow")
    (ws.use_case.folder / "parcels.py").write_text(
        f"import pyarrow.feather\n\n\ndef read(window):\n    return pyarrow.feather.read_table({given!r})\n"
    )
    return declare(ws, read=read or {"python": "shop-returns/parcels.py:read"}, **declared)


def declare(ws: Workspace, **changes: Any) -> Workspace:
    """Return the same workspace with another declaration of `parcels`."""
    before = ws.use_case.sources.get("parcels")
    start = before.model_dump() if before else {"key": ["id"], "event_time": "sent_at", "columns": COLUMNS}
    sources = {**ws.use_case.sources, "parcels": Source.model_validate({**start, **changes})}
    return Workspace(ws.use_case.model_copy(update={"sources": sources}), ws.settings)


def good_rows(count: int, day: int = 1, prefix: str = "p") -> pa.Table:
    """Return parcels that keep the contract, sent on a day of January."""
    numbers = range(count)
    return pa.table(
        {
            "id": [f"{prefix}{number:04d}" for number in numbers],
            "sent_at": [datetime(2024, 1, day, number % 24, tzinfo=UTC) for number in numbers],
            "weight": [number / 10 % 100 for number in numbers],
            "pieces": list(numbers),
            "kind": ["box" if number % 2 else "bag" for number in numbers],
            "fragile": [number % 3 == 0 for number in numbers],
        },
        schema=SCHEMA,
    )


def with_values(rows: pa.Table, column: str, values: dict[int, Any]) -> pa.Table:
    """Return rows with some values of a column replaced."""
    changed = rows[column].to_pylist()
    for row, value in values.items():
        changed[row] = value
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, column, pa.array(changed, rows.schema.field(column).type))


def give(ws: Workspace, rows: pa.Table) -> None:
    """Let the adapter return these rows from now on."""
    pyarrow.feather.write_feather(rows, str(Path(ws.settings.use_cases).parent / "given.arrow"))


def deliver(ws: Workspace, rows: pa.Table | None = None, period: Period = JANUARY) -> Accepted:
    """Receive and accept a delivery of parcels at the end of its period."""
    if rows is not None:
        give(ws, rows)
    return accept(ws, receive(ws, "parcels", period, period.end), period.end)


def stored(ws: Workspace, table: str, partition: str) -> pa.Table:
    """Return the rows of a partition as they are stored."""
    with Engine(ws.settings) as engine:
        return engine.table(f"SELECT * FROM {parquet(lake.files(ws, table, 'delivery', [partition]))}")

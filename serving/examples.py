"""A real row of the entity for the documentation, as a request would write it; never asked for outside of it."""

from datetime import datetime
from typing import Any

from perennial.data.engine import Engine
from perennial.data.views import open_views
from perennial.errors import PerennialError
from perennial.workspace import Workspace
from serving.fields import Field
from serving.request_contract import RequestContract


def example_row(ws: Workspace, contract: RequestContract, as_of: datetime) -> dict[str, Any]:
    """Return the newest row of the entity that the lake knows, or a made-up one where it cannot tell."""
    columns = ", ".join(f'"{name}"' for name in contract.fields)
    newest = f"SELECT {columns} FROM observations ORDER BY event_time DESC LIMIT 1"
    try:
        with Engine(ws.settings) as engine:
            open_views(engine, ws, as_of)
            rows = engine.table(newest, name="example").to_pylist()
    except (PerennialError, OSError):
        rows = []
    row = rows[0] if rows else {name: _made_up(one) for name, one in contract.fields.items()}
    return {name: _written(value) for name, value in row.items()}


def _written(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _made_up(one: Field) -> Any:
    column = one.column
    match column.type:
        case "integer":
            return int(min(max(1, one.low), one.high))
        case "number":
            return float(min(max(1.0, one.low), one.high))
        case "boolean":
            return True
        case "timestamp":
            return "2024-05-01T16:30:00Z"
        case _:
            return column.values[0] if column.values else "text"

"""The log's segments and the rows that they become in `predictions` and `requests`; it moves none of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from perennial.errors import Permanent
from perennial.use_case import UseCase
from perennial.workspace import Workspace

_TIME = pa.timestamp("us", "UTC")
_TYPES = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": _TIME,
}
_ORIGIN = {
    "predicted_at": _TIME,
    "model_version": pa.int64(),
    "release": pa.int64(),
    "score": pa.float64(),
    "features_digest": pa.string(),
    "request_id": pa.string(),
    "arm": pa.string(),
    "rollout": pa.int64(),
}
_SHADOW = {"shadow_score": pa.float64(), "shadow_version": pa.int64()}
_REQUEST = {
    "inputs": pa.string(),
    "features": pa.string(),
    "reference": pa.string(),
    "asked_at": _TIME,
    **_SHADOW,
}


class UnreadSegment(Permanent):
    """A segment does not hold answers of the use case as it is declared."""


def log_folder(ws: Workspace) -> str:
    """Return where the segments of all replicas lie below the storage root."""
    return f"serving/{ws.use_case.slug}/log"


def segment_path(ws: Workspace, replica: str, number: int) -> str:
    """Return where a replica's segment lies."""
    return f"{log_folder(ws)}/{replica}/{number:09d}.arrow"


def segment_of(path: str) -> tuple[str, int]:
    """Return replica and number of what `segment_path` gave."""
    *_, replica, name = path.split("/")
    return replica, int(name.removesuffix(".arrow"))


def aside_folder(ws: Workspace) -> str:
    """Return where segments that cannot be read are kept below the storage root."""
    return f"serving/{ws.use_case.slug}/unread"


def aside_path(ws: Workspace, path: str) -> str:
    """Return where such a segment is kept, given where it lay."""
    return f"{aside_folder(ws)}{path.removeprefix(log_folder(ws))}"


def runs_of(paths: Iterable[str]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the numbers of some segments by replica, as the first and last of each unbroken run."""
    found: dict[str, list[tuple[int, int]]] = {}
    for replica, number in sorted(map(segment_of, paths)):
        runs = found.setdefault(replica, [])
        first = runs.pop()[0] if runs and runs[-1][1] == number - 1 else number
        runs.append((first, number))
    return {replica: tuple(runs) for replica, runs in found.items()}


def write_segment(use_case: UseCase, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Encode answers as an Arrow stream.

    Args:
        use_case: Whose key columns they have.
        rows: Columns of `predictions` and `requests`; `row` is what was asked, `features` what was scored.
    """
    schema, columns = _schema(use_case), _columns(use_case, rows)
    batch = pa.record_batch([pa.array(columns[one.name], one.type) for one in schema], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def read_segment(use_case: UseCase, data: bytes) -> pa.Table:
    """Decode what `write_segment` gave, perhaps with other code, or before the declaration changed.

    What such a segment does not say of an answer is null, and values of another type become those of the present one.

    Raises:
        UnreadSegment: It is no segment, lacks a key or the version, or has a value that the present type cannot hold.
    """
    schema = _schema(use_case)
    try:
        with pa.ipc.open_stream(data) as stream:
            rows = stream.read_all()
        missing = {**_ORIGIN, **_REQUEST}.keys() - {"model_version", *rows.column_names}
        columns = [pa.nulls(len(rows), one.type) if one.name in missing else rows[one.name] for one in schema]
        return pa.table(columns, schema=schema)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise UnreadSegment(f"{type(error).__name__}: {error}") from error


def prediction_part(use_case: UseCase, rows: pa.Table) -> pa.Table:
    """Return the columns of the table `predictions`."""
    return rows.select(["prediction_id", *use_case.key, "event_time", *_ORIGIN])


def request_part(rows: pa.Table) -> pa.Table:
    """Return the columns of the table `requests`."""
    return rows.select(["prediction_id", *_REQUEST])


def _schema(use_case: UseCase) -> pa.Schema:
    columns = use_case.sources[use_case.entity].columns
    key = {one: _TYPES[columns[one].type] for one in use_case.key}
    fields = {"prediction_id": pa.string(), **key, "event_time": _TIME, **_ORIGIN, **_REQUEST}
    return pa.schema(list(fields.items()))


def _columns(use_case: UseCase, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    asked = [one["row"] for one in rows]
    known = {name: [one[name] for one in rows] for name in ("prediction_id", *_ORIGIN, *_SHADOW)}
    return {
        **{name: [one[name] for one in asked] for name in use_case.key},
        **known,
        "event_time": [one[use_case.event_time] for one in asked],
        "inputs": [_json(one) for one in asked],
        "features": [_json(one["features"]) for one in rows],
        "reference": known["features_digest"],
        "asked_at": known["predicted_at"],
    }


def _json(values: Mapping[str, Any]) -> str:
    """JSON has no NaN and no infinity: they become `null`, as they are missing to every model."""
    return orjson.dumps(values).decode()

"""One answer of the online service, found again by the id that its caller got: what was asked, and what was said.

It looks into the log that is not collected yet and then into the lake, newest first; it computes nothing anew.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa

from perennial.data import lake
from perennial.data.engine import Engine
from perennial.errors import Permanent
from perennial.release.answer_rows import UnreadSegment, log_folder, read_segment
from perennial.store import MissingObject
from perennial.values import Frozen
from perennial.workspace import Workspace

_IS_ASKED = "prediction_id = $1 OR starts_with(prediction_id, $1 || '/') OR starts_with(prediction_id, $1 || '.')"
_AT_ONCE = 100
"""Batches that are looked into together."""


class UnknownRequest(Permanent):
    """No logged answer has that id."""


class AskedAnswer(Frozen):
    """One row that was asked for and scored."""

    prediction_id: str
    asked_at: datetime
    event_time: datetime
    release: int
    model_version: int
    arm: str
    rollout: int | None
    score: float
    inputs: dict[str, Any]
    """What the caller sent, by column of the entity's source."""
    features: dict[str, Any]
    """What the model was given."""
    reference: str
    """Digest of the query and the deliveries that the features were computed from."""
    shadow_score: float | None = None
    shadow_version: int | None = None
    batch: str | None = None
    """Where it lies in the lake; `None` while it waits in the log."""
    corrected: float | None = None
    """What the model that was gone back to says of the same row, where its version was withdrawn."""
    corrected_version: int | None = None


def find_answers(ws: Workspace, asked: str, most: int = 100) -> list[AskedAnswer]:
    """Return the answers to one request, in the order of its rows.

    Args:
        ws: The use case.
        asked: Id of a request, as its answer gave it or as the caller chose it, or of one row, `<request>/<row>`.
        most: Rows that are returned.

    Raises:
        UnknownRequest: There is none, perhaps because it got no score, or because a crash lost it.
    """
    found = {one.prediction_id: one for one in islice(_found(ws, asked), most)}
    if not found:
        raise UnknownRequest(
            f"No answer of `{ws.use_case.slug}` has the id `{asked}`: neither the log of its replicas nor the lake. "
            "Expected the `X-Request-Id` of an answer, or one of its prediction ids. An answer is in the log a second "
            "after it was given; requests that were refused or failed are only in the log lines of the service."
        )
    return sorted(found.values(), key=_place)


def _found(ws: Workspace, asked: str) -> Iterator[AskedAnswer]:
    with Engine(ws.settings) as engine:
        yield from _in_log(engine, ws, asked)
        state = ws.state()
        batches = [one.batch for one in reversed(state.collected) if one.rows]
        for start in range(0, len(batches), _AT_ONCE):
            rows = _in_lake(engine, ws, batches[start : start + _AT_ONCE], asked)
            if rows:
                corrected = _corrected(engine, ws, [one.batch for one in state.corrected if one.rows], asked)
                yield from (_answer(one | corrected.get(one["prediction_id"], {})) for one in rows)
                return


def _in_log(engine: Engine, ws: Workspace, asked: str) -> Iterator[AskedAnswer]:
    for path in ws.store.list(log_folder(ws)):
        try:
            rows = read_segment(ws.use_case, ws.store.get(path))
        except (MissingObject, UnreadSegment):  # collected meanwhile, and so in the lake; or about to be set aside
            continue
        engine.arrow("waiting", rows)
        yield from map(_answer, _rows(engine, "waiting", asked))


def _in_lake(engine: Engine, ws: Workspace, batches: Sequence[str], asked: str) -> list[dict[str, Any]]:
    engine.files("asked_requests", lake.files(ws, "requests", "batch", batches))
    wanted = _rows(engine, "asked_requests", asked)
    if not wanted:
        return []
    holding = sorted({one["batch"] for one in wanted})
    engine.files("asked_predictions", lake.files(ws, "predictions", "batch", holding))
    said = {one["prediction_id"]: one for one in _rows(engine, "asked_predictions", asked)}
    return [said[one["prediction_id"]] | one for one in wanted]


def _corrected(engine: Engine, ws: Workspace, batches: Sequence[str], asked: str) -> dict[str, dict[str, Any]]:
    if not batches:
        return {}
    engine.files("asked_corrections", lake.files(ws, "predictions", "batch", batches))
    return {
        one["prediction_id"]: {"corrected": one["score"], "corrected_version": one["model_version"]}
        for one in _rows(engine, "asked_corrections", asked)
    }


def _rows(engine: Engine, view: str, asked: str) -> list[dict[str, Any]]:
    found: pa.Table = engine.table(f"SELECT * FROM {view} WHERE {_IS_ASKED}", [asked])
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def _answer(row: dict[str, Any]) -> AskedAnswer:
    known = {name: row[name] for name in AskedAnswer.model_fields if name in row}
    return AskedAnswer.model_validate(
        known | {"inputs": json.loads(row["inputs"]), "features": json.loads(row["features"])}
    )


def _place(one: AskedAnswer) -> tuple[str, int]:
    request, _, row = one.prediction_id.rpartition("/")
    return request, int(row) if row.isdecimal() else 0

"""A `shop-returns` that answers online: replicas that report, answers that were collected; it asserts nothing."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from perennial.data import lake
from perennial.data.engine import Engine
from perennial.model.artifact import Model, save_model
from perennial.model.constant import Constant
from perennial.model.encoding import Encoder
from perennial.model.estimators import estimator
from perennial.records import Answer, AnswersCollected, Judged, Record, Released, RolloutStarted, Verdict
from perennial.release.reports import Counts, Report, report_path, write_report
from perennial.release.rollout import begin
from perennial.serving_spec import Serving
from perennial.watch.drift import NumericBins, Reference
from perennial.workspace import Workspace
from tests.builders import make_use_case

NOON = datetime(2024, 5, 20, 12, tzinfo=UTC)
CANARY: Mapping[str, Any] = {"rollout": "canary", "canary": {"steps": [0.1, 0.5]}, "trial": {"min_answers": 100}}


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def open_shop(folder: Path, serving: Mapping[str, Any] = CANARY) -> Workspace:
    """Open the use case without any data, as one that answers online."""
    return make_use_case(folder, months=(), changes={"serving": dict(serving)})


def serving_online(ws: Workspace, serving: Mapping[str, Any] = CANARY) -> Workspace:
    """Let a use case answer online."""
    return Workspace(ws.use_case.model_copy(update={"serving": Serving.model_validate(serving)}), ws.settings)


def record(ws: Workspace, one: Record, at: datetime = NOON) -> None:
    """Append a record as if its stage had written it."""
    ws.journal.decide(lambda entries: one, at)


def a_model(ws: Workspace, value: float) -> str:
    """Save a model that gives every row the same score."""
    model = Model(estimator("majority", "binary"), Encoder(features=("price",), categories={}), Constant(value))
    nothing = NumericBins(edges=(), counts=(1,), missing=0)
    return save_model(ws.store, model, pa.table({"price": [1.0, 2.0]}), Reference(features={}, score=nothing, rows=1))


def judged(ws: Workspace, version: int, model: str | None = None) -> Judged:
    """Let the gate pass a version against the champion; its scores are a hundredth of its number."""
    champion = ws.state().champion
    one = Judged(
        model=model or a_model(ws, version / 100),
        version=version,
        against=champion.model if champion else "baseline",
        against_version=champion.version if champion else None,
        gate=ws.use_case.gate_digest,
        verdict=Verdict(answer=Answer.PASS, reasons=("It beats the champion.",)),
    )
    record(ws, one)
    return one


def released(ws: Workspace, version: int, at: datetime = NOON, model: str | None = None) -> Released:
    """Release a version without a trial."""
    champion = ws.state().champion
    passed = judged(ws, version, model)
    one = Released(
        number=len(ws.state().released) + 1,
        model=passed.model,
        version=version,
        replaces=champion.version if champion else None,
        reason="It beats the champion.",
    )
    record(ws, one, at)
    return one


def tried(ws: Workspace, version: int, at: datetime = NOON, model: str | None = None) -> RolloutStarted:
    """Begin the trial of a version, with replicas that answer."""
    replicas(ws, at)
    started = begin(ws, judged(ws, version, model), at, at)
    assert isinstance(started, RolloutStarted)
    return started


def replicas(
    ws: Workspace,
    at: datetime,
    *counts: Mapping[str, Counts],
    refused: Mapping[str, str] | None = None,
    waiting: Mapping[str, str] | None = None,
    ended: bool = False,
    names: Sequence[str] = ("a", "b"),
    started: datetime = NOON,
) -> None:
    """Let replicas report that they follow the journal, the first of them with the first counts, and so on."""
    state = ws.state()
    champion, rollout = state.champion, state.rollout
    for place, name in enumerate(names):
        report_written(
            ws,
            Report(
                replica=name,
                address="127.0.0.1:1",
                started_at=started,
                at=at,
                ended=ended,
                head=state.seq,
                release=champion.number if champion else None,
                rollout=rollout.started.number if rollout else None,
                refused=dict(refused or {}),
                waiting=dict(waiting or {}),
                counts=dict(counts[place]) if place < len(counts) else {},
            ),
        )


def report_written(ws: Workspace, report: Report, at: datetime | None = None) -> None:
    """Write a replica's report at a moment by the store's clock, by default the one that it says itself."""
    write_report(ws, report)
    written = (at or report.at).timestamp()
    os.utime(ws.store.uri(report_path(ws, report.replica)), (written, written))


def collect(ws: Workspace, batch: str, rows: Sequence[Mapping[str, Any]], at: datetime = NOON) -> None:
    """Put answers of the service into the lake as one batch.

    Args:
        ws: Whose.
        batch: Its name.
        rows: Of each `order_id`, `features` and perhaps `score`, `release`, `version`, `arm`, `rollout`, `event_time`.
        at: When they were asked, a millisecond apart.
    """
    time = pa.timestamp("us", "UTC")
    known = [{"score": 0.5, "release": 1, "version": 1, "arm": "champion", "rollout": None, **one} for one in rows]
    ids = [f"{batch}-{number:05d}/0" for number in range(len(known))]
    asked = [at + timedelta(milliseconds=number) for number in range(len(known))]
    predictions = pa.table(
        {
            "prediction_id": ids,
            "order_id": [one["order_id"] for one in known],
            "event_time": pa.array([one.get("event_time", at) for one in known], time),
            "predicted_at": pa.array(asked, time),
            "model_version": pa.array([one["version"] for one in known], pa.int64()),
            "release": pa.array([one["release"] for one in known], pa.int64()),
            "score": pa.array([one["score"] for one in known], pa.float64()),
            "features_digest": ["reference"] * len(known),
            "request_id": [one.partition("/")[0] for one in ids],
            "arm": [one["arm"] for one in known],
            "rollout": pa.array([one["rollout"] for one in known], pa.int64()),
        }
    )
    requests = pa.table(
        {
            "prediction_id": ids,
            "inputs": ["{}"] * len(known),
            "features": [json.dumps(one["features"]) for one in known],
            "reference": ["reference"] * len(known),
            "asked_at": pa.array(asked, time),
        }
    )
    lake.append(ws, "predictions", predictions, "batch", batch)
    version = lake.append(ws, "requests", requests, "batch", batch)
    versions = {one["version"]: sum(row["version"] == one["version"] for row in known) for one in known}
    collected = AnswersCollected(
        batch=batch, segments={batch: ((1, 1),)}, rows=len(known), versions=versions, table_version=version
    )
    record(ws, collected, at)


def known_features(ws: Workspace, snapshot: str) -> list[dict[str, Any]]:
    """Return the rows of a snapshot of features, as a service would have logged them."""
    from perennial.data.features import snapshot_view

    with Engine(ws.settings) as engine:
        snapshot_view(engine, ws, [snapshot], "rows")
        rows = engine.table("SELECT * FROM rows ORDER BY order_id").to_pylist()
    plain = ("order_id", "event_time", "snapshot")
    return [
        {
            "order_id": one["order_id"],
            "event_time": one["event_time"],
            "features": {name: value for name, value in one.items() if name not in plain},
        }
        for one in rows
    ]

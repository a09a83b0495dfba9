"""What a withdrawn release wrote, scored again by the one that serves now, under the same ids beside the old rows.

Nothing is overwritten: a correction is one more batch of `predictions`, and readers choose what counts
(`prediction_rows(..., corrected=True)`). It withdraws nothing itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from perennial.data import lake
from perennial.data.engine import Engine, quote, quote_text
from perennial.data.features import snapshot_view
from perennial.digests import digest_json
from perennial.errors import Permanent
from perennial.model.artifact import Model, load_model
from perennial.model.encoding import Encoder
from perennial.records import AnswersCollected, Entry, Predicted, PredictionsCorrected, Record, Released
from perennial.release.logged_answers import LOGGED, feature_columns, has_features, open_logged
from perennial.release.predictions import batch_name, id_of_key
from perennial.state import State, fold
from perennial.workspace import Workspace

_ROWS = "affected_rows"


class NotCorrectable(Permanent):
    """Rows of a withdrawn release lack a feature that the release which serves now needs."""


@dataclass(frozen=True)
class Origin:
    """Rows that one release wrote first, and where their features are."""

    batch: str
    release: int
    version: int
    snapshot: str | None
    """Partition of `features`; `None` where they were logged with the request."""


@dataclass(frozen=True)
class Source:
    """A batch of `predictions` with rows of a withdrawn release."""

    batch: str
    rows: int
    origins: tuple[Origin, ...]
    """One, or for a correction those of all that it corrected."""


@dataclass(frozen=True)
class Affected:
    """What one withdrawn release wrote and nobody has scored again."""

    withdrawn: Released
    back: Released
    """The rollback that withdrew it."""
    sources: tuple[Source, ...]


def affected(entries: Sequence[Entry]) -> list[Affected]:
    """Return what withdrawn releases wrote and nobody has scored again, oldest first; the journal alone is read."""
    state = fold(entries)
    by_number = {one.number: one for one in state.released}
    found = [
        Affected(by_number[one.withdraws], one, tuple(_open_sources(entries, state, by_number[one.withdraws])))
        for one in state.released
        if one.withdraws is not None
    ]
    return [one for one in found if one.sources]


def correct(ws: Workspace, as_of: datetime) -> list[PredictionsCorrected]:
    """Score again what withdrawn releases wrote, by the champion, and record each correction; again does nothing.

    Raises:
        NotCorrectable: Some batches lack a feature that the champion needs, and stay affected; all others were
            corrected.
        InvalidModel: The champion's artifact is not what its training wrote.
        LakeBusy: Another writer committed at the same moment; try again.
    """
    entries = ws.journal.entries()
    champion, waiting = fold(entries).champion, affected(entries)
    if champion is None or not waiting:
        return []
    model = load_model(ws.store, champion.model)
    done: list[PredictionsCorrected] = []
    lacking: list[str] = []
    for one in waiting:
        sources = [source for source in one.sources if _has_features(ws, source, model.encoder)]
        lacking += [source.batch for source in one.sources if source not in sources]
        if sources:
            done.append(_correct(ws, one.withdrawn, sources, champion, model, as_of))
    if lacking:
        raise NotCorrectable(
            f"{len(lacking)} batches of withdrawn releases of `{ws.use_case.slug}` lack a feature that version "
            f"{champion.version} needs, so they cannot be scored again: {', '.join(lacking[:5])}. They stay as they "
            f"are, and {len(done)} corrections were made. `perennial corrections {ws.use_case.slug}` lists them."
        )
    return done


def _open_sources(entries: Sequence[Entry], state: State, withdrawn: Released) -> Iterator[Source]:
    done = {batch for one in state.corrected if one.withdrawn == withdrawn.number for batch in one.sources}
    return (one for one in _sources(entries, state, withdrawn) if one.batch not in done)


def _sources(entries: Sequence[Entry], state: State, withdrawn: Released) -> Iterator[Source]:
    number, version = withdrawn.number, withdrawn.version
    for batch in (one for one in state.predicted if one.release == number):
        yield Source(batch_name(batch), batch.rows, (_origin(batch),))
    for answers in _collected_since(entries, withdrawn):
        if answers.versions.get(version):
            yield Source(answers.batch, answers.versions[version], (Origin(answers.batch, number, version, None),))
    for correction in (one for one in state.corrected if one.release == number):
        first = next(one for one in state.released if one.number == correction.withdrawn)
        corrected = [one for one in _sources(entries, state, first) if one.batch in correction.sources]
        origins = tuple(origin for one in corrected for origin in one.origins)
        yield Source(correction.batch, correction.rows, origins)


def _collected_since(entries: Sequence[Entry], released: Released) -> Iterator[AnswersCollected]:
    made = next(place for place, entry in enumerate(entries) if entry.record == released)
    return (entry.record for entry in entries[made:] if isinstance(entry.record, AnswersCollected))


def _origin(batch: Predicted) -> Origin:
    return Origin(batch_name(batch), batch.release, batch.version, batch.snapshot)


def _has_features(ws: Workspace, source: Source, encoder: Encoder) -> bool:
    snapshots = {one.snapshot for one in source.origins if one.snapshot}
    built = ws.state().features
    if any(set(encoder.features) - set(built[one].features) for one in snapshots):
        return False
    logged = [one for one in source.origins if one.snapshot is None]
    with Engine(ws.settings) as engine:
        return not any(_without_features(engine, ws, one, encoder) for one in logged)


def _without_features(engine: Engine, ws: Workspace, origin: Origin, encoder: Encoder) -> int:
    open_logged(engine, ws, [origin.batch])
    return int(engine.scalar(f"SELECT count(*) FROM {LOGGED} WHERE {_of(origin)} AND NOT {has_features(encoder)}"))


def _correct(
    ws: Workspace, withdrawn: Released, sources: Sequence[Source], champion: Released, model: Model, as_of: datetime
) -> PredictionsCorrected:
    names = tuple(one.batch for one in sources)
    batch = f"corrected.r{champion.number}.{digest_json([withdrawn.number, *names])[:16]}"
    with Engine(ws.settings) as engine:
        rows = _keep_rows(engine, ws, sources, model.encoder)
        scored = model.score_query(engine, _ROWS, ["prediction_id", *ws.use_case.key, "event_time", "features_digest"])
        version = lake.append(ws, "predictions", _with_origin(scored, champion, as_of), "batch", batch)
    corrected = PredictionsCorrected(
        withdrawn=withdrawn.number,
        release=champion.number,
        model=champion.model,
        version=champion.version,
        batch=batch,
        rows=rows,
        table_version=version,
        sources=names,
    )

    def decision(entries: tuple[Entry, ...]) -> Record | None:
        return None if _found(fold(entries), withdrawn, names) else corrected

    ws.journal.decide(decision, as_of)
    return _found(ws.state(), withdrawn, names) or corrected


def _found(state: State, withdrawn: Released, names: Sequence[str]) -> PredictionsCorrected | None:
    """The first correction of any of some batches, by whoever made it."""
    done = (one for one in state.corrected if one.withdrawn == withdrawn.number and set(one.sources) & set(names))
    return next(done, None)


def _keep_rows(engine: Engine, ws: Workspace, sources: Sequence[Source], encoder: Encoder) -> int:
    """Keep what is to be scored, with the features of the model, and return how many rows it is."""
    origins = list(dict.fromkeys(origin for one in sources for origin in one.origins))
    parts = [_scored_in_batch(engine, ws, one, encoder) for one in origins if one.snapshot]
    logged = [one for one in origins if one.snapshot is None]
    if logged:
        parts.append(_answered(engine, ws, logged, encoder))
    engine.keep(_ROWS, " UNION ALL BY NAME ".join(f"({one})" for one in parts))
    return int(engine.scalar(f"SELECT count(*) FROM {_ROWS}"))


def _scored_in_batch(engine: Engine, ws: Workspace, origin: Origin, encoder: Encoder) -> str:
    snapshot = origin.snapshot or ""
    snapshot_view(engine, ws, [snapshot], snapshot)
    key = ", ".join(map(quote, ws.use_case.key))
    features = ", ".join(
        f"CAST({quote(one)} AS {'VARCHAR' if one in encoder.categories else 'DOUBLE'}) AS {quote(one)}"
        for one in encoder.features
    )
    return (
        f"SELECT {id_of_key(ws.use_case.key)} AS prediction_id, {key}, event_time, "
        f"{quote_text(snapshot)} AS features_digest, {features} FROM {quote(snapshot)}"
    )


def _answered(engine: Engine, ws: Workspace, origins: Sequence[Origin], encoder: Encoder) -> str:
    open_logged(engine, ws, [one.batch for one in origins])
    key = ", ".join(map(quote, ws.use_case.key))
    chosen = " OR ".join(f"(batch = {quote_text(one.batch)} AND {_of(one)})" for one in origins)
    kept = f"SELECT prediction_id, {key}, event_time, features_digest"
    return f"{kept}, {feature_columns(encoder)} FROM {LOGGED} WHERE {chosen}"


def _of(origin: Origin) -> str:
    """The rows that the release itself answered, not a version on trial under it."""
    return f"release = {origin.release} AND model_version = {origin.version}"


def _with_origin(scored: pa.RecordBatchReader, champion: Released, as_of: datetime) -> pa.RecordBatchReader:
    origin = {
        "predicted_at": pa.scalar(as_of, pa.timestamp("us", "UTC")),
        "model_version": pa.scalar(champion.version, pa.int64()),
        "release": pa.scalar(champion.number, pa.int64()),
    }
    schema = pa.schema([*scored.schema, *(pa.field(name, value.type) for name, value in origin.items())])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in scored:
            added = [pa.repeat(value, batch.num_rows) for value in origin.values()]
            yield pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())

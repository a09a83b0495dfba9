"""What a withdrawn release or a failed canary wrote, scored again by the release that serves now, under the same ids.

Nothing is overwritten: a correction is one more batch of `predictions` beside the old rows, and readers choose what
counts (`predictions.corrected_rows`, `perennial predictions --corrected`). It withdraws nothing itself.
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
from perennial.records import AnswersCollected, Entry, Predicted, PredictionsCorrected, Record, Released, RolloutStarted
from perennial.release.logged_answers import LOGGED, feature_columns, has_features, open_logged
from perennial.release.predictions import batch_name, id_of_key
from perennial.state import Rollout, State, fold
from perennial.workspace import Workspace

_ROWS = "affected_rows"
AT_ONCE = 200
"""Batches that one correction makes good: what was recorded is not done again by one that was killed after it."""


class NotCorrectable(Permanent):
    """Rows of a withdrawn release lack a feature that the release which serves now needs."""


@dataclass(frozen=True)
class Withdrawn:
    """What was taken back."""

    number: int
    """Of the release; for a canary that of the release beside which it answered."""
    version: int
    rollout: int | None = None
    """Of the canary, if it was one."""


@dataclass(frozen=True)
class Origin:
    """Rows that one release wrote first, and where their features are."""

    batch: str
    release: int
    version: int
    snapshot: str | None
    """Partition of `features`; `None` where they were logged with the request."""
    rollout: int | None = None
    """Of the canary that wrote them, if one did."""


@dataclass(frozen=True)
class Source:
    """A batch of `predictions` with rows of what was withdrawn."""

    batch: str
    rows: int
    origins: tuple[Origin, ...]
    """One, or for a correction those of all that it corrected."""


@dataclass(frozen=True)
class Affected:
    """What one withdrawn release, or one failed canary, wrote and nobody has scored again."""

    withdrawn: Withdrawn
    sources: tuple[Source, ...]


def affected(entries: Sequence[Entry]) -> list[Affected]:
    """Return what was taken back and nobody has scored again, releases first; the journal alone is read."""
    state = fold(entries)
    by_number = {one.number: one for one in state.released}
    releases = [by_number[one.withdraws] for one in state.released if one.withdraws is not None]
    taken_back = [
        *(Withdrawn(one.number, one.version) for one in releases),
        *(_canary(one) for one in state.rollouts.values() if one.has_failed and one.started.rollout == "canary"),
    ]
    found = [Affected(one, tuple(_open_sources(entries, state, one))) for one in taken_back]
    return [one for one in found if one.sources]


def correct(ws: Workspace, as_of: datetime) -> list[PredictionsCorrected]:
    """Score again what was taken back, by the champion, some batches at a time; again does nothing.

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
        for place in range(0, len(one.sources), AT_ONCE):
            some = one.sources[place : place + AT_ONCE]
            bare = _without_features(ws, some, model.encoder)
            lacking += [source.batch for source in bare]
            if sources := [source for source in some if source not in bare]:
                done.append(_correct(ws, one.withdrawn, sources, champion, model, as_of))
    if lacking:
        raise NotCorrectable(
            f"{len(lacking)} batches of withdrawn releases of `{ws.use_case.slug}` lack a feature that version "
            f"{champion.version} needs, so they cannot be scored again: {', '.join(lacking[:5])}. They stay as they "
            f"are, and {len(done)} corrections were made. `perennial corrections {ws.use_case.slug}` lists them."
        )
    return done


def _canary(rollout: Rollout) -> Withdrawn:
    started = rollout.started
    return Withdrawn(started.against_release, started.version, started.number)


def _of_correction(corrected: PredictionsCorrected, state: State) -> Withdrawn:
    if corrected.rollout is not None:
        return _canary(state.rollouts[corrected.rollout])
    first = next(one for one in state.released if one.number == corrected.withdrawn)
    return Withdrawn(first.number, first.version)


def _open_sources(entries: Sequence[Entry], state: State, withdrawn: Withdrawn) -> Iterator[Source]:
    done = {batch for one in state.corrected if _is_of(one, withdrawn) for batch in one.sources}
    return (one for one in _sources(entries, state, withdrawn) if one.batch not in done)


def _is_of(corrected: PredictionsCorrected, withdrawn: Withdrawn) -> bool:
    return (corrected.withdrawn, corrected.rollout) == (withdrawn.number, withdrawn.rollout)


def _sources(entries: Sequence[Entry], state: State, withdrawn: Withdrawn) -> Iterator[Source]:
    """What it wrote; of a period the newest batch, which superseded what it had scored on other features before."""
    number, version, rollout = withdrawn.number, withdrawn.version, withdrawn.rollout
    is_release = rollout is None
    newest = {one.period: one for one in state.predicted_by_moment if is_release and one.release == number}
    for batch in newest.values():
        yield Source(batch_name(batch), batch.rows, (_origin(batch),))
    for answers in _collected_since(entries, withdrawn):
        if answers.versions.get(version):
            origin = Origin(answers.batch, number, version, None, rollout)
            yield Source(answers.batch, answers.versions[version], (origin,))
    for correction in (one for one in state.corrected if is_release and one.release == number):
        first = _sources(entries, state, _of_correction(correction, state))
        origins = tuple(origin for one in first if one.batch in correction.sources for origin in one.origins)
        if origins:
            yield Source(correction.batch, correction.rows, origins)


def _collected_since(entries: Sequence[Entry], withdrawn: Withdrawn) -> Iterator[AnswersCollected]:
    made = next(place for place, entry in enumerate(entries) if _is_beginning(entry.record, withdrawn))
    return (entry.record for entry in entries[made:] if isinstance(entry.record, AnswersCollected))


def _is_beginning(record: Record, withdrawn: Withdrawn) -> bool:
    if withdrawn.rollout is None:
        return isinstance(record, Released) and record.number == withdrawn.number
    return isinstance(record, RolloutStarted) and record.number == withdrawn.rollout


def _origin(batch: Predicted) -> Origin:
    return Origin(batch_name(batch), batch.release, batch.version, batch.snapshot)


def _without_features(ws: Workspace, sources: Sequence[Source], encoder: Encoder) -> list[Source]:
    """The sources with rows that lack a feature of the model."""
    built, wanted = ws.state().features, set(encoder.features)
    bare = _logged_without(ws, _logged(sources), encoder)
    return [
        source
        for source in sources
        if any(wanted - set(built[one.snapshot].features) if one.snapshot else one in bare for one in source.origins)
    ]


def _logged(sources: Sequence[Source]) -> list[Origin]:
    origins = dict.fromkeys(origin for one in sources for origin in one.origins)
    return [one for one in origins if one.snapshot is None]


def _logged_without(ws: Workspace, origins: Sequence[Origin], encoder: Encoder) -> set[Origin]:
    if not origins:
        return set()
    with Engine(ws.settings) as engine:
        open_logged(engine, ws, list(dict.fromkeys(one.batch for one in origins)))
        cases = " ".join(f"WHEN {_chosen(one)} THEN {place}" for place, one in enumerate(origins))
        bare = engine.rows(f"SELECT DISTINCT CASE {cases} END FROM {LOGGED} WHERE NOT {has_features(encoder)}")
    return {origins[place] for (place,) in bare if place is not None}


def _correct(
    ws: Workspace, withdrawn: Withdrawn, sources: Sequence[Source], champion: Released, model: Model, as_of: datetime
) -> PredictionsCorrected:
    names = tuple(one.batch for one in sources)
    whose = [withdrawn.number, *([] if withdrawn.rollout is None else [withdrawn.rollout])]
    batch = f"corrected.r{champion.number}.{digest_json([*whose, *names])[:16]}"
    with Engine(ws.settings) as engine:
        rows = _keep_rows(engine, ws, sources, model.encoder)
        scored = model.score_query(engine, _ROWS, ["prediction_id", *ws.use_case.key, "event_time", "features_digest"])
        version = lake.append(ws, "predictions", _with_origin(scored, champion, as_of), "batch", batch)
    corrected = PredictionsCorrected(
        withdrawn=withdrawn.number,
        rollout=withdrawn.rollout,
        release=champion.number,
        model=champion.model,
        version=champion.version,
        batch=batch,
        rows=rows,
        table_version=version,
        sources=names,
    )
    return ws.journal.find_or_append(
        lambda entries: _found(fold(entries), withdrawn, names), lambda _: corrected, as_of
    )


def _found(state: State, withdrawn: Withdrawn, names: Sequence[str]) -> PredictionsCorrected | None:
    """The first correction of any of some batches, by whoever made it."""
    done = (one for one in state.corrected if _is_of(one, withdrawn) and set(one.sources) & set(names))
    return next(done, None)


def _keep_rows(engine: Engine, ws: Workspace, sources: Sequence[Source], encoder: Encoder) -> int:
    """Keep what is to be scored, with the features of the model, and return how many rows it is."""
    in_batch = dict.fromkeys(origin for one in sources for origin in one.origins if origin.snapshot)
    parts = [_scored_in_batch(engine, ws, one, encoder) for one in in_batch]
    if logged := _logged(sources):
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
    open_logged(engine, ws, list(dict.fromkeys(one.batch for one in origins)))
    key = ", ".join(map(quote, ws.use_case.key))
    chosen = " OR ".join(map(_chosen, origins))
    kept = f"SELECT prediction_id, {key}, event_time, features_digest"
    return f"{kept}, {feature_columns(encoder)} FROM {LOGGED} WHERE {chosen}"


def _chosen(origin: Origin) -> str:
    """The rows that the release itself answered, not a version on trial under it; or only those of one canary."""
    whose = f"release = {origin.release} AND model_version = {origin.version}"
    canary = "" if origin.rollout is None else f" AND arm = 'canary' AND rollout = {origin.rollout}"
    return f"(batch = {quote_text(origin.batch)} AND {whose}{canary})"


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

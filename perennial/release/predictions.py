"""Batch scoring: the champion's scores of a period's rows, appended to `predictions` and never overwritten.

It fits, judges and measures nothing. Rows stream from the features through the model into the lake, so that
memory does not grow with them.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import pyarrow as pa

from perennial.data import lake
from perennial.data.engine import Engine, quote, quote_text
from perennial.data.features import build_features, snapshot_view
from perennial.errors import Permanent
from perennial.model.artifact import load_model
from perennial.periods import Period
from perennial.records import AnswersCollected, Entry, FeaturesBuilt, Predicted, PredictionsCorrected, Released
from perennial.state import State, fold
from perennial.workspace import Workspace

_TABLE, _PARTITION = "predictions", "batch"
_ID = "id:json"


class NothingReleased(Permanent):
    """There is no champion yet, so nobody may score."""


def predict(ws: Workspace, period: Period, as_of: datetime) -> Predicted:
    """Score a period's rows with the champion of that moment and append them as one batch.

    A batch is named by period, release and features; the same again is found in the journal. A new release or
    corrected features are a new batch beside the old one. A period in which nothing happened is a batch without rows.

    Raises:
        NothingReleased: No version was released up to `as_of`.
        NotBegun: The period begins after `as_of`.
        NoObservations: The period has no rows to score, and no delivery can say that there are none.
        InvalidModel: The champion's artifact is not what its training wrote.
        LakeBusy: Another writer committed at the same moment; try again.
    """
    champion = fold(ws.journal.entries(), as_of).champion
    if champion is None:
        raise NothingReleased(
            f"No version of `{ws.use_case.slug}` was released by {as_of:%F %R}. Train, register and deploy one first."
        )
    built = build_features(ws, period, as_of)
    done = _found(ws.state(), built, champion)
    return done or _score(ws, built, champion, as_of)


def prediction_rows(engine: Engine, ws: Workspace, batches: Sequence[str], name: str) -> None:
    """Give the rows of some batches, at least one, as they were written the name of a view.

    Its columns are `prediction_id` (for a batch the key as JSON), the key, `event_time`, `predicted_at`,
    `model_version`, `release`, `score`, `features_digest` (the snapshot) and `batch`.

    Raises:
        MissingPartition: The lake does not have a batch that the journal names.
    """
    engine.files(name, lake.files(ws, _TABLE, _PARTITION, batches))


def corrected_rows(engine: Engine, ws: Workspace, batches: Sequence[str], name: str) -> None:
    """Give what counts today of some batches, at least one, scored in batch or online, the name of a view.

    That is of each `prediction_id` the newest row, by the moment it was written for and then in the order of the
    journal, of a release that was not withdrawn; one that was not corrected yet is left out. What a canary answered
    beside a release that was withdrawn was another version's doing, and stands; unless it failed itself. Of a period
    that was scored on several snapshots of its features only the newest counts, so that a row that a corrected
    delivery took away is gone.
    """
    state, every = ws.state(), f"{name}_with_corrections"
    wanted = {*batches, *_corrections(state, batches)}
    by_moment = sorted(ws.journal.entries(), key=lambda one: one.at)
    partitions = [one for one in written_batches(by_moment) if one in wanted]
    prediction_rows(engine, ws, partitions, every)
    snapshots = [one.snapshot for one in state.predicted_by_moment]
    has_arms = "arm" in engine.schema(f"SELECT * FROM {quote(every)}").names
    asked = f"SELECT prediction_id FROM {quote(every)} WHERE batch IN ({', '.join(map(quote_text, batches))})"
    engine.view(
        name,
        f"SELECT rows.* FROM {quote(every)} AS rows JOIN {_places(partitions)} AS b(name, place) ON batch = b.name "
        f"LEFT JOIN {_places(snapshots)} AS s(name, place) ON features_digest = s.name "
        f"WHERE {_stands(state, has_arms)} AND {_is_newest(state)} AND prediction_id IN ({asked}) "
        "QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY b.place DESC, s.place DESC) = 1",
    )


def written_batches(entries: Iterable[Entry], period: Period | None = None) -> list[str]:
    """Return the batches that the lake has, in the order of the journal: scored, answered online, corrected.

    One that was scored in a period in which nothing happened has no rows. Of a period those that may have rows of it,
    as any may that was answered or corrected.
    """
    found = []
    for entry in entries:
        match entry.record:
            case Predicted() as one if period is None or one.period == period.label:
                found.append(batch_name(one))
            case AnswersCollected() | PredictionsCorrected() as one if one.rows:
                found.append(one.batch)
    return found


def _stands(state: State, has_arms: bool) -> str:
    """The condition that a row's release was not withdrawn, and its canary not taken back for being worse."""
    withdrawn = [-1, *_withdrawn(state)]
    failed = [-1, *(number for number, one in state.rollouts.items() if one.has_failed)]
    good = f"release NOT IN ({', '.join(map(str, withdrawn))})"
    if not has_arms:
        return good
    by_canary = "coalesce(arm = 'canary', FALSE)"
    return f"CASE WHEN {by_canary} THEN coalesce(rollout, 0) NOT IN ({', '.join(map(str, failed))}) ELSE {good} END"


def _withdrawn(state: State) -> set[int]:
    return {one.withdraws for one in state.released if one.withdraws is not None}


def _is_newest(state: State) -> str:
    """The condition that no newer snapshot of a row's period was scored by what stands."""
    withdrawn, corrected = _withdrawn(state), set[str]()
    for correction in reversed(state.corrected):
        if correction.release not in withdrawn or correction.batch in corrected:
            corrected.update(correction.sources)
    standing = [
        one for one in state.predicted_by_moment if one.release not in withdrawn or batch_name(one) in corrected
    ]
    newest = {one.period: one.snapshot for one in standing}
    superseded = {one.snapshot for one in standing} - {*newest.values()}
    listed = ", ".join(map(quote_text, sorted(superseded)))
    return f"coalesce(features_digest NOT IN ({listed}), TRUE)" if superseded else "TRUE"


def _places(names: Sequence[str]) -> str:
    """A relation of some names, each once and with its last place among them."""
    last = {name: place for place, name in enumerate(names)}
    return f"(VALUES {', '.join(f'({quote_text(name)}, {place})' for name, place in {'': -1, **last}.items())})"


def _corrections(state: State, batches: Sequence[str]) -> list[str]:
    """The batches that correct rows of some batches, also by correcting a correction, in the order of the journal."""
    related = set(batches)
    found = []
    for one in state.corrected:
        if related & set(one.sources) and one.rows:
            related.add(one.batch)
            found.append(one.batch)
    return found


def batch_name(predicted: Predicted) -> str:
    """Return the value of the partition column `batch` for a batch's rows."""
    return _batch(predicted.period, predicted.release, predicted.snapshot)


def _score(ws: Workspace, built: FeaturesBuilt, champion: Released, as_of: datetime) -> Predicted:
    model = load_model(ws.store, champion.model)
    batch = _batch(built.period, champion.number, built.partition)
    kept = [*ws.use_case.key, "event_time", _ID]
    with Engine(ws.settings) as engine:
        snapshot_view(engine, ws, [built.partition], "rows")
        scored = model.score_query(engine, f"(SELECT *, {id_of_key(ws.use_case.key)} AS {quote(_ID)} FROM rows)", kept)
        version = lake.append(ws, _TABLE, _with_origin(scored, built, champion, as_of), _PARTITION, batch)
    predicted = Predicted(
        period=built.period,
        release=champion.number,
        model=champion.model,
        version=champion.version,
        snapshot=built.partition,
        rows=built.rows,
        table_version=version,
    )
    return ws.journal.find_or_append(lambda entries: _found(fold(entries), built, champion), lambda _: predicted, as_of)


def _found(state: State, built: FeaturesBuilt, champion: Released) -> Predicted | None:
    wanted = (built.partition, champion.number)
    return next((one for one in state.predicted if (one.snapshot, one.release) == wanted), None)


def _batch(period: str, release: int, snapshot: str) -> str:
    return f"{period}.r{release}.{snapshot.rpartition('.')[2][:8]}"


def id_of_key(key: Sequence[str]) -> str:
    """Write the SQL of the `prediction_id` of a row that is scored in batch: its key as JSON."""
    named = ", ".join(f"{quote_text(one)}, {quote(one)}" for one in key)
    return f"CAST(json_object({named}) AS VARCHAR)"


def _with_origin(
    scored: pa.RecordBatchReader, built: FeaturesBuilt, champion: Released, as_of: datetime
) -> pa.RecordBatchReader:
    origin = {
        "predicted_at": pa.scalar(as_of, pa.timestamp("us", "UTC")),
        "model_version": pa.scalar(champion.version, pa.int64()),
        "release": pa.scalar(champion.number, pa.int64()),
        "features_digest": pa.scalar(built.partition, pa.string()),
    }
    fields = [field.with_name("prediction_id") if field.name == _ID else field for field in scored.schema]
    schema = pa.schema([*fields, *(pa.field(name, value.type) for name, value in origin.items())])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in scored:
            added = [pa.repeat(value, batch.num_rows) for value in origin.values()]
            yield pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())

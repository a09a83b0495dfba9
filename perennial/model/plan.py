"""What a training will see: windows, snapshots and labels, fixed before anything is fitted.

It counts rows and digests labels; whether they are enough is for `training` to refuse.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from typing import Any

from perennial.data.engine import Engine, quote, quote_time
from perennial.data.features import build_features, feature_columns, labelled_rows_sql, snapshot_view
from perennial.data.observing import NoObservations
from perennial.data.views import known_deliveries, open_views
from perennial.digests import digest_json
from perennial.model.revision import code_revision, lock_digest
from perennial.periods import Period, Window, periods_between
from perennial.records import FeaturesBuilt, Frozen
from perennial.state import State
from perennial.use_case import UseCase
from perennial.workspace import Workspace

SNAPSHOT, PAST, RECENT = "snapshot", "past_rows", "holdout_rows"


class Extent(Frozen):
    """Where the rows of a training are: windows of event time, and partitions of the lake."""

    as_of: datetime
    fit: Window
    validation: Window
    holdout: Window
    periods: tuple[str, ...]
    snapshots: tuple[str, ...]
    """Partitions of `features`, one per period."""
    features_version: int
    deliveries: tuple[str, ...]
    """Partitions of the label's source that the labels are read from."""


class Counted(Frozen):
    """The labelled rows of one window."""

    rows: int = 0
    invalid: int = 0
    """Rows whose label is not finite, or for a binary task neither 0 nor 1."""
    low: float | None = None
    """Smallest finite label."""
    high: float | None = None


class TrainingPlan(Extent):
    """Everything that determines a training, in addresses and digests."""

    key: str
    """Digest of windows, snapshots, labels and the training section. Code and libraries are recorded beside it, so
    that a new release of them trains the next model, and does not train the past again."""
    fit_rows: Counted
    validation_rows: Counted
    holdout_rows: Counted
    labels: str
    """Digest of the keys and labels of all these rows."""
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    spec: str
    query: str
    code: str
    lock: str
    seed: int


def training_windows(use_case: UseCase, first: datetime | None, as_of: datetime) -> tuple[Window, Window, Window]:
    """Return the windows for fit, validation and holdout, counted back from the newest moment with mature labels.

    Args:
        use_case: Declares their lengths.
        first: Where the data begins, for a fit window without a declared length.
        as_of: The moment of the training.
    """
    training = use_case.training
    end = as_of - use_case.label.matures_after
    holdout = Window(start=end - training.holdout, end=end)
    validation = Window(start=holdout.start - training.validation, end=holdout.start)
    start = validation.start - training.history if training.history else first or validation.start
    return Window(start=min(start, validation.start), end=validation.start), validation, holdout


def make_plan(ws: Workspace, as_of: datetime) -> TrainingPlan:
    """Fix the windows, build the features that are missing, and look at the labels known at `as_of`."""
    use_case = ws.use_case
    extent = _extent(ws, as_of)
    seen = _seen(ws, extent) if extent.snapshots else _NOTHING
    windows = [[one.start.isoformat(), one.end.isoformat()] for one in (extent.fit, extent.validation, extent.holdout)]
    training = [use_case.task, use_case.metrics.primary, use_case.training.model_dump(mode="json")]
    return TrainingPlan(
        **extent.model_dump(),
        **seen,
        key=digest_json([use_case.slug, windows, extent.snapshots, seen["labels"], training]),
        spec=use_case.spec_digest,
        query=use_case.features_digest,
        code=code_revision(),
        lock=lock_digest(),
        seed=use_case.training.seed,
    )


def open_rows(engine: Engine, ws: Workspace, extent: Extent) -> None:
    """Keep the labelled rows as tables of the engine, by event time and key: `past_rows` and `holdout_rows`.

    Past are fit and validation, with labels known before the holdout starts, as at that time nothing else could
    have been learnt from; the others are purged (López de Prado 2018, Advances in Financial Machine Learning, ch. 7).
    """
    chosen = set(extent.deliveries)
    open_views(engine, ws, extent.as_of, deliveries=[one for one in ws.state().accepted if one.partition in chosen])
    snapshot_view(engine, ws, extent.snapshots, SNAPSHOT)
    past = Window(start=extent.fit.start, end=extent.validation.end)
    engine.keep(PAST, labelled_rows_sql(engine, ws.use_case, SNAPSHOT, past, extent.holdout.start), query=PAST)
    engine.keep(RECENT, labelled_rows_sql(engine, ws.use_case, SNAPSHOT, extent.holdout), query=RECENT)


def is_fit(extent: Extent) -> str:
    """Write the condition that tells the fit rows from the validation rows among `past_rows`."""
    return f"event_time < {quote_time(extent.fit.end)}"


def digest_rows(engine: Engine, view: str, columns: Sequence[str]) -> str:
    """Return the digest of some columns of a view, row by row in its order."""
    found = sha256()
    row = ", ".join(map(quote, columns))
    for batch in engine.batches(f"SELECT CAST(row({row}) AS VARCHAR) AS line FROM {quote(view)}", name="digest"):
        found.update("".join(f"{line}\n" for line in batch.column(0).to_pylist()).encode())
    return found.hexdigest()


_NOTHING: dict[str, Any] = {
    "fit_rows": Counted(),
    "validation_rows": Counted(),
    "holdout_rows": Counted(),
    "labels": digest_json([]),
    "features": (),
    "categorical": (),
}


def _extent(ws: Workspace, as_of: datetime) -> Extent:
    use_case, state = ws.use_case, ws.state()
    fit, validation, holdout = training_windows(use_case, _first_moment(use_case, state, as_of), as_of)
    built = _built(ws, Window(start=fit.start, end=holdout.end), as_of)
    labels = [one for one in known_deliveries(state, as_of) if one.source == use_case.label.source]
    return Extent(
        as_of=as_of,
        fit=fit,
        validation=validation,
        holdout=holdout,
        periods=tuple(one.period for one in built),
        snapshots=tuple(one.partition for one in built),
        features_version=max((one.table_version for one in built), default=0),
        deliveries=tuple(one.partition for one in labels),
    )


def _first_moment(use_case: UseCase, state: State, as_of: datetime) -> datetime | None:
    known = [one for one in known_deliveries(state, as_of) if one.source == use_case.entity and one.accepted]
    return min((Period.parse(one.period).start for one in known), default=None)


def _built(ws: Workspace, window: Window, as_of: datetime) -> list[FeaturesBuilt]:
    built = []
    for period in periods_between(window.start, window.end, ws.use_case.every):
        with suppress(NoObservations):
            built.append(build_features(ws, period, as_of))
    return [one for one in built if one.rows]


def _seen(ws: Workspace, extent: Extent) -> dict[str, Any]:
    use_case, fit = ws.use_case, is_fit(extent)
    with Engine(ws.settings) as engine:
        open_rows(engine, ws, extent)
        columns = feature_columns(engine, use_case, SNAPSHOT)
        named = {*columns.numeric, *columns.categorical}
        labels = [digest_rows(engine, view, [*use_case.key, "label"]) for view in (PAST, RECENT)]
        return {
            "fit_rows": _counted(engine, use_case, f"{PAST} WHERE {fit}"),
            "validation_rows": _counted(engine, use_case, f"{PAST} WHERE NOT {fit}"),
            "holdout_rows": _counted(engine, use_case, RECENT),
            "labels": digest_json(labels),
            "features": tuple(one for one in engine.schema(f"SELECT * FROM {PAST}").names if one in named),
            "categorical": columns.categorical,
        }


def _counted(engine: Engine, use_case: UseCase, rows: str) -> Counted:
    invalid = "label NOT IN (0, 1)" if use_case.task == "binary" else "NOT isfinite(label)"
    finite = "FILTER (isfinite(label))"
    sql = (
        f"SELECT count(*) AS rows, count(*) FILTER ({invalid}) AS invalid, "
        f"min(label) {finite} AS low, max(label) {finite} AS high FROM {rows}"
    )
    return Counted.model_validate(engine.table(sql, name="labels").to_pylist()[0])

"""The features of a period: the use case's query run over the views, checked, and kept as one partition.

It asks for one row per observation and leaves what the query computes to the query; `leakage` looks at that.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from perennial.data import lake
from perennial.data.engine import Engine, QueryFailed, parquet, quote, quote_time
from perennial.data.observing import require_begun, require_over
from perennial.data.queries import keep_query
from perennial.data.query_parts import undecided
from perennial.data.views import NEWEST_LABEL, deliveries_before, open_views
from perennial.digests import digest_json
from perennial.errors import Permanent
from perennial.periods import Period, Window
from perennial.records import FeaturesBuilt
from perennial.state import State, fold
from perennial.use_case import TAKEN_NAMES, UseCase
from perennial.workspace import Workspace

_COMPUTED = "computed_features"


class FeaturesQueryWrong(Permanent):
    """The features query does not give what it must: key, event time, features, one row per observation."""


class FeatureColumns(NamedTuple):
    """Names of the features, each in the order of the query: texts are categorical, all others numeric."""

    all: tuple[str, ...]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]


def build_features(ws: Workspace, period: Period, as_of: datetime) -> FeaturesBuilt:
    """Compute the features of a period's observations and write them as one partition of `features`.

    The partition is named by all that its content depends on: the query, the period, the deliveries that were
    known at `as_of` and have rows before the period's end, and `as_of` itself while the period has not ended. The
    same again is found in the journal and not computed. The query's text is kept, for the models trained on them.
    A period that is over and in which nothing happened, as its delivery says, has a partition without rows.

    Raises:
        NotBegun: The period begins after `as_of`.
        NoObservations: The entity has no rows in the period, and no delivery of it was accepted or it was not over.
        FeaturesQueryWrong: The query's result has the wrong shape.
        QueryFailed: The engine refused the query.
    """
    require_begun(ws.use_case, period, as_of)
    state = ws.state()
    deliveries = deliveries_before(ws, state, period.end, as_of)
    seen = digest_json([one.partition for one in deliveries])
    digest = digest_json([ws.use_case.features_digest, period.label, seen, min(as_of, period.end).isoformat()])
    partition = f"{period.label}.{digest[:16]}"
    if partition in state.features:
        return state.features[partition]
    keep_query(ws)
    with Engine(ws.settings) as engine:
        open_views(engine, ws, as_of, period, deliveries=deliveries)
        columns = compute_features(engine, ws.use_case)
        rows = int(engine.scalar(f"SELECT count(*) FROM {_COMPUTED}"))
        if not rows:
            require_over(ws.use_case, period, deliveries, as_of)
        _check_types(engine, ws, state, columns)
        version = lake.append(ws, "features", _in_order(engine, ws.use_case), "snapshot", partition)
    built = FeaturesBuilt(
        period=period.label,
        window=Window(start=period.start, end=period.end),
        rows=rows,
        partition=partition,
        query=ws.use_case.features_digest,
        deliveries=seen,
        features=columns.all,
        table_version=version,
    )
    ws.journal.decide(lambda entries: None if partition in fold(entries).features else built, as_of)
    return ws.state().features[partition]


def compute_features(engine: Engine, use_case: UseCase, sql: str | None = None) -> FeatureColumns:
    """Run the features query over the open views, check its shape and keep its rows as `computed_features`.

    Numbers and booleans become doubles, so that a column has one type in every period.

    Args:
        engine: Where the views are open.
        use_case: Whose.
        sql: The query, by default the present one of the use case's folder.

    Raises:
        FeaturesQueryWrong: A key column or `event_time` is missing, there is no feature, a feature is neither
            number, boolean nor text, the rows are not one per observation, or the present query asks for the clock
            or for chance.
    """
    name = f"{use_case.slug}/{use_case.features}"
    text = use_case.features_sql if sql is None else sql
    engine.keep("query_result", text.rstrip().rstrip(";"), query=name)
    if sql is None:
        _require_decided(engine, text, name)
    columns = checked_columns(engine.schema("SELECT * FROM query_result"), use_case, name)
    engine.view(_COMPUTED, typed_sql(columns, use_case, "query_result"))
    _check_rows(engine, use_case, name)
    return columns


def _require_decided(engine: Engine, sql: str, name: str) -> None:
    try:
        called = undecided(engine, sql)
    except QueryFailed as error:
        remedy = "A `PIVOT` has to name its columns, as `PIVOT t ON k IN ('a', 'b')`: else they change with the rows."
        raise FeaturesQueryWrong(f"{name}: {error}. {remedy}") from None
    if called:
        raise FeaturesQueryWrong(
            f"{name}: `{called[0]}` gives another value each time, so that no model could be trained again on the same "
            "features. Expected what follows from the rows: take `event_time` of `observations` for the moment."
        )


def typed_sql(columns: FeatureColumns, use_case: UseCase, relation: str) -> str:
    """Write the SELECT of key, `event_time` and features with one type each in every period, from a query's result."""
    selected = [quote(one) for one in (*use_case.key, "event_time")]
    for one in columns.all:
        selected.append(f"CAST({quote(one)} AS {'DOUBLE' if one in columns.numeric else 'VARCHAR'}) AS {quote(one)}")
    return f"SELECT {', '.join(selected)} FROM {relation}"


def snapshot_view(engine: Engine, ws: Workspace, partitions: Sequence[str], name: str) -> None:
    """Give the rows of some partitions of `features` the name of a view: key, `event_time` and features.

    The features are those of the last partition. The table has the columns of earlier queries too, all empty here.

    Raises:
        MissingPartition: The lake does not have one of them.
    """
    features = ws.state().features[partitions[-1]].features
    listed = ", ".join(quote(one) for one in (*ws.use_case.key, "event_time", *features))
    engine.view(name, f"SELECT {listed} FROM {parquet(lake.files(ws, 'features', 'snapshot', partitions))}")


def feature_columns(engine: Engine, use_case: UseCase, view: str) -> FeatureColumns:
    """Return the features of a view of feature rows (see `snapshot_view`), in the order of the query."""
    return _columns(engine.schema(f"SELECT * FROM {quote(view)}"), use_case)


def labelled_rows_sql(
    engine: Engine, use_case: UseCase, view: str, window: Window, known_before: datetime | None = None
) -> str:
    """Write the SELECT of feature rows of a window with their newest label, by event time and key.

    It reads the views `labels` (see `open_views`) and `view` (see `snapshot_view`), and gives the key columns,
    `event_time`, the features in the order of the query, and `label` (DOUBLE). Rows without a label are left out.

    Args:
        engine: Where both views are open.
        use_case: Whose.
        view: Name of the view with the feature rows.
        window: Event times of the rows.
        known_before: Only labels known before this moment, as for the fit window, whose labels must not
            reach into the holdout.
    """
    key = [quote(one) for one in use_case.key]
    features = [quote(one) for one in feature_columns(engine, use_case, view).all]
    listed = ", ".join(f"f.{one}" for one in (*key, "event_time", *features))
    known = f"WHERE known_at < {quote_time(known_before)}" if known_before else ""
    return (
        f"SELECT {listed}, l.label FROM {quote(view)} f "
        f"JOIN (SELECT {', '.join(key)}, {NEWEST_LABEL} AS label FROM labels {known} "
        f"GROUP BY {', '.join(key)}) l USING ({', '.join(key)}) "
        f"WHERE f.event_time >= {quote_time(window.start)} AND f.event_time < {quote_time(window.end)} "
        f"ORDER BY f.event_time, {', '.join(f'f.{one}' for one in key)}"
    )


def _in_order(engine: Engine, use_case: UseCase) -> pa.RecordBatchReader:
    key = ", ".join(quote(one) for one in use_case.key)
    return engine.batches(f"SELECT * FROM {_COMPUTED} ORDER BY event_time, {key}", name=use_case.features)


def checked_columns(schema: pa.Schema, use_case: UseCase, name: str) -> FeatureColumns:
    """Return the features that a query's result has, if its columns are what they must be.

    Raises:
        FeaturesQueryWrong: See `compute_features`.
    """
    missing = [one for one in (*use_case.key, "event_time") if one not in schema.names]
    if missing:
        raise FeaturesQueryWrong(
            f"`{name}` gives no column `{missing[0]}`. Expected {_listed((*use_case.key, 'event_time'))} and the "
            f"features; got {_listed(schema.names)}. Select `o.{missing[0]}` from `observations o`."
        )
    taken = [one for one in schema.names if one.lower() in TAKEN_NAMES]
    if taken:
        raise FeaturesQueryWrong(
            f"`{name}` gives a column `{taken[0]}`, a name that is taken: tables of the lake have a column of "
            f"that name beside the features. Rename it with `AS`; taken are {_listed(TAKEN_NAMES)}."
        )
    columns = _columns(schema, use_case)
    for one in columns.all:
        if one not in columns.numeric and one not in columns.categorical:
            raise FeaturesQueryWrong(
                f"`{name}` gives `{one}` as `{schema.field(one).type}`. A feature must be a number, a boolean or a "
                f"text; cast it, or compute a number such as `epoch({one})`."
            )
    if not columns.all:
        raise FeaturesQueryWrong(f"`{name}` gives no feature beside {_listed(schema.names)}. Select at least one.")
    return columns


def _columns(schema: pa.Schema, use_case: UseCase) -> FeatureColumns:
    features = [field for field in schema if field.name not in (*use_case.key, "event_time")]
    return FeatureColumns(
        tuple(field.name for field in features),
        tuple(field.name for field in features if _is_numeric(field.type)),
        tuple(field.name for field in features if _is_text(field.type)),
    )


def _check_types(engine: Engine, ws: Workspace, state: State, columns: FeatureColumns) -> None:
    """A column of the table keeps its type for ever, whichever query wrote it first."""
    earlier = {one.query: one for one in state.features.values() if one.query != ws.use_case.features_digest}
    for before in earlier.values():
        snapshot_view(engine, ws, [before.partition], "features_before")
        held = feature_columns(engine, ws.use_case, "features_before")
        changed = [*set(held.numeric) & set(columns.categorical), *set(held.categorical) & set(columns.numeric)]
        if changed:
            kinds = ("a text", "a number") if changed[0] in held.numeric else ("a number", "a text")
            raise FeaturesQueryWrong(
                f"`{ws.use_case.slug}/{ws.use_case.features}` gives `{changed[0]}` as {kinds[0]}, but in the table "
                f"`features` it is {kinds[1]}. Give the new one another name."
            )


def _check_rows(engine: Engine, use_case: UseCase, name: str) -> None:
    """One count settles the usual case: as many rows as observations, and each observation among them."""
    key = ", ".join(quote(one) for one in use_case.key)
    found = f"SELECT count(*) FROM observations SEMI JOIN {_COMPUTED} USING ({key}, event_time)"
    asked, given = (engine.scalar(f"SELECT count(*) FROM {view}") for view in ("observations", _COMPUTED))
    if asked == given == engine.scalar(found):
        return
    doubled = f"SELECT {key} FROM {_COMPUTED} GROUP BY {key} HAVING count(*) > 1"
    lost = f"SELECT {key}, event_time FROM observations EXCEPT SELECT {key}, event_time FROM {_COMPUTED}"
    foreign = f"SELECT {key}, event_time FROM {_COMPUTED} EXCEPT SELECT {key}, event_time FROM observations"
    _refuse_rows(engine, doubled, f"`{name}` gives more than one row for", "A join multiplies rows; join on a key.")
    _refuse_rows(engine, lost, f"`{name}` gives no row for", "Use LEFT JOIN, and no WHERE on `observations`.")
    _refuse_rows(engine, foreign, f"`{name}` gives rows that are not in `observations`:", "Start FROM observations.")


def _refuse_rows(engine: Engine, sql: str, what: str, remedy: str) -> None:
    count = int(engine.scalar(f"SELECT count(*) FROM ({sql})"))
    if count:
        example = engine.table(f"{sql} ORDER BY ALL LIMIT 1").to_pylist()[0]
        named = ", ".join(f"{column} `{value}`" for column, value in example.items())
        raise FeaturesQueryWrong(
            f"{what} {count} observations, such as {named}. Expected exactly one row per observation. {remedy}"
        )


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_dictionary)
    return any(is_one(kind) for is_one in texts)


def _is_numeric(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)

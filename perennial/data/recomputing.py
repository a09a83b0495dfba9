"""Features of requests by the ordinary path, as in training, from what the online service knew when it answered.

It cuts nothing off the history and looks nothing up, so it also shows a history that is declared too short.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from perennial.data.engine import Engine, quote
from perennial.data.features import compute_features
from perennial.data.leakage import RELATIVE_TOLERANCE
from perennial.data.online import in_rounds, request_times
from perennial.data.queries import QueryLost, Reference, load_query
from perennial.data.query_parts import OBSERVATIONS
from perennial.data.views import open_views
from perennial.records import Accepted
from perennial.use_case import UseCase
from perennial.workspace import Workspace


def recomputed(ws: Workspace, reference: Reference, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the features of some rows, in their order.

    Args:
        ws: Whose lake.
        reference: What the online features rested on; deliveries that were replaced since count as they were then.
        rows: Declared columns of the entity's source by name; absent ones are missing.

    Raises:
        QueryLost: The query or a delivery is not known here.
        MissingPartition: The lake does not have a delivery any more.
        FeaturesQueryWrong: The query does not give one row per given row.
    """
    sql = load_query(ws, reference.query)
    deliveries = _deliveries(ws, reference)
    with Engine(ws.settings) as engine:
        open_views(engine, ws, reference.moment, deliveries=deliveries)
        return features_of(engine, ws.use_case, rows, sql)


def features_of(
    engine: Engine, use_case: UseCase, rows: Sequence[Mapping[str, Any]], sql: str | None = None
) -> list[dict[str, Any]]:
    """Return the features of some rows, in their order, as if they were all that was observed.

    Args:
        engine: Where the views are open; `observations` is another one afterwards.
        use_case: Whose.
        rows: Declared columns of the entity's source by name; absent ones are missing.
        sql: The query, by default the present one of the use case's folder.

    Raises:
        FeaturesQueryWrong: See `compute_features`.
    """
    found: list[dict[str, Any]] = [{}] * len(rows)
    types = engine.types(f"SELECT * FROM {OBSERVATIONS}")
    for places in in_rounds([_key(use_case, row) for row in rows]):
        _observe(engine, use_case, types, [rows[place] for place in places])
        columns = compute_features(engine, use_case, sql)
        by_key = {_key(use_case, one): one for one in engine.table("SELECT * FROM computed_features").to_pylist()}
        for place in places:
            one = by_key[_key(use_case, rows[place])]
            found[place] = {name: one[name] for name in columns.all}
    return found


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Name the features of which two rows do not have the same: numbers to a relative 1e-9, missing with missing."""
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other or not _is_same(one[name], other[name]):
            yield name


def _is_same(one: object, other: object) -> bool:
    """What is not finite is missing: to every model, and in the JSON of the log."""
    one, other = _known(one), _known(other)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE)
    return one == other


def _known(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _deliveries(ws: Workspace, reference: Reference) -> list[Accepted]:
    known = {f"{one.source}/{one.partition}": one for one in ws.state().accepted}
    lost = [one for one in reference.deliveries if one not in known]
    if lost:
        raise QueryLost(f"The journal of `{ws.use_case.slug}` knows no delivery `{lost[0]}`, on which features rest.")
    return [known[one] for one in reference.deliveries]


def _key(use_case: UseCase, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in use_case.key)


def _observe(engine: Engine, use_case: UseCase, types: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Let the requests stand where the entity's rows of a period do."""
    given = [{**row, **request_times(use_case, row)} for row in rows]
    columns = {name: pa.array([one.get(name) for one in given]) for name in types}
    engine.arrow("asked_rows", pa.table(columns))
    listed = ", ".join(f"CAST({quote(name)} AS {kind}) AS {quote(name)}" for name, kind in types.items())
    engine.view(OBSERVATIONS, f"SELECT {listed} FROM asked_rows")

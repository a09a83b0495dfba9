"""Features of requests by the ordinary path, as in training, from what the online service knew when it answered.

It cuts nothing off the history and looks nothing up, so it also shows a history that is declared too short.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from perennial.data.engine import Engine, quote
from perennial.data.features import compute_features
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
    found: list[dict[str, Any]] = [{}] * len(rows)
    with Engine(ws.settings) as engine:
        open_views(engine, ws, reference.moment, deliveries=deliveries)
        types = engine.types(f"SELECT * FROM {OBSERVATIONS}")
        for places in in_rounds([_key(ws.use_case, row) for row in rows]):
            _observe(engine, ws.use_case, types, [rows[place] for place in places])
            columns = compute_features(engine, ws.use_case, sql)
            by_key = {
                _key(ws.use_case, one): one for one in engine.table("SELECT * FROM computed_features").to_pylist()
            }
            for place in places:
                one = by_key[_key(ws.use_case, rows[place])]
                found[place] = {name: one[name] for name in columns.all}
    return found


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

"""The views of a use case at a moment: what a computation at `as_of` may see, and nothing after it.

It names files and conditions; the features query decides what to make of them.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from perennial.data import lake
from perennial.data.engine import Engine, parquet, quote, quote_time
from perennial.periods import Period, Window
from perennial.records import Accepted
from perennial.source_spec import Source
from perennial.state import State
from perennial.use_case import UseCase
from perennial.workspace import Workspace

_TYPES = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}
_TIMES = {"event_time": _TYPES["timestamp"], "known_at": _TYPES["timestamp"]}
NEWEST_LABEL = "arg_max(label, {'known_at': known_at, 'label': label})"
"""SQL of the label that counts among those of one key in the view `labels`: of those that became known last the
greatest, since the order in which the engine meets them depends on its threads."""


def known_deliveries(state: State, as_of: datetime) -> list[Accepted]:
    """Return the newest delivery of each source and period that could be known, by source and period.

    The first accepted revision always counts, since its rows say themselves when they became known: a backfill
    of last year then shows last year as it was. A later one counts from the moment it was accepted.
    """
    known: dict[tuple[str, str], Accepted] = {}
    for one in state.accepted:
        place = (one.source, one.period)
        before = known.get(place)
        newer = before is None or (one.revision >= before.revision and state.accepted_at[one.partition] <= as_of)
        if newer:
            known[place] = one
    return [known[place] for place in sorted(known)]


def deliveries_before(ws: Workspace, state: State, end: datetime, as_of: datetime) -> list[Accepted]:
    """Return the deliveries known at `as_of` whose period begins before `end`, reference tables among them.

    A later one of the entity that brings rows of earlier periods counts too, from `State.late_from` on: until then
    nobody could know of them, and what was computed without them stays as it was.
    """
    references = {name for name, source in ws.use_case.sources.items() if source.is_reference}

    def begins_before(one: Accepted) -> bool:
        return one.source in references or Period.parse(one.period).start < end

    def brings_late_rows(one: Accepted) -> bool:
        is_late = one.source == ws.use_case.entity and one.oldest is not None and one.oldest < end
        return is_late and state.late_from[one.partition] <= as_of

    return [one for one in known_deliveries(state, as_of) if begins_before(one) or brings_late_rows(one)]


def open_views(
    engine: Engine,
    ws: Workspace,
    as_of: datetime,
    window: Window | None = None,
    state: State | None = None,
    deliveries: Sequence[Accepted] | None = None,
) -> None:
    """Create one view per source, `labels` and `observations`, as they looked at a moment.

    Rows of the entity count as known when they happen at the latest, because a prediction is asked for then.

    Args:
        engine: Where the views are created.
        ws: Whose lake.
        as_of: Only rows with `known_at` up to here are seen.
        window: Event times of `observations`; by default all.
        state: The journal's state, if it is at hand.
        deliveries: What to see instead of the newest deliveries known at `as_of`.
    """
    seen = known_deliveries(state or ws.state(), as_of) if deliveries is None else deliveries
    use_case = ws.use_case
    for name, source in use_case.sources.items():
        rows = _rows(ws, name, seen)
        engine.view(name, _source_sql(use_case, name, source, rows, as_of))
    engine.view("labels", _labels_sql(use_case, _rows(ws, use_case.label.source, seen), as_of))
    engine.view("observations", _observations_sql(use_case, window))


def hidden_columns(use_case: UseCase) -> frozenset[str]:
    """Return the columns of the entity's source that the label is made of, which no feature may see as they are."""
    label = use_case.label
    if label.source != use_case.entity:
        return frozenset()
    text = re.sub(r"'[^']*'", "", label.value)
    seen = {*use_case.key, use_case.event_time, *_TIMES}
    columns = [one for one in use_case.sources[label.source].columns if one not in seen]
    return frozenset(one for one in columns if one == label.known_at or _names(text, one))


def _names(sql: str, column: str) -> bool:
    """Say whether an expression names a column, quoted or not, in upper or lower case, as SQL does."""
    return re.search(rf"(?<!\w){re.escape(column)}(?!\w)", sql, re.IGNORECASE) is not None


def _source_sql(use_case: UseCase, name: str, source: Source, rows: str, as_of: datetime) -> str:
    hidden = hidden_columns(use_case) if name == use_case.entity else frozenset()
    listed = [quote(column) for column in source.columns if column not in hidden and column not in _TIMES]
    known_at = "least(known_at, event_time)" if name == use_case.entity else "known_at"
    rows = f"(SELECT {', '.join(listed)}, event_time, {known_at} AS known_at FROM {rows})"
    return f"SELECT * FROM {rows}" + ("" if source.is_reference else f" WHERE known_at <= {quote_time(as_of)}")


def _observations_sql(use_case: UseCase, window: Window | None) -> str:
    within = f"event_time >= {quote_time(window.start)} AND event_time < {quote_time(window.end)}" if window else "TRUE"
    return f"SELECT * FROM {quote(use_case.entity)} WHERE {within}"


def _labels_sql(use_case: UseCase, rows: str, as_of: datetime) -> str:
    """A label is known once its row is, and not before the declared column and delay say so."""
    label = use_case.label
    stated = quote(label.known_at) if label.known_at else "known_at"
    known_at = f"greatest(known_at, {stated} + {_interval(label.known_after)})"
    key = ", ".join(quote(column) for column in use_case.key)
    inner = (
        f"SELECT {key}, event_time, CAST(({label.value}) AS DOUBLE) AS label, "
        f"CASE WHEN {stated} IS NULL THEN NULL ELSE {known_at} END AS known_at FROM {rows}"
    )
    return f"SELECT * FROM ({inner}) WHERE label IS NOT NULL AND known_at <= {quote_time(as_of)}"


def _rows(ws: Workspace, source: str, deliveries: Sequence[Accepted]) -> str:
    partitions = [one.partition for one in deliveries if one.source == source and one.accepted]
    if partitions:
        return parquet(lake.files(ws, f"raw_{source}", "delivery", partitions))
    declared = {name: _TYPES[column.type] for name, column in ws.use_case.sources[source].columns.items()}
    empty = ", ".join(f"CAST(NULL AS {kind}) AS {quote(name)}" for name, kind in (declared | _TIMES).items())
    return f"(SELECT {empty} WHERE FALSE)"


def _interval(span: timedelta) -> str:
    return f"INTERVAL '{int(span.total_seconds())} seconds'"

"""When the newest row of each source became known, and how far back that lies for what a query reads.

It looks into open views and at what was delivered; it judges no age.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from perennial.data.engine import Engine, quote, quote_text
from perennial.data.query_parts import tables_of
from perennial.periods import Period
from perennial.records import Accepted
from perennial.use_case import UseCase

_LABELS = "labels"


def newest_rows(engine: Engine, use_case: UseCase) -> dict[str, datetime]:
    """Return when the newest row of `labels` and of each source with times became known, for those that have rows."""
    views = [_LABELS, *(name for name, one in use_case.sources.items() if not one.is_reference)]
    each = (f"SELECT {quote_text(one)}, max(known_at) FROM {quote(one)}" for one in views)
    return {name: at.astimezone(UTC) for name, at in engine.rows(" UNION ALL ".join(each)) if at}


def furthest_back(
    engine: Engine,
    use_case: UseCase,
    query: str,
    newest: Mapping[str, datetime],
    deliveries: Iterable[Accepted],
    as_of: datetime,
) -> datetime | None:
    """Return the newest row of that source which lies back furthest, of those that a features query reads.

    A delivery without rows tells as much as a row at the end of its period: nothing happened until then. What never
    had a row is left out, since training had none of it either.

    Args:
        engine: Parses the query.
        use_case: Whose.
        query: One SELECT.
        newest: What `newest_rows` gave.
        deliveries: What the views show.
        as_of: The moment that they show.

    Returns:
        `None` for a query that reads nothing but its observations and reference tables.
    """
    told = dict(newest)
    for name, end in _silences(use_case, deliveries):
        if name in told and end <= as_of:
            told[name] = max(told[name], end)
    read = {*tables_of(engine.tree(query))}
    return min((at for name, at in told.items() if name.lower() in read), default=None)


def _silences(use_case: UseCase, deliveries: Iterable[Accepted]) -> Iterator[tuple[str, datetime]]:
    """Name views with the moment up to which an empty delivery tells that nothing has become known."""
    label = use_case.label
    for one in deliveries:
        source = use_case.sources.get(one.source)
        if source and not source.is_reference and not one.rows:
            end = Period.parse(one.period).end
            yield one.source, end + (timedelta() if one.source == use_case.entity else source.known_after)
            if one.source == label.source:
                yield _LABELS, end + source.known_after + label.known_after

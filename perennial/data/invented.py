"""Rows that nobody delivered, from a declaration alone: enough of them for a query that mixes rows to show it.

They keep to declared values and ranges, and make no sense beyond that.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from perennial.source_spec import Column
from perennial.use_case import UseCase

_NOON = datetime(2000, 1, 1, 12, tzinfo=UTC)
_STEP = timedelta(hours=1)
_EXACT = 2.0**53
"""Whole numbers beyond it are not all there in a double."""


def invented_rows(use_case: UseCase) -> list[dict[str, Any]]:
    """Return rows of the entity's source; each is as the first but for one column of the key and at most one other.

    So whatever rows are brought together by, short of the key, the first has company that differs in what is left.
    """
    columns, key = use_case.sources[use_case.entity].columns, use_case.key
    first = {name: _usual(column) for name, column in columns.items()}
    changed = [first, *(first | {name: one} for name, column in columns.items() for one in _values(column))]
    numbered = (row | {name: _after(first[name], place)} for name in key for place, row in enumerate(changed, 1))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in (first, *numbered):
        found.setdefault(tuple(row[name] for name in key), row)
    return [*found.values()]


def _usual(column: Column) -> Any:
    values = _values(column)
    return values[(len(values) - 1) // 2]


def _values(column: Column) -> list[Any]:
    """Up to three in their order, the usual one in between and not amid them, which would be their mean."""
    match column.type:
        case "string":
            values = sorted(column.values or "abc")
            return [*dict.fromkeys((values[0], values[(len(values) - 1) // 2], values[-1]))]
        case "boolean":
            return [False, True]
        case "timestamp":
            return [_NOON - _STEP, _NOON, _NOON + 2 * _STEP]
        case _:
            return _numbers(column)


def _numbers(column: Column) -> list[float]:
    low, high = column.min, column.max
    low = low if low is not None else 1.0 if high is None else min(1.0, high - 4)
    high = high if high is not None else low + 4
    low, high = (max(-_EXACT, min(one, _EXACT)) for one in (low, high))
    values = [low, low * 0.75 + high * 0.25, high]
    return [*dict.fromkeys(map(int, values) if column.type == "integer" else values)]


def _after(value: Any, place: int) -> Any:
    match value:
        case bool():
            return not value
        case str():
            return f"row {place}"
        case datetime():
            return value + place * _STEP
        case _:
            return value + place

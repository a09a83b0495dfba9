"""What has to change on a server so that it is as the code declares it: a pure comparison of two lists of items."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deployments.item import KINDS, Item

ABSENT = "(absent)"
"""Stands for the value of a field that one side does not have."""


@dataclass(frozen=True)
class Change:
    """One thing to create, update or delete."""

    action: Literal["create", "update", "delete"]
    item: Item
    """As declared; for a deletion, as found."""
    found: Item | None = None
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Of an update: value before and after, by dotted name of the field."""
    why: str = ""
    """Of a deletion: nothing declares it, or it is there twice."""


def plan(declared: Iterable[Item], found: Iterable[Item]) -> list[Change]:
    """Compare what the code declares with what a server has.

    Returns:
        Changes in an order in which they can be made: deletions last and from the other end, so that nothing is
        removed before what depends on it.
    """
    wanted = {(one.kind, one.name): one for one in declared}
    there: dict[tuple[str, str], list[Item]] = {}
    for one in found:
        there.setdefault((one.kind, one.name), []).append(one)
    made = [change for key, one in wanted.items() for change in _of_declared(one, there.get(key, []))]
    orphans = [
        Change("delete", one, one, why="not declared") for key in there.keys() - wanted.keys() for one in there[key]
    ]
    return sorted([*made, *orphans], key=_order)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two items' fields, value before and after by dotted name."""
    old, new = dict(_flat(before)), dict(_flat(after))
    names = [*new, *(name for name in old if name not in new)]
    pairs = {name: (old.get(name, ABSENT), new.get(name, ABSENT)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _of_declared(item: Item, found: list[Item]) -> Iterator[Change]:
    if not found:
        yield Change("create", item)
        return
    kept = next((one for one in found if one.fields == item.fields), found[0])
    fields = differences(kept.fields, item.fields)
    if fields:
        yield Change("update", item, kept, fields)
    yield from (Change("delete", one, one, why="there twice") for one in found if one is not kept)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from _flat(one, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _order(change: Change) -> tuple[bool, int, str]:
    place = KINDS.index(change.item.kind)
    is_deletion = change.action == "delete"
    return is_deletion, -place if is_deletion else place, change.item.name

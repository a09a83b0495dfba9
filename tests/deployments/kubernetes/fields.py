"""Who owns which field of an object: server-side apply, as far as manifests like ours need it.

Lists that Kubernetes merges by a key are such trees here, all others are one value. An update by anybody takes what it
changes; an apply may change what others own only by force, and gives up what it does not name any more.
"""

import json
from copy import deepcopy
from typing import Any

Object = dict[str, Any]
Path = tuple[str, ...]
KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "topologySpreadConstraints": "topologyKey",
    "ports": "containerPort",
}
_SKIPPED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"), ("status",)}
_SERVER = {"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"}


class Conflicting(Exception):
    """An apply would change what others own."""

    def __init__(self, fields: dict[Path, str]) -> None:
        """`fields` are the paths with their owners."""
        super().__init__(str(fields))
        self.fields = fields


class Owners:
    """Of the fields of one object."""

    def __init__(self) -> None:
        self.of: dict[str, set[Path]] = {}
        self._appliers: set[str] = set()

    def apply(self, live: Object | None, wanted: Object, manager: str, force: bool) -> Object:
        """Return the object with what a manager wants of it."""
        before, new = leaves(live or {}), leaves(wanted)
        taken = {
            path: other
            for other, paths in self.of.items()
            for path in paths & new.keys()
            if other != manager and before.get(path) != new[path]
        }
        if taken and not force:
            raise Conflicting(taken)
        dropped = self.of.get(manager, set()) - new.keys()
        others = {path for other, paths in self.of.items() if other != manager for path in paths}
        for paths in self.of.values():
            paths -= taken.keys()
        self.of[manager] = set(new)
        self._appliers.add(manager)
        kept = {path: value for path, value in before.items() if path not in dropped - others}
        return _rebuilt(live, wanted, {**kept, **new})

    def update(self, live: Object, changed: Object, manager: str) -> None:
        """Note that somebody changed an object otherwise."""
        before, after = leaves(live), leaves(changed)
        touched = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        for paths in self.of.values():
            paths -= touched
        self.of.setdefault(manager, set()).update(touched & after.keys())

    def told(self) -> list[Object]:
        """Who owns what, as `managedFields` tell it."""
        return [
            {
                "manager": who,
                "operation": "Apply" if who in self._appliers else "Update",
                "fieldsType": "FieldsV1",
                "fieldsV1": _tree(paths),
            }
            for who, paths in self.of.items()
            if paths
        ]


def _tree(paths: set[Path]) -> Object:
    made: Object = {}
    for path in sorted(paths):
        at = made
        for before, word in zip(("", *path), path, strict=False):
            key = json.dumps({KEYS.get(before, ""): word[1:-1]}) if word.startswith("[") else ""
            at = at.setdefault(f"k:{key}" if key else f"f:{word}", {})
    return made


def leaves(one: Object) -> dict[Path, Any]:
    """Return every field that holds a value, by its path."""
    found: dict[Path, Any] = {}
    for key, value in one.items():
        _collect(value, (key,), key, found)
    return {path: value for path, value in found.items() if not _is_skipped(path)}


def _is_skipped(path: Path) -> bool:
    is_servers = path[:1] == ("metadata",) and _SERVER.issuperset(path[1:2])
    return is_servers or path[:1] in _SKIPPED or path[:2] in _SKIPPED


def _collect(value: Any, path: Path, name: str, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _collect(inner, (*path, key), key, found)
    elif (
        isinstance(value, list)
        and (key := KEYS.get(name))
        and all(isinstance(one, dict) and key in one for one in value)
    ):
        for one in value:
            _collect(one, (*path, f"[{one[key]}]"), "", found)
    else:
        found[path] = value


def _rebuilt(live: Object | None, wanted: Object, values: dict[Path, Any]) -> Object:
    made: Object = {name: wanted[name] for name in ("apiVersion", "kind")}
    made["metadata"] = {name: wanted["metadata"][name] for name in ("name", "namespace")}
    for name in _SERVER & (live or {}).get("metadata", {}).keys():
        made["metadata"][name] = (live or {})["metadata"][name]
    for path, value in values.items():
        _put(made, path, value)
    if live and "status" in live:
        made["status"] = deepcopy(live["status"])
    return made


def _put(one: Any, path: Path, value: Any) -> None:
    key, *rest = path
    if key.startswith("["):
        return
    if not rest:
        one[key] = deepcopy(value)
    elif rest[0].startswith("["):
        items, wanted = one.setdefault(key, []), rest[0][1:-1]
        item = next((each for each in items if str(each[KEYS[key]]) == wanted), None)
        if item is None:
            item = {KEYS[key]: int(wanted) if wanted.isdigit() else wanted}
            items.append(item)
        _put(item, tuple(rest[1:]), value)
    else:
        _put(one.setdefault(key, {}), tuple(rest), value)


def replaced(one: Object, operations: list[Object]) -> Object:
    """Return an object with a JSON patch that replaces what is there."""
    made = deepcopy(one)
    for operation in operations:
        assert operation["op"] == "replace"
        *parents, last = operation["path"].strip("/").split("/")
        at = made
        for parent in parents:
            at = at[parent]
        at[last] = deepcopy(operation["value"])
    return made


def merged(one: Any, patch: Any, name: str = "") -> Any:
    """Return an object with a strategic or plain merge patch."""
    if isinstance(patch, dict):
        made = dict(one) if isinstance(one, dict) else {}
        for key, value in patch.items():
            if value is None:
                made.pop(key, None)
            else:
                made[key] = merged(made.get(key), value, key)
        return made
    if isinstance(patch, list) and (key := KEYS.get(name)) and isinstance(one, list):
        made_list = [deepcopy(each) for each in one]
        for item in patch:
            place = next((n for n, each in enumerate(made_list) if each.get(key) == item.get(key)), None)
            if place is None:
                made_list.append(item)
            else:
                made_list[place] = merged(made_list[place], item)
        return made_list
    return deepcopy(patch)

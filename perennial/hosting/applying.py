"""An object becomes in a cluster what it is written as, whatever somebody else made of it; it decides nothing.

A cluster calls it a conflict where somebody changed a field of ours. What was added beside our fields, such as a
container or a variable, it keeps: that shows by who owns which field, and is taken out of pods, which run it.
"""

import json
from collections.abc import Iterator
from typing import Any

from perennial.hosting.cluster import MANAGER, Cluster
from perennial.hosting.errors import FieldConflict
from perennial.hosting.manifests import Object


def apply_whole(cluster: Cluster, one: Object) -> list[str]:
    """Apply an object, and return what somebody else had changed of it or added to its pods.

    The number of pods is an autoscaler's, and what is written on an object without being run may stay.

    Args:
        cluster: Where.
        one: As it is written.
    """
    mended = []
    try:
        made = cluster.apply(one)
    except FieldConflict as conflict:
        made = cluster.apply(one, force=True)
        mended.append(f"{conflict} It is as declared again.")
    if one["kind"] == "Deployment" and (found := added(made)):
        without = cluster.reset_pods(one)
        if without["metadata"]["generation"] != made["metadata"]["generation"]:
            told = "; ".join(f"`{who}` added {what}" for who, what in found)
            mended.append(f"`{one['metadata']['name']}` was changed by somebody else: {told}. It is as declared again.")
    return mended


def added(deployment: Object) -> list[tuple[str, str]]:
    """Return who owns what of a Deployment's pods that is not ours, as the cluster keeps it."""
    owned: list[Object] = deployment["metadata"].get("managedFields", [])
    ours: Object = {}
    for one in owned:
        if (one["manager"], one["operation"]) == (MANAGER, "Apply"):
            ours = _of_pods(one)
    others = [one for one in owned if one["manager"] != MANAGER]
    return [(one["manager"], f"`{what}`") for one in others for what in _beyond(_of_pods(one), ours)]


def _of_pods(entry: Object) -> Object:
    found: Any = entry.get("fieldsV1", {})
    for key in ("f:spec", "f:template", "f:spec"):
        found = found.get(key, {})
    return dict(found)


def _beyond(theirs: Object, ours: Object, place: str = "") -> Iterator[str]:
    for key in sorted(theirs.keys() - {"."}):
        here = f"{place}{_word(key)}".lstrip(".")
        if key in ours:
            yield from _beyond(theirs[key], ours[key], here)
        else:
            yield here


def _word(key: str) -> str:
    """In a cluster's words `f:` is a field, `k:` an item by its key."""
    kind, _, rest = key.partition(":")
    return f"[{', '.join(map(str, json.loads(rest).values()))}]" if kind == "k" else f".{rest}"

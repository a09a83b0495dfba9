"""How the replicas of one Deployment do, from what a cluster says of it and of its pods; pure, it asks nothing.

Only what containers did themselves is FAIL, since it is held against their image for good, and only where none of them
does well: where one does, the others may have a bad node. A registry that is away, a Secret that is not there yet, a
node too few: people and time mend these, so that they are waited for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from perennial.values import Answer

CRASHES = 3
"""Ends of one container from which it is what makes it end."""
LATELY = timedelta(hours=1)
"""A run of a container that began before then and ended says nothing of how it does now."""
_NEVER = "InvalidImageName"
_PULL = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError", "ErrImageNeverPull"}
_DEADLINE = 600
"""Seconds that Kubernetes takes for `progressDeadlineSeconds` where nothing is said."""


@dataclass(frozen=True)
class Condition:
    """PASS: as many as wanted are ready, of the newest template alone. FAIL: none of its containers will do."""

    answer: Answer
    reason: str
    ready: int = 0
    wanted: int = 0


def condition(
    deployment: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: datetime, promised: int = 0
) -> Condition:
    """Say how a Deployment does.

    Args:
        deployment: As the cluster gives it.
        pods: Those of its newest template.
        now: By the clock, for how long something is in trouble already.
        promised: Replicas that must be ready, however few an autoscaler has asked for so far.
    """
    spec, status = deployment["spec"], deployment.get("status", {})
    wanted, ready = max(spec.get("replicas", 1), promised), status.get("availableReplicas", 0)
    patience = timedelta(seconds=spec.get("progressDeadlineSeconds", _DEADLINE))
    trouble = next((one for pod in pods for one in _troubles(pod, now, patience)), None)
    if trouble and not any(_is_ready(pod) for pod in pods):
        return Condition(Answer.FAIL, trouble, ready, wanted)
    has_seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    if has_seen and counts == [wanted] * 3:
        return Condition(Answer.PASS, f"All {wanted} replicas are ready.", ready, wanted)
    why = trouble or next((one for pod in pods for one in _waits(pod)), "") or _hindrance(status)
    return Condition(Answer.INCONCLUSIVE, f"{counts[2]} of {wanted} replicas are ready. {why}".rstrip(), ready, wanted)


def _is_ready(pod: Mapping[str, Any]) -> bool:
    containers = pod.get("status", {}).get("containerStatuses", [])
    return bool(containers) and all(one.get("ready") for one in containers)


def _troubles(pod: Mapping[str, Any], now: datetime, patience: timedelta) -> Iterator[str]:
    name = pod["metadata"]["name"]
    for one in pod.get("status", {}).get("containerStatuses", []):
        if _waiting(one).get("reason") == _NEVER:
            yield f"`{name}` cannot get `{one['image']}`, which is no name of an image."
        elif not one.get("ready"):
            if _crashes(one, now):
                ended = one["lastState"]["terminated"]
                why = f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode', 'unknown')}"
                yield f"`{name}` crashes again and again: {one['restartCount']} times, last {why}"
            if (idle := _idle(pod, one, now)) > patience:
                yield f"`{name}` is never ready: it runs, and was not ready for {idle.total_seconds():.0f} seconds."


def _crashes(container: Mapping[str, Any], now: datetime) -> bool:
    began = ((container.get("lastState") or {}).get("terminated") or {}).get("startedAt")
    is_new = began is not None and now - datetime.fromisoformat(began) < LATELY
    return is_new and container.get("restartCount", 0) >= CRASHES


def _idle(pod: Mapping[str, Any], container: Mapping[str, Any], now: datetime) -> timedelta:
    """How long a container runs without being ready; what does not run is not idle."""
    began = (container.get("state", {}).get("running") or {}).get("startedAt")
    if began is None:
        return timedelta(0)
    conditions = pod["status"].get("conditions", [])
    changed = [
        one["lastTransitionTime"] for one in conditions if one["type"] == "Ready" and "lastTransitionTime" in one
    ]
    return now - max(datetime.fromisoformat(one) for one in (began, *changed))


def _waits(pod: Mapping[str, Any]) -> Iterator[str]:
    name = pod["metadata"]["name"]
    for one in pod.get("status", {}).get("containerStatuses", []):
        waiting = _waiting(one)
        if reason := waiting.get("reason"):
            what = f"cannot get `{one['image']}`" if reason in _PULL else "waits"
            yield f"`{name}` {what} ({reason}): {waiting.get('message', '')}".rstrip(": ")
    for one in pod.get("status", {}).get("conditions", []):
        if one["type"] == "PodScheduled" and one["status"] == "False":
            yield f"`{name}` has no node: {one.get('message', '')}"


def _hindrance(status: Mapping[str, Any]) -> str:
    """Why a Deployment cannot even make pods, such as a quota."""
    failures = (one for one in status.get("conditions", []) if one["type"] == "ReplicaFailure")
    return next((str(one.get("message", "")) for one in failures if one["status"] == "True"), "")


def _waiting(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return container.get("state", {}).get("waiting") or {}

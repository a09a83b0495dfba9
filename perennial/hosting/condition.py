"""How the replicas of one Deployment do, from what a cluster says of it and of its pods; pure, it asks nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from perennial.values import Answer

CRASHES = 3
"""Ends of one container from which it is what makes it end."""
PULLING = timedelta(minutes=2)
"""Time that a registry may be away."""
_NEVER = {"InvalidImageName", "ErrImageNeverPull"}
"""An image that will not come by waiting."""
_PULL = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"}
_START = {"CreateContainerError", "CreateContainerConfigError", "RunContainerError"}
"""Such as a Secret that is not there: people may bring it."""


@dataclass(frozen=True)
class Condition:
    """PASS: as many as wanted are ready, of the newest template alone. FAIL: waiting will not make it so."""

    answer: Answer
    reason: str
    ready: int = 0
    wanted: int = 0


def condition(deployment: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: datetime) -> Condition:
    """Say how a Deployment does.

    Args:
        deployment: As the cluster gives it.
        pods: Those of its newest template.
        now: By the clock, for how long something is in trouble already.
    """
    spec, status = deployment["spec"], deployment.get("status", {})
    wanted, ready = spec.get("replicas", 1), status.get("availableReplicas", 0)
    trouble = next((one for pod in pods for one in _troubles(pod, now)), None) or _no_progress(status)
    if trouble:
        return Condition(Answer.FAIL, trouble, ready, wanted)
    has_seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    if has_seen and counts == [wanted] * 3:
        return Condition(Answer.PASS, f"All {wanted} replicas are ready.", ready, wanted)
    why = next((one for pod in pods for one in _waits(pod)), "")
    return Condition(Answer.INCONCLUSIVE, f"{counts[2]} of {wanted} replicas are ready. {why}".rstrip(), ready, wanted)


def _no_progress(status: Mapping[str, Any]) -> str | None:
    for one in status.get("conditions", []):
        if one["type"] == "Progressing" and one["status"] == "False":
            return f"Never ready: {one.get('message') or one.get('reason')}"
    return None


def _troubles(pod: Mapping[str, Any], now: datetime) -> Iterator[str]:
    name, age = pod["metadata"]["name"], _age(pod, now)
    for one in pod.get("status", {}).get("containerStatuses", []):
        waiting = one.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _NEVER or (reason in _PULL and age > PULLING):
            yield f"`{name}` cannot get `{one['image']}` ({reason}): {message}".rstrip(": ")
        if reason in _START and age > PULLING:
            yield f"`{name}` cannot start ({reason}): {message}".rstrip(": ")
        if one.get("restartCount", 0) >= CRASHES and not one.get("ready"):
            ended = (one.get("lastState") or {}).get("terminated") or {}
            why = f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode', 'unknown')}"
            yield f"`{name}` crashes again and again: {one['restartCount']} times, last {why}"


def _waits(pod: Mapping[str, Any]) -> Iterator[str]:
    name = pod["metadata"]["name"]
    for one in pod.get("status", {}).get("containerStatuses", []):
        if reason := (one.get("state", {}).get("waiting") or {}).get("reason"):
            yield f"`{name}` waits: {reason}."
    for one in pod.get("status", {}).get("conditions", []):
        if one["type"] == "PodScheduled" and one["status"] == "False":
            yield f"`{name}` has no node: {one.get('message', '')}"


def _age(pod: Mapping[str, Any], now: datetime) -> timedelta:
    return now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])

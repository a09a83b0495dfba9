"""What a cluster does with Deployments: pods that get ready at once, slowly or never, as the name of their image says.

`unpullable`, `keyless`, `crashing` and `never-ready` in an image's name make it so; anything else gets ready.
"""

import hashlib
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from tests.deployments.kubernetes.emulation import Api, Object

WHO = "kube-controller-manager"


class Controller:
    """Looks at everything again and again, and takes one step with each thing."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._born: dict[str, float] = {}
        self._ends: dict[str, float] = {}

    def turn(self) -> None:
        """Take one step with every Deployment."""
        with self._api.changed:
            places = [place for place in self._api.objects if place[0] == "deployments"]
            for place in places:
                self._deploy(self._api.objects[place])
            scalers = [one for place, one in self._api.objects.items() if place[0] == "horizontalpodautoscalers"]
            for one in scalers:
                self._scale(one)
            self._sweep({one[2] for one in places})
            self._bury()

    def _scale(self, scaler: Object) -> None:
        space, target = scaler["metadata"]["namespace"], scaler["spec"]["scaleTargetRef"]["name"]
        found = self._api.objects.get(("deployments", space, target))
        if found and found["spec"]["replicas"] < scaler["spec"]["minReplicas"]:
            change = {"spec": {"replicas": scaler["spec"]["minReplicas"]}}
            self._api.patch("deployments", target, change, WHO, space)

    def _deploy(self, one: Object) -> None:
        spec, name, space = one["spec"], one["metadata"]["name"], one["metadata"]["namespace"]
        wanted, digest = spec["replicas"], _digest(spec["template"])
        pods = self._pods(name, space)
        new = [pod for pod in pods if pod["metadata"]["labels"]["pod-template-hash"] == digest]
        old = sorted((pod for pod in pods if pod not in new), key=is_ready)
        for pod in new:
            self._live(pod)
        if len(new) < wanted and len(pods) <= wanted:
            self._create(one, digest)
        elif len(new) > wanted:
            self._delete(new[-1])
        elif old and (not is_ready(old[0]) or sum(map(is_ready, pods)) > wanted):
            self._delete(old[0])
        self._tell(one, digest)

    def _tell(self, one: Object, digest: str) -> None:
        name, space = one["metadata"]["name"], one["metadata"]["namespace"]
        pods = self._pods(name, space)
        new = [pod for pod in pods if pod["metadata"]["labels"]["pod-template-hash"] == digest]
        status: Object = {
            "observedGeneration": one["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(new),
            "availableReplicas": sum(map(is_ready, pods)),
        }
        self._api.patch("deployments", name, {"status": status}, "", space)

    def _pods(self, owner: str, space: str) -> list[Object]:
        found = [one for place, one in self._api.objects.items() if place[:2] == ("pods", space)]
        own = [one for one in found if one["metadata"].get("ownerReferences", [{}])[0].get("name") == owner]
        return [one for one in own if "deletionTimestamp" not in one["metadata"]]

    def _create(self, one: Object, digest: str) -> None:
        template, meta = one["spec"]["template"], one["metadata"]
        name = f"{meta['name']}-{digest}-"[:58] + uuid.uuid4().hex[:5]
        labels = {**template["metadata"]["labels"], "pod-template-hash": digest}
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"], "uid": meta["uid"]}
        pod = {"metadata": {"labels": labels, "ownerReferences": [owner]}, "spec": template["spec"]}
        self._born[name] = monotonic()
        self._api.put(("pods", meta["namespace"], name), {**pod, "status": {"phase": "Pending"}}, WHO)

    def _delete(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        if name not in self._ends:
            self._ends[name] = monotonic() + self._api.grace
            ending = {"metadata": {"deletionTimestamp": f"{datetime.now(UTC):%FT%TZ}"}}
            self._api.patch("pods", name, ending, "", pod["metadata"]["namespace"])

    def _bury(self) -> None:
        """Remove what has ended."""
        for kind, space, name in list(self._api.objects):
            if kind == "pods" and monotonic() >= self._ends.get(name, float("inf")):
                self._api.delete((kind, space, name))

    def _sweep(self, deployments: set[str]) -> None:
        for place, one in list(self._api.objects.items()):
            owners = one["metadata"].get("ownerReferences", [])
            if (
                place[0] == "pods"
                and owners
                and owners[0]["kind"] == "Deployment"
                and owners[0]["name"] not in deployments
            ):
                self._delete(one)

    def _live(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        container = pod["spec"]["containers"][0]
        does = self._api.behaviours.get(container["image"], container["image"])
        status = _status(container, does, monotonic() - self._born[name], pod["metadata"]["creationTimestamp"])
        (before,) = pod["status"].get("conditions") or [{}]
        said = str(status["containerStatuses"][0]["ready"])
        ready = {"type": "Ready", "status": said, "lastTransitionTime": f"{datetime.now(UTC):%FT%TZ}"}
        status["conditions"] = [before if before.get("status") == said else ready]
        self._api.patch("pods", name, {"status": status}, "", pod["metadata"]["namespace"])


def _status(container: Object, does: str, age: float, born: str) -> Object:
    image = container["image"]
    one: Object = {"name": container["name"], "image": image, "ready": False, "restartCount": 0, "state": {}}
    if "unpullable" in does:
        message = f'Back-off pulling image "{image}"'
        one["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
    elif "keyless" in does:
        one["state"] = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "tokens" not found'}}
    elif "crashing" in does:
        one["restartCount"] = min(int(age / 0.2), 9)
        one["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}}
        one["lastState"] = {"terminated": {"reason": "Error", "exitCode": 1, "startedAt": born}}
    else:
        one["state"] = {"running": {"startedAt": born}}
        one["ready"] = "never-ready" not in does and age > (0.6 if "slow" in does else 0.05)
    phase = "Running" if "running" in one["state"] else "Pending"
    return {"phase": phase, "containerStatuses": [one]}


def is_ready(pod: Object) -> bool:
    return any(one["ready"] for one in pod.get("status", {}).get("containerStatuses", []))


def _digest(template: Object) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8]


@contextmanager
def controlling(api: Api) -> Iterator[Any]:
    """Let a controller work on an API."""
    ending, controller = threading.Event(), Controller(api)

    def work() -> None:
        while not ending.wait(0.03):
            controller.turn()

    thread = threading.Thread(target=work, name="controller", daemon=True)
    thread.start()
    try:
        yield controller
    finally:
        ending.set()
        thread.join()

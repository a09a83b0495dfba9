"""The objects of a cluster that keep the promise of a service, from the files of its template; it asks no cluster.

Everything that does not depend on use case, environment or trial is written in the files and nowhere else.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from perennial.hosting.promise import Promise

Object = dict[str, Any]
CANARY = "canary"
HOSTING = "perennial/hosting"
"""Label of a pod: the number of what it runs in the journal."""
_PLACEHOLDER = "use-case"
_BASE = 58
_TRACK, _NAME = "perennial/track", "app.kubernetes.io/name"


@dataclass(frozen=True)
class Track:
    """Replicas that run one image."""

    number: int
    """Of the journal's record of it."""
    promise: Promise


@dataclass(frozen=True)
class Canary:
    """Replicas of an image on trial, beside the others."""

    track: Track
    share: float
    """Of the requests."""
    beside: int
    """Replicas that run the other image."""
    ready: int = 0
    """Replicas of its own that answer by now."""

    @property
    def weight(self) -> int:
        """Of a hundred requests that a gateway sends it: none before it answers, less while some of it do not."""
        return round(100 * self.share * min(1.0, self.ready / self.replicas(is_weighed=True)))

    def replicas(self, is_weighed: bool) -> int:
        """Return how many there should be: without a gateway the share is that of the pods, as near as it gets."""
        wanted = ceil(self.beside * self.share) if is_weighed else _beside(self.beside, self.share)
        return max(1, min(wanted, max(self.beside, 1)))


def read_template(folder: Path) -> list[Object]:
    """Read the objects of one service, as they are written for a use case named `use-case`."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    return [one for name in listed for one in yaml.safe_load_all((folder / name).read_text(encoding="utf-8"))]


def service_objects(
    template: Sequence[Object],
    stable: Track,
    canary: Canary | None,
    namespace: str,
    gateway: str = "",
    domain: str = "",
) -> list[Object]:
    """Return what a cluster should have of a service.

    Args:
        template: The files' objects.
        stable: What runs.
        canary: What is on trial beside it.
        namespace: Of the environment.
        gateway: `namespace/name` of a Gateway that sends requests by weight; without one the pods' number decides.
        domain: Below which the gateway knows the service by its slug; empty for the namespace.
    """
    promise = stable.promise
    objects = [_named(one, promise.slug, namespace) for one in template]
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    (service,) = (one for one in objects if one["kind"] == "Service")
    if canary:
        objects.append(_canary(deployment, canary, bool(gateway)))
    _fill(deployment, stable)
    for one in objects:
        if one["kind"] == "HorizontalPodAutoscaler":
            _scale(one["spec"], promise, canary)
    return objects + (_weighed(service, canary, gateway, domain or namespace) if gateway else [])


def canary_name(slug: str) -> str:
    """Return the name of what belongs to a canary."""
    return f"{slug}-{CANARY}"


def canary_pods(slug: str) -> str:
    """Return how the names of a canary's pods begin, of which Kubernetes keeps 58 characters before its own five.

    So of a slug of 53 characters it is `-cana`; no other pod is called so, as what follows the slug there is a hash
    that Kubernetes writes without vowels.
    """
    return f"{canary_name(slug)}-"[:_BASE]


def leftovers(slug: str, objects: Sequence[Object]) -> list[tuple[str, str]]:
    """Return kind and name of what a service may have had in another phase and should have no more."""
    present = {(one["kind"], one["metadata"]["name"]) for one in objects}
    kinds = ("HTTPRoute", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Deployment")
    beside = [("Service", f"{slug}-stable"), ("Service", canary_name(slug)), ("Deployment", canary_name(slug))]
    return [one for one in [*((kind, slug) for kind in kinds), *beside] if one not in present]


def labels_of(slug: str) -> dict[str, str]:
    """Return the labels that everything of a service has, and nothing else."""
    return {_NAME: slug, "app.kubernetes.io/part-of": "perennial"}


def _named(one: Object, slug: str, namespace: str) -> Object:
    """Put a slug in the place of `use-case`, in every name, label and argument."""

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: put(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [put(inner) for inner in value]
        return slug if value == _PLACEHOLDER else value

    named: Object = put(deepcopy(one))
    named["metadata"]["namespace"] = namespace
    return named


def _fill(deployment: Object, track: Track) -> None:
    template = deployment["spec"]["template"]
    template["metadata"]["labels"][HOSTING] = str(track.number)
    (container,) = template["spec"]["containers"]
    container["image"] = track.promise.image
    container["args"] = list(track.promise.arguments)
    told = [{"name": name, "value": value} for name, value in sorted(track.promise.told.items())]
    own = {one["name"] for one in told}
    container["env"] = [*told, *(one for one in container["env"] if one["name"] not in own)]


def _scale(spec: Object, promise: Promise, canary: Canary | None) -> None:
    """Bound an autoscaler; beside a canary it takes nothing away, as all requests come back at the end of the trial."""
    spec["maxReplicas"] = max(spec["maxReplicas"], 4 * promise.replicas)
    least = max(spec["minReplicas"], promise.replicas, canary.beside if canary else 0)
    spec["minReplicas"] = min(least, spec["maxReplicas"])


def _canary(deployment: Object, canary: Canary, is_weighed: bool) -> Object:
    made = deepcopy(deployment)
    made["metadata"]["name"] = canary_name(canary.track.promise.slug)
    spec = made["spec"]
    for labels in (made["metadata"]["labels"], spec["template"]["metadata"]["labels"], spec["selector"]["matchLabels"]):
        labels[_TRACK] = CANARY
    spec["replicas"] = canary.replicas(is_weighed)
    _fill(made, canary.track)
    return made


def _weighed(service: Object, canary: Canary | None, gateway: str, domain: str) -> list[Object]:
    slug, space = service["metadata"]["name"], service["metadata"]["namespace"]
    tracks = {"stable": 100} if canary is None else {"stable": 100 - canary.weight, CANARY: canary.weight}
    services, backends = [], []
    for track, weight in tracks.items():
        own = deepcopy(service)
        own["metadata"]["name"] = f"{slug}-{track}"
        own["spec"]["selector"][_TRACK] = track
        services.append(own)
        backends.append({"name": f"{slug}-{track}", "port": service["spec"]["ports"][0]["port"], "weight": weight})
    where, _, name = gateway.rpartition("/")
    route: Object = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": slug, "namespace": space, "labels": dict(service["metadata"]["labels"])},
        "spec": {
            "parentRefs": [{"name": name, **({"namespace": where} if where else {})}],
            "hostnames": [f"{slug}.{domain}"],
            "rules": [{"backendRefs": backends}],
        },
    }
    return [*services, route]


def _beside(others: int, share: float) -> int:
    """So many pods that theirs is the share of all, where that is possible."""
    return others if share >= 1 else round(others * share / (1 - share))

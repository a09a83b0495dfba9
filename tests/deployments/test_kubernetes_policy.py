"""All that is made in a cluster fits its schemas and keeps the policies, and each policy refuses what breaks it."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import kubernetes_validate
import pytest
from prefect.client.schemas.objects import FlowRun

from tests.deployments.kubernetes import policies, rendering
from tests.deployments.kubernetes.policies import POLICIES, Object, Policy, of_kind
from tests.deployments.kubernetes.rendering import built
from tests.deployments.test_work_pools import configured

GUIDE = Path(__file__).parents[2] / "docs" / "install-kubernetes.md"
VERSIONS = ("1.35", "1.36", "1.37")


def service() -> list[Object]:
    """The online service as its files say, with an image put in."""
    objects = built("serving")
    container(objects, "use-case")["image"] = "registry.example.org/perennial-serving@sha256:" + 64 * "0"
    return objects


def job() -> list[Object]:
    """The Job that a worker sends of a flow run."""
    made = configured("kubernetes", image="registry.example.org/perennial-flows@sha256:" + 64 * "0")
    deployment = SimpleNamespace(id=uuid4(), name="test", updated=None, job_variables={})
    made.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="some-run"), deployment)
    return [made.job_manifest]


SOURCES: dict[str, Callable[[], list[Object]]] = {
    "test": lambda: built("overlays/test"),
    "prod": lambda: built("overlays/prod"),
    "service": service,
    "job": job,
}


def container(objects: list[Object], deployment: str) -> Object:
    (found,) = (one for one in of_kind(objects, "Deployment") if one["metadata"]["name"] == deployment)
    first: Object = found["spec"]["template"]["spec"]["containers"][0]
    return first


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_object_fits_the_schema(source: str, version: str) -> None:
    for one in SOURCES[source]():
        kubernetes_validate.validate(one, version, strict=True)


def test_a_misspelled_field_does_not_fit() -> None:
    (one,) = of_kind(service(), "Deployment")
    one["spec"]["minReadySecond"] = 5
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one, VERSIONS[0], strict=True)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("source", SOURCES)
def test_the_policies_are_kept(source: str, policy: Policy) -> None:
    assert policy(SOURCES[source]()) == []


@pytest.mark.parametrize("source", ["prod", "service", "job"])
def test_images_are_pinned_by_digest(source: str) -> None:
    """In `test` a tag may do; it is the same image tomorrow only if nobody moves it."""
    assert policies.images_are_pinned(SOURCES[source]()) == []


def test_the_secrets_are_those_of_the_guide() -> None:
    guide = keys_of_secrets()
    asked = {*secrets_of(built("base")), *secrets_of(service())}
    assert {name for name, _ in asked} == set(guide)
    assert {(name, key) for name, key in asked if key and key not in guide[name]} == set()


def keys_of_secrets() -> dict[str, set[str]]:
    """What the guide has people put into each Secret."""
    rows = re.findall(r"^ *\| `(perennial-[a-z-]+)` \| ([^|]+) \|", GUIDE.read_text(encoding="utf-8"), re.M)
    return {name: set(re.findall(r"`([^`]+)`", keys)) for name, keys in rows}


def secrets_of(objects: list[Object]) -> set[tuple[str, str]]:
    """Names and keys of the Secrets that pods refer to; the key is empty where all of them are taken."""
    found = set()
    for _, pod, _ in policies.pods(objects):
        (one,) = pod["containers"]
        found |= {(source["secretRef"]["name"], "") for source in one.get("envFrom", []) if "secretRef" in source}
        given = [
            variable["valueFrom"].get("secretKeyRef") for variable in one.get("env", []) if "valueFrom" in variable
        ]
        found |= {(ref["name"], ref["key"]) for ref in given if ref}
        for volume in pod["volumes"]:
            found |= {
                (volume["secret"]["secretName"], item["key"]) for item in volume.get("secret", {}).get("items", [])
            }
    return found


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_kubectl_a_suite_that_others_rely_on_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="Install kubectl"):
        rendering._built.__wrapped__("base")


def put(place: str, value: Any, of: str = "") -> Callable[[list[Object]], None]:
    """A change of a Deployment's pod, at a path such as `securityContext/runAsUser` or `containers/0/image`."""

    def change(objects: list[Object]) -> None:
        found = (one for one in of_kind(objects, "Deployment") if of in ("", one["metadata"]["name"]))
        one: Any = next(found)["spec"]["template"]["spec"]
        *parents, last = place.split("/")
        for parent in parents:
            one = one[int(parent)] if isinstance(one, list) else one[parent]
        if value is None:
            del one[last]
        else:
            one[last] = value

    return change


def of(kind: str, change: Callable[[Object], Any]) -> Callable[[list[Object]], None]:
    """A change of the first object of a kind."""
    return lambda objects: (change(next(of_kind(objects, kind))), None)[1]


def of_spec(kind: str, **changes: Any) -> Callable[[list[Object]], None]:
    return of(kind, lambda one: one["spec"].update(changes))


def adding(one: Object) -> Callable[[list[Object]], None]:
    return lambda objects: objects.append(one)


def removing(kind: str, name: str) -> Callable[[list[Object]], None]:
    def change(objects: list[Object]) -> None:
        objects[:] = [one for one in objects if (one["kind"], one["metadata"]["name"]) != (kind, name)]

    return change


ROLE = {"metadata": {"name": "any", "namespace": "perennial-prod"}}
UNRESTRICTED: Object = {
    "runAsUser": 0,
    "runAsNonRoot": False,
    "seccompProfile": {"type": "Unconfined"},
    "procMount": "Unmasked",
}
"""What a container may say otherwise than its pod."""
HOST_PATH = {"name": "host", "hostPath": {"path": "/"}}
BROKEN: list[tuple[Policy, str, Callable[[list[Object]], None]]] = [
    (policies.pods_are_restricted, "service", put("securityContext/runAsNonRoot", None)),
    (policies.pods_are_restricted, "service", put("securityContext/runAsUser", 0)),
    (policies.pods_are_restricted, "service", put("securityContext/seccompProfile", {"type": "Unconfined"})),
    (policies.pods_are_restricted, "service", put("hostNetwork", True)),
    (policies.pods_are_restricted, "service", put("volumes", [HOST_PATH])),
    (policies.containers_are_restricted, "service", put("containers/0/securityContext/privileged", True)),
    (policies.containers_are_restricted, "service", put("containers/0/securityContext/readOnlyRootFilesystem", None)),
    (policies.containers_are_restricted, "service", put("containers/0/securityContext/capabilities", {"drop": []})),
    (policies.containers_are_restricted, "service", put("containers/0/securityContext/allowPrivilegeEscalation", True)),
    (policies.containers_are_restricted, "service", put("containers/0/volumeMounts/0/mountPath", "/app")),
    (policies.pods_are_restricted, "service", put("securityContext/sysctls", [{"name": "net.core.somaxconn"}])),
    *(
        (policies.containers_are_restricted, "service", put(f"containers/0/securityContext/{field}", value))
        for field, value in UNRESTRICTED.items()
    ),
    (policies.kinds_are_known, "prod", adding({"kind": "CronJob", **ROLE})),
    (policies.kinds_are_known, "prod", adding({"kind": "Pod", **ROLE})),
    (policies.resources_are_bounded, "service", put("containers/0/resources/limits/memory", None)),
    (policies.resources_are_bounded, "service", put("volumes/0/emptyDir", {})),
    (policies.namespaces_enforce_it, "prod", of("Namespace", lambda one: one["metadata"].pop("labels"))),
    (policies.namespaces_enforce_it, "prod", of("Service", lambda one: one["metadata"].update(namespace="default"))),
    (policies.tokens_are_where_they_are_needed, "service", put("automountServiceAccountToken", None)),
    (policies.tokens_are_where_they_are_needed, "service", put("serviceAccountName", "default")),
    (policies.access_is_named, "prod", of("Role", lambda one: one["rules"][0].update(verbs=["*"]))),
    (policies.access_is_named, "prod", of("Role", lambda one: one["rules"][0].update(resources=["secrets"]))),
    (policies.access_is_named, "prod", adding({"kind": "ClusterRole", **ROLE})),
    (policies.access_is_named, "prod", of("RoleBinding", lambda one: one["subjects"][0].update(namespace="other"))),
    (policies.everything_is_probed, "service", put("containers/0/readinessProbe", None)),
    (policies.everything_is_probed, "service", put("containers/0/readinessProbe/httpGet/path", "/livez")),
    (policies.everything_is_probed, "service", put("containers/0/lifecycle", None)),
    *(
        (policies.secrets_are_references, "service", put("containers/0/env", [{"name": secret, "value": "x"}]))
        for secret in ("AWS_SECRET_ACCESS_KEY", "PREFECT_SERVER_ENCRYPTION_KEY", "MLFLOW_FLASK_SERVER_SECRET_KEY")
    ),
    (policies.secrets_are_references, "prod", of("ConfigMap", lambda one: one["data"].update(MLFLOW_PASSWORD="x"))),
    (policies.images_are_fixed, "service", put("containers/0/image", "perennial-serving:latest")),
    (policies.images_are_fixed, "service", put("containers/0/image", "registry:5000/perennial-serving")),
    (policies.images_are_pinned, "service", put("containers/0/image", "registry:5000/perennial-serving:0.1.0")),
    (policies.images_are_pinned, "prod", put("containers/0/image", "registry:5000/flows:1@sha256:0")),
    (policies.references_hold, "service", of("Service", lambda one: one["spec"].update(selector={"app": "other"}))),
    (
        policies.references_hold,
        "service",
        of("HorizontalPodAutoscaler", lambda one: one["spec"]["scaleTargetRef"].update(name="x")),
    ),
    (policies.references_hold, "prod", put("serviceAccountName", "nobody")),
    (policies.references_hold, "prod", removing("ConfigMap", "perennial-environment")),
    (policies.references_hold, "prod", removing("PersistentVolumeClaim", "prefect")),
    (policies.services_stay_inside, "service", of("Service", lambda one: one["spec"].update(type="NodePort"))),
    (policies.replicas_survive_a_node, "service", of_spec("HorizontalPodAutoscaler", minReplicas=1)),
    (policies.replicas_survive_a_node, "service", of_spec("HorizontalPodAutoscaler", maxReplicas=2)),
    (policies.replicas_survive_a_node, "service", of_spec("PodDisruptionBudget", maxUnavailable="100%")),
    (policies.replicas_survive_a_node, "service", removing("PodDisruptionBudget", "use-case")),
    (policies.replicas_survive_a_node, "service", put("topologySpreadConstraints", [])),
    (policies.replicas_survive_a_node, "service", put("topologySpreadConstraints/0/maxSkew", 99)),
    (policies.replicas_survive_a_node, "service", put("topologySpreadConstraints/1/labelSelector/matchLabels", {})),
    (
        policies.replicas_survive_a_node,
        "service",
        put("topologySpreadConstraints/0/labelSelector/matchLabels", {"a": "b"}),
    ),
    (policies.replicas_survive_a_node, "prod", put("topologySpreadConstraints", None, of="worker")),
]


@pytest.mark.parametrize(
    ("policy", "source", "change"), BROKEN, ids=[f"{n}-{one[0].__name__}" for n, one in enumerate(BROKEN)]
)
def test_a_policy_refuses_what_breaks_it(policy: Policy, source: str, change: Callable[[list[Object]], None]) -> None:
    objects = SOURCES[source]()
    change(objects)
    assert policy(objects) != []


def test_every_policy_is_broken_once() -> None:
    assert {policy for policy, _, _ in BROKEN} >= set(POLICIES)

"""What the accounts of worker and deployer may make in a cluster: all that they make, and nothing else that is tried.

Expressions are evaluated by `cel`, a package that reads the language of a cluster's admission;
`.github/workflows/kind.yaml` tries them on a real cluster.
"""

from collections.abc import Callable
from typing import Any

import cel
import kubernetes_validate
import pytest

from perennial.hosting.manifests import Canary, Track, read_template, service_objects
from perennial.hosting.promise import Promise
from tests.deployments.kubernetes.policies import Object, of_kind
from tests.deployments.kubernetes.rendering import FOLDER, built
from tests.deployments.test_kubernetes_policy import VERSIONS, job, service

SPACE = "perennial-test"
PLURALS = {
    "Job": "jobs",
    "Deployment": "deployments",
    "Service": "services",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "HTTPRoute": "httproutes",
}


def policies() -> list[Object]:
    return list(of_kind(built("admission"), "ValidatingAdmissionPolicy"))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema(version: str) -> None:
    for one in built("admission"):
        kubernetes_validate.validate(one, version, strict=True)


def test_every_policy_denies_by_a_binding() -> None:
    bound = {
        one["spec"]["policyName"]: one["spec"]
        for one in of_kind(built("admission"), "ValidatingAdmissionPolicyBinding")
    }
    assert set(bound) == {one["metadata"]["name"] for one in policies()}
    assert all(one == {"policyName": name, "validationActions": ["Deny"]} for name, one in bound.items())
    assert all(one["spec"]["failurePolicy"] == "Fail" for one in policies())


def test_they_look_at_all_that_the_roles_allow_to_make() -> None:
    looked_at = {
        what
        for one in policies()
        for rule in one["spec"]["matchConstraints"]["resourceRules"]
        for what in rule["resources"]
    }
    roles = [rule for one in of_kind(built("base"), "Role") for rule in one["rules"]]
    made = {what for rule in roles if {"create", "patch", "delete"} & set(rule["verbs"]) for what in rule["resources"]}
    assert made == looked_at


def denied(account: str, one: Object, before: Object | None = None, operation: str = "CREATE") -> list[str]:
    """The messages with which a cluster refuses an object."""
    request = {"userInfo": {"username": f"system:serviceaccount:{SPACE}:{account}"}, "namespace": SPACE}
    known = {"request": {**request, "operation": operation}, "object": one, "oldObject": before or {}}
    found = []
    for policy in policies():
        spec = policy["spec"]
        rules = spec["matchConstraints"]["resourceRules"]
        kind = PLURALS[(one or before or {})["kind"]]
        if not any(kind in rule["resources"] and operation in rule["operations"] for rule in rules):
            continue
        if all(cel.evaluate(condition["expression"], known) for condition in spec["matchConditions"]):
            variables = {each["name"]: cel.evaluate(each["expression"], known) for each in spec.get("variables", [])}
            told = {**known, "variables": variables}
            found += [each["message"] for each in spec["validations"] if not _holds(each["expression"], told)]
    return found


def _holds(expression: str, known: dict[str, Any]) -> bool:
    """What cannot be evaluated is refused, as by `failurePolicy: Fail`."""
    try:
        return bool(cel.evaluate(expression, known))
    except (KeyError, RuntimeError, TypeError, ValueError):
        return False


def test_all_that_worker_and_deployer_make_is_let_through() -> None:
    (run,) = job()
    assert denied("perennial-worker", run) == []
    run["spec"]["template"]["metadata"]["labels"]["perennial/service-account"] = "perennial-deploy"
    run["spec"]["template"]["spec"] |= {"serviceAccountName": "perennial-deploy", "automountServiceAccountToken": True}
    assert denied("perennial-worker", run) == []
    promise = Promise("shop-returns", "image:2", {"PERENNIAL_ENV": "test"}, 2)
    track, template = Track(2, promise), read_template(FOLDER / "serving")
    for one in service_objects(template, track, Canary(track, 0.5, 2), SPACE, "gateways/public"):
        assert denied("perennial-deploy", one) == []
        assert denied("perennial-deploy", one, one, "UPDATE") == []
        assert denied("perennial-deploy", {}, one, "DELETE") == []


def pod(**changes: Any) -> Callable[[Object], None]:
    return lambda one: one["spec"]["template"]["spec"].update(changes)


def first(**changes: Any) -> Callable[[Object], None]:
    return lambda one: one["spec"]["template"]["spec"]["containers"][0].update(changes)


def labelled(**labels: str) -> Callable[[Object], None]:
    return lambda one: one["spec"]["template"]["metadata"].update(labels=labels)


SERVER = {"app.kubernetes.io/name": "prefect"}
DATABASE = {"secretRef": {"name": "perennial-prefect"}}
KEY = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "perennial-prefect", "key": "encryption-key"}}}
TOKEN = {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
TRIED: dict[str, Callable[[Object], None]] = {
    "the account of the worker": pod(serviceAccountName="perennial-worker"),
    "the account of nobody": lambda one: one["spec"]["template"]["spec"].pop("serviceAccountName"),
    "a token": pod(automountServiceAccountToken=True),
    "a token by saying nothing": lambda one: one["spec"]["template"]["spec"].pop("automountServiceAccountToken"),
    "a token by a volume": pod(volumes=[TOKEN]),
    "a secret by a volume": pod(volumes=[{"name": "s", "secret": {"secretName": "perennial-prefect"}}]),
    "all of a secret": first(envFrom=[DATABASE]),
    "a key of a secret": first(env=[KEY]),
    "a secret in another container": pod(initContainers=[{"name": "first", "envFrom": [DATABASE]}]),
    "the network of a server": labelled(**{"app.kubernetes.io/component": "prefect"}),
    "the name of a server": lambda one: one["spec"]["template"]["metadata"]["labels"].update(SERVER),
    "no labels": lambda one: one["spec"]["template"].pop("metadata"),
}


@pytest.mark.parametrize("change", TRIED.values(), ids=TRIED)
def test_what_a_run_or_a_service_could_be_told_otherwise_is_refused(change: Callable[[Object], None]) -> None:
    (run,), (serving,) = job(), of_kind(service(), "Deployment")
    for account, one in (("perennial-worker", run), ("perennial-deploy", serving)):
        change(one)
        assert denied(account, one) != []
        assert denied("somebody-else", one) == []


def test_a_run_without_a_token_does_not_pass_for_one_that_deploys() -> None:
    (run,) = job()
    run["spec"]["template"]["metadata"]["labels"]["perennial/service-account"] = "perennial-deploy"
    assert denied("perennial-worker", run) == ["A run has the labels of a run, and of its account."]


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_the_deployer_does_not_touch_the_servers(kind: str) -> None:
    server = next(one for one in of_kind(built("base"), kind) if one["metadata"]["name"] == "prefect")
    own = next(of_kind(service(), kind))
    assert denied("perennial-deploy", {}, server, "DELETE") != []
    assert denied("perennial-deploy", own, server, "UPDATE") != []
    assert denied("perennial-deploy", server) != []


def said(path: str, value: Any) -> Callable[[Object], None]:
    """A change at a path such as `spec/type` or `spec/rules/0/filters`."""

    def change(one: Any) -> None:
        *parents, last = path.split("/")
        for parent in parents:
            one = one[int(parent) if isinstance(one, list) else parent]
        one[last] = value

    return change


PLACES: list[tuple[str, str, Any]] = [
    ("Service", "spec/externalIPs", ["203.0.113.7"]),
    ("Service", "spec/type", "ExternalName"),
    ("Service", "spec/type", "LoadBalancer"),
    ("Service", "spec/selector", SERVER),
    ("Service", "spec", {"ports": [{"port": 8080}]}),
    ("HorizontalPodAutoscaler", "spec/scaleTargetRef/name", "prefect"),
    ("HorizontalPodAutoscaler", "spec/scaleTargetRef/kind", "StatefulSet"),
    ("HTTPRoute", "spec/rules/0/backendRefs/0/name", "prefect"),
    ("HTTPRoute", "spec/rules/0/backendRefs/0/namespace", "perennial-prod"),
    ("HTTPRoute", "spec/rules/0/filters", [{"type": "RequestMirror"}]),
]


@pytest.mark.parametrize(("kind", "path", "value"), PLACES)
def test_nothing_takes_the_place_of_a_server(kind: str, path: str, value: Any) -> None:
    """However well it is labelled."""
    track = Track(1, Promise("shop-returns", "image:1", {}, 2))
    made = service_objects(read_template(FOLDER / "serving"), track, None, SPACE, "gateways/public")
    one = next(of_kind(made, kind))
    assert denied("perennial-deploy", one) == []
    said(path, value)(one)
    assert denied("perennial-deploy", one) != []
    assert denied("perennial-deploy", one, one, "UPDATE") != []
    assert denied("somebody-else", one) == []


def test_an_autoscaler_does_not_have_the_name_of_a_server() -> None:
    (one,) = of_kind(service(), "HorizontalPodAutoscaler")
    one["metadata"]["name"] = one["spec"]["scaleTargetRef"]["name"] = "prefect"
    assert denied("perennial-deploy", one) != []


@pytest.mark.parametrize("name", ["prefect", "mlflow"])
def test_a_server_is_selected_by_the_label_that_admission_holds(name: str) -> None:
    """By its name alone a run or a service that is labelled so would be asked in its place."""
    server = next(one for one in of_kind(built("base"), "Service") if one["metadata"]["name"] == name)
    assert server["spec"]["selector"]["app.kubernetes.io/component"] == name

"""What the accounts of worker and deployer may make in a cluster: all that they make, and nothing else that is tried.

Expressions are evaluated by `cel`, a package that reads the language of a cluster's admission; without it they are only
held against the schemas, and `.github/workflows/kind.yaml` tries them on a real cluster.
"""

from collections.abc import Callable
from typing import Any

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
    cel = pytest.importorskip("cel", reason="the package `common-expression-language` is not installed")
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
            found += [each["message"] for each in spec["validations"] if not _holds(cel, each["expression"], told)]
    return found


def _holds(cel: Any, expression: str, known: dict[str, Any]) -> bool:
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

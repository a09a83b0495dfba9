"""The objects of a service: everything as the files say, but name, image, variables, share and number of replicas."""

from pathlib import Path
from typing import Any

import pytest

from perennial.hosting.manifests import HOSTING, Canary, Object, Track, leftovers, read_template, service_objects
from perennial.hosting.promise import Promise

TEMPLATE = read_template(Path(__file__).parents[3] / "deployments" / "kubernetes" / "serving")
PROMISE = Promise("shop-returns", "image:1", {"PERENNIAL_ENV": "test"}, 3)
NEWER = Promise("shop-returns", "image:2", {"PERENNIAL_ENV": "prod"}, 3)


def objects(canary: Canary | None = None, gateway: str = "", domain: str = "") -> dict[tuple[str, str], Object]:
    found = service_objects(TEMPLATE, Track(1, PROMISE), canary, "perennial-test", gateway, domain)
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def environment(deployment: Object) -> dict[str, Any]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value") for one in container["env"]}


def test_the_placeholder_is_nowhere_left() -> None:
    assert "use-case" not in str(list(objects(Canary(Track(2, NEWER), 0.5, 2), "gateways/public").values()))


def test_the_template_itself_is_not_changed() -> None:
    before = str(TEMPLATE)
    objects(Canary(Track(2, NEWER), 0.5, 2))
    assert str(TEMPLATE) == before


def test_a_canary_is_another_deployment_of_the_same_service() -> None:
    found = objects(Canary(Track(2, NEWER), 0.25, 3))
    stable, canary = found["Deployment", "shop-returns"], found["Deployment", "shop-returns-canary"]
    assert environment(stable)["PERENNIAL_ENV"] == "test"
    assert environment(canary)["PERENNIAL_ENV"] == "prod"
    assert environment(canary)["PERENNIAL_SERVING_IMAGE"] == "image:2"
    chosen = found["Service", "shop-returns"]["spec"]["selector"]
    own = [one["spec"]["selector"]["matchLabels"] for one in (stable, canary)]
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in (stable, canary)]
    assert all(chosen.items() <= one.items() for one in labels)
    assert [one[HOSTING] for one in labels] == ["1", "2"]
    assert own[0].items() <= labels[0].items() and not own[0].items() <= labels[1].items()
    assert "replicas" not in stable["spec"]


@pytest.mark.parametrize(
    ("share", "beside", "pods", "weighed"),
    [
        (0.05, 2, 1, 1),
        (0.25, 3, 1, 1),
        (0.5, 2, 2, 1),
        (0.5, 10, 10, 5),
        (0.25, 12, 4, 3),
        (1.0, 4, 4, 4),
        (0.9, 2, 2, 2),
    ],
)
def test_a_share_in_pods(share: float, beside: int, pods: int, weighed: int) -> None:
    canary = Canary(Track(2, NEWER), share, beside)
    assert (canary.replicas(is_weighed=False), canary.replicas(is_weighed=True)) == (pods, weighed)


def test_a_gateway_weighs() -> None:
    found = objects(Canary(Track(2, NEWER), 0.05, 2, ready=1), "gateways/public")
    route = found["HTTPRoute", "shop-returns"]["spec"]
    (rule,) = route["rules"]
    assert [(one["name"], one["weight"]) for one in rule["backendRefs"]] == [
        ("shop-returns-stable", 95),
        ("shop-returns-canary", 5),
    ]
    assert route["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
    assert found["Service", "shop-returns-canary"]["spec"]["selector"]["perennial/track"] == "canary"


@pytest.mark.parametrize(
    ("domain", "host"),
    [("", "shop-returns.perennial-test"), ("models.example.org", "shop-returns.models.example.org")],
)
def test_a_gateway_knows_a_service_by_its_slug_below_a_domain(domain: str, host: str) -> None:
    assert objects(gateway="public", domain=domain)["HTTPRoute", "shop-returns"]["spec"]["hostnames"] == [host]


@pytest.mark.parametrize(("ready", "weight"), [(0, 0), (1, 12), (2, 25), (4, 50), (9, 50)])
def test_a_gateway_sends_so_much_as_is_ready(ready: int, weight: int) -> None:
    canary = Canary(Track(2, NEWER), 0.5, 8, ready)
    assert (canary.replicas(is_weighed=True), canary.weight) == (4, weight)


@pytest.mark.parametrize(("beside", "least"), [(2, 3), (5, 5), (99, 12)])
def test_beside_a_canary_an_autoscaler_takes_nothing_away(beside: int, least: int) -> None:
    scaler = objects(Canary(Track(2, NEWER), 0.5, beside))["HorizontalPodAutoscaler", "shop-returns"]
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (least, 12)


def test_what_a_phase_leaves_behind_is_known() -> None:
    trying = service_objects(TEMPLATE, Track(1, PROMISE), Canary(Track(2, NEWER), 0.5, 2), "perennial-test", "public")
    assert leftovers("shop-returns", trying) == []
    after = service_objects(TEMPLATE, Track(1, PROMISE), None, "perennial-test", "public")
    assert leftovers("shop-returns", after) == [
        ("Service", "shop-returns-canary"),
        ("Deployment", "shop-returns-canary"),
    ]
    every = {(one["kind"], one["metadata"]["name"]) for one in trying}
    assert set(leftovers("shop-returns", [])) == every

"""Exactly the flows of the guide are let through, at both ends of each, in every environment."""

import re
from collections.abc import Callable
from functools import cache
from ipaddress import ip_network
from typing import Any

import pytest
import yaml

from tests.deployments.kubernetes.network import Flow, allowed_in, allowed_out, everything_is_denied_first
from tests.deployments.kubernetes.policies import Object, of_kind, pods
from tests.deployments.kubernetes.rendering import FOLDER, built
from tests.deployments.test_kubernetes_policy import GUIDE, job, service

PLACES = ("base", "overlays/test", "overlays/prod")
Change = Callable[[list[Object]], Any]


def addresses(place: str) -> dict[str, str]:
    """What stands for the words of the guide that name what is outside; in the base these words do."""
    overlay = place if place != "base" else "overlays/test"
    found: dict[str, str] = yaml.safe_load((FOLDER / overlay / "addresses.yaml").read_text(encoding="utf-8"))["data"]
    return found if place != "base" else {word: word for word in found}


def rows() -> set[Flow]:
    found = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ((?:TCP|UDP) \d+) \|$", GUIDE.read_text(encoding="utf-8"), re.M)
    return {(source.strip(), target.strip(), port) for source, target, port in found}


@cache
def ours() -> set[str]:
    """Who is in the namespace, as its pods are labelled."""
    labels = [one for _, _, one in pods([*built("base"), *service(), *job()])]
    return {"every pod", "perennial-deploy", *(one["app.kubernetes.io/component"] for one in labels)}


def differing(objects: list[Object], place: str) -> set[Flow]:
    """Flows that are let out or in and are not the guide's, or are the guide's and are not."""
    known = addresses(place)
    guide = {(source, known.get(target, target), port) for source, target, port in rows()}
    out = {one for one in guide if one[0] in ours()}
    within = {one for one in guide if one[1] in ours()}
    assert out | within == guide
    return (allowed_out(objects) ^ out) | (allowed_in(objects) ^ within)


@pytest.mark.parametrize("place", PLACES)
def test_the_flows_are_those_of_the_guide(place: str) -> None:
    assert differing(built(place), place) == set()


@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_allowed_is_denied(place: str) -> None:
    assert everything_is_denied_first(built(place)) == []


@pytest.mark.parametrize("place", PLACES[1:])
def test_only_people_may_be_anywhere(place: str) -> None:
    """An overlay names ranges of what its programs use; only a webhook has no address of its own."""
    found = {word: ip_network(one) for word, one in addresses(place).items()}
    assert [word for word, one in found.items() if one.prefixlen == 0 and word != "people"] == []


def test_the_server_that_tells_people_reaches_them() -> None:
    """Its automations send: by HTTPS to a webhook, and by either way of mail that keeps a password to itself."""
    found = {port for source, target, port in allowed_out(built("base")) if (source, target) == ("prefect", "people")}
    assert found == {"TCP 443", "TCP 465", "TCP 587"}


def of(name: str, change: Callable[[Object], Any]) -> Change:
    """A change of what one policy says."""
    return lambda objects: change(
        next(one["spec"] for one in of_kind(objects, "NetworkPolicy") if one["metadata"]["name"] == name)
    )


def both(*changes: Change) -> Change:
    return lambda objects: [one(objects) for one in changes]


CLOSED_IN = [of(name, lambda one: one.pop("ingress")) for name in ("prefect", "mlflow")]
OPEN = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"protocol": "TCP", "port": 443}]}
BROKEN: dict[str, Change] = {
    "servers let nobody in": both(*CLOSED_IN),
    "one server lets nobody in": CLOSED_IN[1],
    "a run is let out to no server": of("run", lambda one: one["egress"].__delitem__(slice(0, 2))),
    "up to the last port": of("serving", lambda one: one["ingress"][0]["ports"][0].update(endPort=65535)),
    "rules of a direction that is not named": of("prefect", lambda one: one.update(policyTypes=["Egress"])),
    "from anybody": of("mlflow", lambda one: one["ingress"][0].pop("from")),
    "from nobody, which is anybody": of("mlflow", lambda one: one["ingress"][0].update({"from": []})),
    "on any port": of("mlflow", lambda one: one["ingress"][0].pop("ports")),
    "to anywhere": of("mlflow", lambda one: one["egress"].__setitem__(1, OPEN)),
    "to every pod": of("worker", lambda one: one["egress"][0].update(to=[{"podSelector": {}}])),
    "to all but one": of("run", lambda one: one["egress"][2]["to"][0]["ipBlock"].update({"except": ["10.0.0.0/8"]})),
    "for every pod": of("run", lambda one: one.update(podSelector={})),
    "for pods by another label": of("run", lambda one: one.update(podSelector={"matchLabels": {"a": "run"}})),
    "for fewer pods": of("run", lambda one: one["podSelector"]["matchLabels"].update(a="b")),
    "for pods by an expression": of(
        "run", lambda one: one["podSelector"].update(matchExpressions=[{"key": "a", "operator": "Exists"}])
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_flow_that_was_opened_or_closed_shows(place: str, change: Change) -> None:
    objects = built(place)
    change(objects)
    assert differing(objects, place) != set()


@pytest.mark.parametrize("place", PLACES)
def test_a_policy_that_is_gone_or_too_much_shows(place: str) -> None:
    policies = list(of_kind(built(place), "NetworkPolicy"))
    for n in range(len(policies)):
        left = policies[:n] + policies[n + 1 :]
        assert everything_is_denied_first(left) or differing(left, place)
    more = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    assert differing([*policies, {"kind": "NetworkPolicy", "spec": more}], place)

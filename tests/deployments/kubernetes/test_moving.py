"""Moving between process, docker and kubernetes is one word of the document: all three keep one promise."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.documents import settings_of
from deployments.desired import declared
from deployments.item import POOL
from deployments.services.launches import serving_launch
from deployments.services.serving_up import _PATIENCE, LIVE, READY
from perennial.hosting.containers import container_service
from perennial.hosting.manifests import Track, read_template, service_objects
from perennial.hosting.promise import REGION, SECRETS, namespace_of, promise_of
from perennial.release.releases import next_release
from perennial.settings import Settings
from perennial.workspace import Workspace
from serving.app import build_app
from serving.replica import Replica
from serving.settings import ServiceSettings
from tests.builders import make_use_case
from tests.deployments.kubernetes.rendering import FOLDER
from tests.deployments.test_kubernetes_policy import keys_of_secrets
from tests.servers import ROOT
from tests.serving.questions import Kept as KeptAnswers

IMAGE = "registry.example.org/perennial-serving@sha256:" + 64 * "b"
TARGETS = ("process", "docker", "kubernetes")
DOCKERFILE, CADDYFILE = ROOT / "Dockerfile", ROOT / "deployments" / "compose" / "Caddyfile"
PLACE, RATE = "PERENNIAL_USE_CASES", "PERENNIAL_SERVING_RATE"


@dataclass(frozen=True)
class Probe:
    """A question that is asked again and again; a process alone is asked by nobody, so that it has no times."""

    path: str
    every: int = 0
    within: int = 0
    """Seconds, as both."""


@dataclass(frozen=True)
class Kept:
    """What a rendered target promises, read back from it."""

    command: tuple[str, ...]
    """Without the address, which is the machine's or the pod's own."""
    variables: dict[str, str]
    secrets: frozenset[str]
    live: Probe
    ready: Probe
    start: int
    """Seconds that it may take to answer at all."""
    replicas: int
    image: str = ""
    memory: int = 0
    user: str = ""
    grace: int = 0
    tries: int = 0
    """Failures in a row after which it counts as dead."""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PERENNIAL_SERVING_TOKENS", "token")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return make_use_case(tmp_path, months=(), changes={"serving": {}})


@pytest.fixture
def released(ws: Workspace) -> str:
    """The image of a release, as the journal has it."""
    pinned = Workspace(ws.use_case, document(ws, "kubernetes", IMAGE))
    ws.journal.append(next_release(pinned, (), "0" * 64, 1, "The first."), datetime.now(UTC), 0)
    champion = ws.state().champion
    assert champion and champion.image
    return champion.image


def document(ws: Workspace, word: str, image: str = IMAGE) -> Settings:
    """The document of an environment with one word in it changed."""
    return settings_of(
        {
            "environment": "test",
            "storage_root": "s3://perennial-test",
            "storage_endpoint": "http://storage:9000",
            "use_cases": ws.settings.use_cases,
            "serving_image": image,
            "serving_replicas": 3,
            "work_pool": word,
        }
    )


def rendered(settings: Settings, ws: Workspace) -> Kept:
    return {"process": of_process, "docker": of_docker, "kubernetes": of_kubernetes}[settings.serves_on](settings, ws)


def of_process(settings: Settings, ws: Workspace) -> Kept:
    launch = serving_launch(settings, ws.use_case, settings.serving_host, 8080, settings.serving_replicas)
    told = {name: value for name, value in launch.environment.items() if name.startswith("PERENNIAL_")}
    secrets = frozenset(one for one in SECRETS if launch.environment.get(one))
    replicas = int(launch.command[launch.command.index("--replicas") + 1])
    return Kept(_command(launch.command), _plain(told), secrets, Probe(LIVE), Probe(READY), _PATIENCE, replicas)


def of_docker(settings: Settings, ws: Workspace) -> Kept:
    found = container_service(read_template(FOLDER / "serving"), promise_of(settings, ws.use_case.slug))
    environment = found["environment"]
    secrets = frozenset(name for name, value in environment.items() if value == f"${{{name}:?}}")
    live = environment["PERENNIAL_HEALTH"].partition(":8080")[2]
    asked = re.search(r"HEALTHCHECK --interval=(\d+)s --timeout=(\d+)s --start-period=(\d+)s", DOCKERFILE.read_text())
    proxied = re.search(r"health_uri (\S+)\s+health_interval (\d+)s\s+health_timeout (\d+)s", CADDYFILE.read_text())
    assert asked and proxied
    return Kept(
        command=_command(("python", "-m", "serving", *found["command"])),
        variables=_plain(environment),
        secrets=secrets,
        live=Probe(live, int(asked[1]), int(asked[2])),
        ready=Probe(proxied[1], int(proxied[2]), int(proxied[3])),  # by the proxy in front; an engine has no readiness
        start=int(asked[3]),
        replicas=found["deploy"]["replicas"],
        image=found["image"],
        memory=_bytes(found["mem_limit"]),
        user=found["user"],
        grace=int(found["stop_grace_period"].rstrip("s")),
        tries=3,  # of Docker, where HEALTHCHECK does not say
    )


def of_kubernetes(settings: Settings, ws: Workspace) -> Kept:
    track = Track(1, promise_of(settings, ws.use_case.slug))
    objects = service_objects(read_template(FOLDER / "serving"), track, None, namespace_of(settings))
    pod = next(one for one in objects if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    scaler = next(one for one in objects if one["kind"] == "HorizontalPodAutoscaler")
    (container,) = pod["containers"]
    referred = {one["name"] for one in container["env"] if "valueFrom" in one}
    for source in container["envFrom"]:
        referred |= keys_of_secrets()[source["secretRef"]["name"]]
    user, start = pod["securityContext"], container["startupProbe"]
    return Kept(
        command=_command((*container["command"], *container["args"])),
        variables=_plain({one["name"]: one["value"] for one in container["env"] if "value" in one}),
        secrets=frozenset(referred - {REGION}),
        live=_probe(container["livenessProbe"]),
        ready=_probe(container["readinessProbe"]),
        start=start["periodSeconds"] * start["failureThreshold"],
        replicas=scaler["spec"]["minReplicas"],
        image=container["image"],
        memory=_bytes(container["resources"]["limits"]["memory"]),
        user=f"{user['runAsUser']}:{user['runAsGroup']}",
        grace=pod["terminationGracePeriodSeconds"],
        tries=container["livenessProbe"]["failureThreshold"],
    )


def _probe(found: dict[str, Any]) -> Probe:
    return Probe(found["httpGet"]["path"], found["periodSeconds"], found["timeoutSeconds"])


def _command(words: tuple[str, ...]) -> tuple[str, ...]:
    place = words.index("-m")
    return words[place : place + 3]


def _plain(variables: dict[str, str]) -> dict[str, str]:
    left_out = {PLACE, RATE, REGION, "PERENNIAL_HEALTH", "PERENNIAL_SERVING_IMAGE", *SECRETS}
    return {name: value for name, value in variables.items() if name not in left_out}


def _bytes(quantity: str) -> int:
    unit = quantity.lower().rstrip("i")
    return int(unit[:-1]) * {"m": 2**20, "g": 2**30}[unit[-1]]


def test_one_word_moves_runs_and_services(ws: Workspace) -> None:
    for word in TARGETS:
        settings = document(ws, word)
        pool = next(one for one in declared(settings) if one.kind == POOL)
        assert (settings.serves_on, pool.fields["type"]) == (word, word)


def test_what_answers_and_what_it_is_told_is_the_same(ws: Workspace, released: str) -> None:
    first, *others = (rendered(document(ws, word, released), ws) for word in TARGETS)
    assert first.variables["PERENNIAL_STORAGE_ROOT"] == "s3://perennial-test"
    for other in others:
        assert (other.command, other.variables) == (first.command, first.variables)
        assert (other.secrets, other.replicas) == (first.secrets, first.replicas) == (frozenset(SECRETS), 3)


def test_containers_run_the_image_of_the_release_within_one_set_of_bounds(ws: Workspace, released: str) -> None:
    docker, kubernetes = (rendered(document(ws, word, released), ws) for word in ("docker", "kubernetes"))
    assert docker.image == kubernetes.image == released == IMAGE
    assert (docker.memory, docker.user, docker.grace) == (kubernetes.memory, kubernetes.user, kubernetes.grace)
    assert docker.memory > 0


def test_every_probe_asks_the_same_as_often_and_as_patiently(ws: Workspace, released: str) -> None:
    """Paths may differ in name; what answers there must not."""
    app = build_app(Replica(ws, KeptAnswers()), ServiceSettings(slug=ws.use_case.slug, storage=ws.settings))
    routes = {one.template: one for one in app.routes}
    kept = [rendered(document(ws, word, released), ws) for word in TARGETS]
    assert {routes[one.live.path].handler.__name__ for one in kept} == {"live"}
    assert {routes[one.ready.path].handler.__name__ for one in kept} == {"ready"}
    assert all(routes[probe.path].is_open for one in kept for probe in (one.live, one.ready))
    process, *containers = kept
    assert len({(each.every, each.within) for each in (one.live for one in containers)}) == 1
    assert len({(each.every, each.within) for each in (one.ready for one in containers)}) == 1
    assert len({one.tries for one in containers}) == 1
    assert all(one.start >= process.start for one in containers), "a container is not given up on before a process"


def test_the_compose_file_of_one_host_gives_a_replica_what_a_pod_gets(ws: Workspace) -> None:
    found = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["serving-a"]
    pod = rendered(document(ws, "kubernetes"), ws)
    replicas = int(found["command"][found["command"].index("--replicas") + 1])
    assert _bytes(found["mem_limit"]) // replicas == pod.memory
    assert (found["read_only"], found["cap_drop"]) == (True, ["ALL"])
    assert {"PERENNIAL_SERVING_IMAGE", *pod.variables} - found["environment"].keys() == {"PERENNIAL_STORAGE_ENDPOINT"}


def test_where_others_can_ask_one_caller_is_held_to_the_same_rate(ws: Workspace) -> None:
    template = read_template(FOLDER / "serving")
    pod = next(one for one in template if one["kind"] == "Deployment")["spec"]["template"]["spec"]["containers"][0]
    told = next(one["value"] for one in pod["env"] if one["name"] == RATE)
    docker = container_service(template, promise_of(document(ws, "docker"), ws.use_case.slug))
    found = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["serving-a"]
    assert docker["environment"][RATE] == found["environment"][RATE] == told
    assert float(told) > 0


def test_a_target_that_promises_something_else_shows(ws: Workspace) -> None:
    """That the comparison can fail: another place of the storage, for one of the three."""
    moved = document(ws, "docker").model_copy(update={"storage_root": "s3://elsewhere"})
    assert rendered(moved, ws).variables != rendered(document(ws, "process"), ws).variables

"""Moving between process, docker and kubernetes is one word of the document: all three keep one promise."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from blocks.documents import settings_of
from deployments.desired import declared
from deployments.item import POOL
from deployments.services.launches import serving_launch
from deployments.services.serving_up import LIVE, READY
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
from tests.servers import ROOT
from tests.serving.questions import Kept as KeptAnswers

IMAGE = "registry.example.org/perennial-serving@sha256:" + 64 * "b"
TARGETS = ("process", "docker", "kubernetes")
PLACE, RATE = "PERENNIAL_USE_CASES", "PERENNIAL_SERVING_RATE"


@dataclass(frozen=True)
class Kept:
    """What a rendered target promises, read back from it."""

    command: tuple[str, ...]
    """Without the address, which is the machine's or the pod's own."""
    variables: dict[str, str]
    secrets: frozenset[str]
    live: str
    ready: str
    replicas: int
    image: str = ""
    memory: int = 0
    user: str = ""
    grace: int = 0


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("PERENNIAL_SERVING_TOKENS", "token")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return make_use_case(tmp_path, months=(), changes={"serving": {}})


def document(ws: Workspace, word: str) -> Settings:
    """The document of an environment with one word in it changed."""
    return settings_of(
        {
            "environment": "test",
            "storage_root": "s3://perennial-test",
            "storage_endpoint": "http://storage:9000",
            "use_cases": ws.settings.use_cases,
            "serving_image": IMAGE,
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
    return Kept(_command(launch.command), _plain(told), secrets, LIVE, READY, replicas)


def of_docker(settings: Settings, ws: Workspace) -> Kept:
    found = container_service(read_template(FOLDER / "serving"), promise_of(settings, ws.use_case.slug))
    environment = found["environment"]
    secrets = frozenset(name for name, value in environment.items() if value == f"${{{name}:?}}")
    live = environment["PERENNIAL_HEALTH"].partition(":8080")[2]
    return Kept(
        command=_command(("python", "-m", "serving", *found["command"])),
        variables=_plain(environment),
        secrets=secrets,
        live=live,
        ready="/readyz",  # asked by the proxy in front; an engine has no readiness
        replicas=found["deploy"]["replicas"],
        image=found["image"],
        memory=_bytes(found["mem_limit"]),
        user=found["user"],
        grace=int(found["stop_grace_period"].rstrip("s")),
    )


def of_kubernetes(settings: Settings, ws: Workspace) -> Kept:
    track = Track(1, promise_of(settings, ws.use_case.slug))
    objects = service_objects(read_template(FOLDER / "serving"), track, None, namespace_of(settings))
    pod = next(one for one in objects if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    scaler = next(one for one in objects if one["kind"] == "HorizontalPodAutoscaler")
    (container,) = pod["containers"]
    keys = {"perennial-storage": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}}  # as the guide makes the Secret
    referred = {one["name"] for one in container["env"] if "valueFrom" in one}
    for source in container["envFrom"]:
        referred |= keys[source["secretRef"]["name"]]
    user = pod["securityContext"]
    return Kept(
        command=_command((*container["command"], *container["args"])),
        variables=_plain({one["name"]: one["value"] for one in container["env"] if "value" in one}),
        secrets=frozenset(referred),
        live=container["livenessProbe"]["httpGet"]["path"],
        ready=container["readinessProbe"]["httpGet"]["path"],
        replicas=scaler["spec"]["minReplicas"],
        image=container["image"],
        memory=_bytes(container["resources"]["limits"]["memory"]),
        user=f"{user['runAsUser']}:{user['runAsGroup']}",
        grace=pod["terminationGracePeriodSeconds"],
    )


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


def test_what_answers_and_what_it_is_told_is_the_same(ws: Workspace) -> None:
    first, *others = (rendered(document(ws, word), ws) for word in TARGETS)
    assert first.variables["PERENNIAL_STORAGE_ROOT"] == "s3://perennial-test"
    for other in others:
        assert (other.command, other.variables) == (first.command, first.variables)
        assert (other.secrets, other.replicas) == (first.secrets, first.replicas) == (frozenset(SECRETS), 3)


def test_containers_have_one_image_and_one_set_of_bounds(ws: Workspace) -> None:
    docker, kubernetes = (rendered(document(ws, word), ws) for word in ("docker", "kubernetes"))
    assert docker.image == kubernetes.image == IMAGE
    assert (docker.memory, docker.user, docker.grace) == (kubernetes.memory, kubernetes.user, kubernetes.grace)
    assert docker.memory > 0


def test_the_release_has_the_image_that_containers_run(ws: Workspace) -> None:
    pinned = Workspace(ws.use_case, document(ws, "kubernetes"))
    assert released_image(pinned) == rendered(pinned.settings, pinned).image


def released_image(ws: Workspace) -> str | None:
    return next_release(ws, (), "0" * 64, 1, "The first.").image


def test_every_probe_asks_the_same(ws: Workspace) -> None:
    """Paths may differ in name; what answers there must not."""
    app = build_app(Replica(ws, KeptAnswers()), ServiceSettings(slug=ws.use_case.slug, storage=ws.settings))
    routes = {one.template: one for one in app.routes}
    kept = [rendered(document(ws, word), ws) for word in TARGETS]
    assert {routes[one.live].handler.__name__ for one in kept} == {"live"}
    assert {routes[one.ready].handler.__name__ for one in kept} == {"ready"}
    assert all(routes[path].is_open for one in kept for path in (one.live, one.ready))


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

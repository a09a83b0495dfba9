"""A cluster and a use case for the tests of hosting: the emulation, or the cluster that a variable names.

`PERENNIAL_TEST_CLUSTER` is a context of the kubeconfig whose namespace `perennial-test` may be filled and emptied (as
`.github/workflows/kind.yaml` makes one); `PERENNIAL_TEST_IMAGES` the prefix of the images there.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

import yaml

from perennial.hosting.cluster import Cluster
from perennial.hosting.following import Follower, Hosted, follow
from perennial.hosting.manifests import leftovers, read_template
from perennial.hosting.promise import promise_of
from perennial.records import Released
from perennial.release.reports import Counts, Report, write_report
from perennial.workspace import Workspace
from tests.builders import make_use_case
from tests.deployments.kubernetes.access import Account
from tests.deployments.kubernetes.controller import controlling
from tests.deployments.kubernetes.emulation import Api, Object, running_api
from tests.deployments.kubernetes.rendering import FOLDER
from tests.servers import until

NAMESPACE = "perennial-test"
CONTEXT = os.environ.get("PERENNIAL_TEST_CLUSTER", "")
PATIENCE = 180 if CONTEXT else 60
"""Seconds until a cluster has done what it does in the end."""
IMAGES = os.environ.get("PERENNIAL_TEST_IMAGES", "registry.example.org/stand-in")
SLUG = "shop-returns"
LABELS = {"app.kubernetes.io/name": SLUG}
DEPLOYER = Account("perennial-deploy", NAMESPACE)
STEPS = (0.25, 0.5)
T = TypeVar("T")


@dataclass
class World:
    """A use case with a champion, and a cluster that it is hosted on."""

    cluster: Cluster
    ws: Workspace
    address: str = ""
    later: timedelta = timedelta(0)
    """How much the clock is ahead."""
    told: list[str] = field(default_factory=list)
    fake: Api | None = None

    @property
    def api(self) -> Api:
        """Of the emulation, for faults that a real cluster is not asked for."""
        assert self.fake
        return self.fake

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.later

    def follower(self, image: str, **changes: Any) -> Follower:
        settings = self.ws.settings.model_copy(update={"serving_image": f"{IMAGES}:{image}", **changes})
        ws = Workspace(self.ws.use_case, settings)
        return Follower(ws, self.cluster, read_template(FOLDER / "serving"), promise_of(settings, SLUG))

    def host(self, image: str, **changes: Any) -> Hosted:
        """Follow an image to its end."""
        rest = sleep if CONTEXT else lambda seconds: sleep(min(seconds, 0.2))
        return follow(self.follower(image, **changes), self.clock, rest, self.told.append)

    def outlast(self, follower: Follower, what: str) -> None:
        """Look until something is told, and again after the deadline."""
        assert until(PATIENCE, lambda: what in follower.step(self.clock()).verdict.reasons[0])
        follower.step(self.records()[-1].deadline)

    def deployment(self, name: str = SLUG) -> Object | None:
        return self.cluster.get("Deployment", name)

    def image(self, name: str = SLUG) -> str:
        found = self.deployment(name)
        assert found
        image: str = found["spec"]["template"]["spec"]["containers"][0]["image"]
        return image.rpartition(":")[2]

    def pod(self) -> Object:
        """What a pod of the service is to be."""
        found = self.deployment()
        assert found
        spec: Object = found["spec"]["template"]["spec"]
        return spec

    def pods(self) -> list[Object]:
        items: list[Object] = self.cluster.list("Pod", LABELS)["items"]
        return [one for one in items if "deletionTimestamp" not in one["metadata"]]

    def ready(self) -> list[str]:
        """Names of the pods that are ready."""
        return sorted(
            one["metadata"]["name"]
            for one in self.pods()
            if any(status["ready"] for status in one.get("status", {}).get("containerStatuses", []))
        )

    def weights(self) -> list[int]:
        """What a gateway sends to the others and to a canary; empty without one."""
        return [one["weight"] for one in backends(self.cluster.get("HTTPRoute", SLUG))]

    def records(self) -> list[Any]:
        return [one.record for one in self.ws.journal.entries() if one.record.kind.startswith("hosting.")]

    def kinds(self) -> list[str]:
        return [one.kind.removeprefix("hosting.") for one in self.records()]

    def clean(self) -> None:
        """Take everything away, and return when also the last pod has ended."""
        for kind, name in leftovers(SLUG, ()):
            self.cluster.delete(kind, name)
        assert until(PATIENCE, lambda: not self.cluster.list("Pod", LABELS)["items"])


def backends(route: Object | None) -> list[Object]:
    """What a route sends requests to, with their weights."""
    return route["spec"]["rules"][0]["backendRefs"] if route else []


def shop(folder: Path, rollout: str) -> Workspace:
    """A use case that has a champion, and declares how newer code gets to answer."""
    trial = {"min_answers": 20, "deadline": "10m"}
    ws = make_use_case(
        folder, months=(), changes={"serving": {"rollout": rollout, "canary": {"steps": list(STEPS)}, "trial": trial}}
    )
    champion = Released(number=1, model="0" * 64, version=1, replaces=None, reason="The first.")
    ws.journal.append(champion, datetime.now(UTC), 0)
    return ws


@contextmanager
def world(folder: Path, rollout: str = "direct") -> Iterator[World]:
    """A world of one's own."""
    ws = shop(folder, rollout)
    if CONTEXT:
        with Cluster.connect(NAMESPACE, CONTEXT) as cluster:
            made = World(cluster, ws)
            made.clean()
            yield made
        return
    with (
        running_api(DEPLOYER) as (api, address),
        controlling(api),
        Cluster(NAMESPACE, configuration(address)) as cluster,
    ):
        yield World(cluster, ws, address, fake=api)


def configuration(address: str) -> Any:
    from kubernetes_asyncio.client import Configuration

    return Configuration(host=address)


def kubeconfig(folder: Path, address: str) -> Path:
    """Write where a cluster is, as clients that are in none read it."""
    path = folder / "kubeconfig"
    found = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "emulation", "cluster": {"server": address}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "emulation", "context": {"cluster": "emulation", "user": "nobody"}}],
        "current-context": "emulation",
    }
    path.write_text(yaml.safe_dump(found))
    return path


@contextmanager
def traffic(world: World, errors: float = 0.0) -> Iterator[None]:
    """Report for each ready pod what its replica would: thirty answers a look, of a canary some that failed.

    A canary to which a gateway sends nothing answers nothing.
    """
    ending, answers, born = threading.Event(), dict[str, int](), dict[str, datetime]()

    def work() -> None:
        while not ending.wait(0.05):
            for pod in world.ready():
                is_canary, weights = f"{SLUG}-canary-" in pod, world.weights()
                is_asked = not is_canary or not weights or sum(weights[1:]) > 0
                answers[pod] = answers.get(pod, 0) + 30 * is_asked
                born.setdefault(pod, world.clock())
                failed = int(answers[pod] * errors) if is_canary else 0
                counts = {"release/1": Counts(answers=answers[pod], errors=failed)}
                report = Report(replica=pod, address=f"{pod}:8080/1", started_at=born[pod], at=world.clock(), release=1)
                write_report(world.ws, report.model_copy(update={"counts": counts}))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


@contextmanager
def watching(look: Callable[[], T]) -> Iterator[list[T]]:
    """Look again and again while something happens; yields what was seen."""
    ending, seen = threading.Event(), list[T]()

    def work() -> None:
        while not ending.wait(0.02):
            seen.append(look())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ending.set()
        thread.join()

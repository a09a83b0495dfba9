"""The loop in containers: built by `apply`, run by a docker worker, served by three replicas while releases change."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import time
from typing import Any

import pytest

from perennial.model.revision import lock_digest
from perennial.records import Released, ReleaseServed, RolloutStarted
from perennial.workspace import Workspace
from tests.docker.engine import inspect
from tests.docker.stage import LIVED, SECRETS, Stage, staged
from tests.faults.serving.models import Models
from tests.faults.serving.stage import asked_rows
from tests.faults.serving.traffic import Traffic
from tests.servers import until

pytestmark = pytest.mark.docker

REPLICAS = 3
SPEED = 8
"""Requests a second and container."""


@pytest.fixture(scope="module")
def stage(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("containers")) as found:
        yield found


def test_apply_pins_the_images_that_it_built(stage: Stage) -> None:
    pool = stage.server.ask("/work_pools/perennial-test")
    assert pool["type"] == "docker"
    image = pool["base_job_template"]["variables"]["properties"]["image"]["default"]
    assert image.startswith("sha256:") and inspect(image)["Id"] == image
    document = stage.block()["data"]
    assert document["flows_image"] == image
    assert inspect(document["serving_image"])["Config"]["Entrypoint"][-2:] == ["-m", "serving"]


def test_the_loop_runs_in_containers_and_its_release_names_the_image(stage: Stage) -> None:
    for month, end in LIVED.items():
        stage.run("pipeline/test", use_case="shop-returns", period=month, as_of=f"{end}T00:00:00Z")
    champion = stage.ws.state().champion
    assert champion and champion.image == stage.block()["data"]["serving_image"]
    labels = inspect(champion.image)["Config"]["Labels"]
    revision, locked = labels["org.opencontainers.image.revision"], lock_digest()
    assert {(one.code, one.lock) for one in stage.ws.state().trained} == {(revision, locked)}


def test_a_month_of_flights_runs_in_a_container(stage: Stage) -> None:
    stage.run("pipeline/test", use_case="flight-delay", period="2013-01", as_of="2013-02-02T06:00:00Z")
    kinds = {entry.record.kind for entry in Workspace.open("flight-delay", stage.settings).journal.entries()}
    assert {"delivery.accepted", "model.trained", "model.judged"} <= kinds


def test_a_run_is_given_the_servers_password_and_no_other_secret(stage: Stage) -> None:
    assert len(stage.runs) == len(LIVED) + 1
    print(f"cold starts in seconds: {[one.cold_start for one in stage.runs]}")
    for run in stage.runs:
        found = [one.partition("=")[0] for one in run.variables if any(secret in one for secret in SECRETS)]
        assert found == ["PREFECT_API_AUTH_STRING"]


def test_a_rollout_and_a_rollback_happen_while_three_containers_answer(stage: Stage, tmp_path: Path) -> None:
    image, times = stage.block()["data"]["serving_image"], dict[str, float]()
    first = stage.ws.state().champion
    assert first
    with ExitStack() as stack:
        replicas = [stack.enter_context(stage.service(image, tmp_path)) for _ in range(REPLICAS)]
        until(60, lambda: [one.release for one in stage.live()] == [first.number] * REPLICAS)
        traffic = [stack.enter_context(asking(stage, port, tmp_path / str(port))) for _, port in replicas]
        until_served(stage, first)

        trained = stage.ws.state().trained[-1]
        made = Models(stage.ws, trained).make("good")
        stage.register()
        stage.run("deploy/test", use_case="shop-returns")
        began = time()
        assert any(isinstance(one, RolloutStarted) for one in records(stage))
        second = until(180, lambda: newest(stage) if newest(stage).number == first.number + 1 else None)
        until(60, lambda: {one.release for one in stage.live()} == {second.number})
        times["rollout"] = time() - began
        until(
            120, lambda: any(isinstance(one, ReleaseServed) and one.release == second.number for one in records(stage))
        )

        began = time()
        parameters = {"use_case": "shop-returns", "reason": "It is tried."}
        stage.run("rollback/test", **parameters)
        until(60, lambda: {one.release for one in stage.live()} == {second.number + 1})
        times["rollback"] = time() - began
        back = newest(stage)
        at = time() + 1
        until(30, lambda: all(one.requests(since=at) for one in traffic))
        asked = [one for each in traffic for one in each.requests()]
        for identity, _ in replicas:
            assert inspect(identity)["State"]["Running"] and inspect(identity)["RestartCount"] == 0
            assert inspect(identity)["Image"] == image
    print(f"seconds until all three answered by it: {times}")
    assert (second.version, second.rollout, second.image) == (made.version, 1, image)
    assert (back.withdraws, back.model, back.image) == (second.number, first.model, image)
    assert [one for one in asked if not one.is_answered] == []
    assert {one.release for one in asked} == {first.number, second.number, back.number}
    assert len(asked) > 100


def asking(stage: Stage, port: int, folder: Path) -> Traffic:
    folder.mkdir()
    return Traffic(f"http://127.0.0.1:{port}", folder, asked_rows(stage.ws), rate=SPEED)


def records(stage: Stage) -> list[Any]:
    return [entry.record for entry in stage.ws.journal.entries()]


def until_served(stage: Stage, released: Released) -> None:
    wanted = released.number
    until(120, lambda: any(isinstance(one, ReleaseServed) and one.release == wanted for one in records(stage)))


def newest(stage: Stage) -> Released:
    champion = stage.ws.state().champion
    assert champion
    return champion

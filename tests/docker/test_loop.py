"""The loop in containers: built by `apply`, run by a docker worker, served by three replicas while releases change."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import time
from typing import Any

import pytest

from perennial.hosting.promise import SECRETS as OF_SERVICES
from perennial.hosting.promise import promise_of
from perennial.model.revision import lock_digest
from perennial.records import Entry, Measured, Predicted, Released, ReleaseServed, RolloutEnded, RolloutStarted
from perennial.workspace import Workspace
from tests.docker.engine import inspect
from tests.docker.stage import SECRETS, TOKEN, Run, Stage, staged
from tests.docker.traffic import Traffic
from tests.faults.serving.models import Models
from tests.faults.serving.stage import asked_rows
from tests.servers import until

pytestmark = pytest.mark.docker

REPLICAS = 3
JANUARY = {"use_case": "flight-delay", "period": "2013-01", "as_of": "2013-02-02T06:00:00Z"}
FEBRUARY = {"use_case": "flight-delay", "period": "2013-02", "as_of": "2013-03-03T06:00:00Z"}


@pytest.fixture(scope="module")
def stage(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("containers")) as found:
        yield found


@pytest.fixture(scope="module")
def shop(stage: Stage) -> Released:
    """The first release of the small use case, made by a run in a container."""
    return stage.live_a_month()


@pytest.fixture(scope="module")
def flights(stage: Stage) -> list[Run]:
    """January by the whole loop to a release, and February stage by stage to a measurement of what was predicted."""
    stages = ("ingest", "validate", "predict", "monitor")
    return [stage.run("pipeline/test", **JANUARY), *(stage.run(f"{flow}/test", **FEBRUARY) for flow in stages)]


def test_apply_pins_the_images_that_it_built(stage: Stage, images: dict[str, str]) -> None:
    pool = stage.server.ask("/work_pools/perennial-test")
    assert pool["type"] == "docker"
    image = pool["base_job_template"]["variables"]["properties"]["image"]["default"]
    assert image == images["flows"] and inspect(image)["Id"] == image
    document = stage.block()["data"]
    assert (document["flows_image"], document["serving_image"]) == (image, images["serving"])


def test_a_rollout_and_a_rollback_happen_while_three_containers_answer(
    stage: Stage, shop: Released, tmp_path: Path
) -> None:
    image, times = stage.block()["data"]["serving_image"], dict[str, float]()
    assert shop.image == image
    with ExitStack() as stack:
        replicas = [stack.enter_context(stage.service(image, tmp_path)) for _ in range(REPLICAS)]
        for identity, _ in replicas:
            require_only_its_own(stage, identity)
        until_answered_by(stage, shop)
        rows = asked_rows(stage.ws)
        traffic = [stack.enter_context(Traffic(port, rows, TOKEN)) for _, port in replicas]
        first_record(stage, lambda one: isinstance(one, ReleaseServed) and one.release == shop.number)

        made = Models(stage.ws, stage.ws.state().trained[-1]).make("good")
        stage.register()
        stage.run("deploy/test", use_case="shop-returns")
        began = time()
        trial = first_record(stage, lambda one: isinstance(one, RolloutStarted) and one.version == made.version)
        second = passed(stage, trial.record.number)
        until_answered_by(stage, second)
        times["rollout"] = time() - began

        began = time()
        stage.run("rollback/test", use_case="shop-returns", reason="It is tried.")
        entry = first_record(stage, lambda one: isinstance(one, Released) and one.withdraws == second.number)
        back: Released = entry.record
        until_answered_by(stage, back)
        times["rollback"] = time() - began
        at = time()
        until(120, lambda: all(one.answers and one.answers[-1].sent > at for one in traffic))
        for identity, _ in replicas:
            assert inspect(identity)["State"]["Running"] and inspect(identity)["RestartCount"] == 0
            assert inspect(identity)["Image"] == image
    print(f"seconds until all three answered by it: {times}")
    assert (second.version, second.rollout, second.image) == (made.version, trial.record.number, image)
    assert (back.model, back.image) == (shop.model, image)
    asked = [one for each in traffic for one in each.answers]
    assert [one for one in asked if one.status != 200] == []
    assert {one.release for one in asked} == {shop.number, second.number, back.number}
    assert len(asked) > 100


def test_the_flights_are_released_scored_and_measured_by_runs_in_containers(stage: Stage, flights: list[Run]) -> None:
    ws = Workspace.open("flight-delay", stage.settings)
    released = ws.state().champion
    assert released and released.image == stage.block()["data"]["serving_image"]
    labels = inspect(released.image)["Config"]["Labels"]
    written = {(one.code, one.lock) for one in ws.state().trained}
    assert written == {(labels["org.opencontainers.image.revision"], lock_digest())}
    recorded = [entry.record for entry in ws.journal.entries()]
    predicted = next(one for one in recorded if isinstance(one, Predicted) and one.period == FEBRUARY["period"])
    measured = next(one for one in recorded if isinstance(one, Measured) and one.period == FEBRUARY["period"])
    assert (predicted.release, measured.version) == (released.number, released.version)
    assert predicted.rows > 20_000
    assert measured.labels > 20_000 and measured.performance


def test_a_run_is_given_the_servers_password_and_no_other_secret(flights: list[Run]) -> None:
    print(f"cold starts in seconds: {[one.cold_start for one in flights]}")
    for run in flights:
        found = [one.partition("=")[0] for one in run.variables if any(secret in one for secret in SECRETS)]
        assert found == ["PREFECT_API_AUTH_STRING"]


def require_only_its_own(stage: Stage, identity: str) -> None:
    """See that a service is told what is promised and what its image says, with the secrets it needs and no other."""
    config = inspect(identity)["Config"]
    given = {one.partition("=")[0]: one.partition("=")[2] for one in config["Env"]}
    of_image = {one.partition("=")[0] for one in inspect(config["Image"])["Config"]["Env"]}
    told = promise_of(stage.settings.model_copy(update={"serving_image": config["Image"]}), "shop-returns").told
    own = {"PERENNIAL_USE_CASES", "PERENNIAL_SERVING_RATE", "PERENNIAL_HEALTH", *told, *OF_SERVICES}
    assert given.keys() - of_image == own - of_image
    secret = {name for name, value in given.items() if any(one in value for one in SECRETS)}
    assert secret == {"PERENNIAL_SERVING_TOKENS", "AWS_SECRET_ACCESS_KEY"}


def until_answered_by(stage: Stage, released: Released) -> None:
    until(180, lambda: [one.release for one in stage.live()] == [released.number] * REPLICAS)


def first_record(stage: Stage, matches: Any) -> Entry:
    """Wait for the first record of a kind."""
    entries = stage.ws.journal.entries
    found: Entry = until(180, lambda: next((one for one in entries() if matches(one.record)), None))
    return found


def passed(stage: Stage, rollout: int) -> Released:
    """Wait for the release that a trial ends in; a trial that does not pass fails at once, and says why."""

    def ends(one: Any) -> bool:
        return (isinstance(one, Released) and one.rollout == rollout) or (
            isinstance(one, RolloutEnded) and one.number == rollout
        )

    try:
        ended = first_record(stage, ends).record
    except AssertionError:
        reports = "\n".join(map(str, stage.live()))
        pytest.fail(f"The trial was not decided. The replicas report:\n{reports}")
    if isinstance(ended, RolloutEnded):
        pytest.fail(f"The trial did not pass: {ended.verdict}")
    return ended

"""The same storm with Prefect on PostgreSQL, whose server locks rows instead of a file; a worker told to end."""

import signal
from collections.abc import Iterator

import pytest

from tests.faults.alerts import Scene, is_done, kill_tree, scene, storm, trainings
from tests.servers import until
from tests.storage_servers import postgres_server

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with postgres_server() as postgres:
        database = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url("prefect", "asyncpg")}
        with scene(tmp_path_factory.mktemp("alerts"), **database) as found:
            found.hasten(within=2)
            yield found


def test_a_thousand_alerts_start_one_training_on_postgresql(stage: Scene) -> None:
    worker = stage.work()
    storm(stage, "2024-03")
    kill_tree(worker)


def test_a_worker_told_to_end_while_it_trains_leads_to_one_completed_training(stage: Scene) -> None:
    worker = stage.work()
    at = stage.measure("2024-04")
    stage.alert("2024-04", [at])
    until(150, lambda: stage.runs("train", "RUNNING"))
    [run] = stage.runs("retrain", "RUNNING")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) is not None
    if not is_done(stage, "2024-04"):
        until(180, lambda: stage.is_given_up(run.id, patience=5))
    worker = stage.work()
    until(300, lambda: is_done(stage, "2024-04"))
    stage.quiet()
    assert trainings(stage, "2024-04").count("COMPLETED") == stage.trained("2024-04") == 1
    assert stage.slots() == 0
    kill_tree(worker)

"""However many alerts, lost events and killed processes: what was asked for once is trained once, on a real server."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from perennial.retraining import Request
from tests.faults.alerts import SLUG, Scene, is_done, kill_tree, scene, storm, trainings
from tests.servers import until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("alerts")) as found:
        found.hasten(within=2)
        yield found


def request(stage: Scene, month: str) -> Request:
    """Return the one request that came of a month."""
    [found] = [one for one in stage.workspace.state().requests.values() if one.decided.period == month]
    return found


def test_a_thousand_alerts_start_one_training(stage: Scene) -> None:
    worker = stage.work()
    storm(stage, "2024-03")
    kill_tree(worker)


def test_after_the_cooldown_the_next_real_alert_starts_one_more(stage: Scene) -> None:
    worker = stage.work()
    at = stage.measure("2024-04")
    senders = [stage.alert("2024-04", [at + timedelta(seconds=count) for count in range(20)]) for _ in range(2)]
    assert [one.wait(60) for one in senders] == [0, 0]
    until(300, lambda: is_done(stage, "2024-04"))
    stage.quiet()
    assert trainings(stage, "2024-04") == ["COMPLETED"]
    kill_tree(worker)


def test_an_alert_lost_while_the_server_was_down_is_made_good(stage: Scene) -> None:
    at = stage.measure("2024-05")
    before = len(stage.runs("retrain"))
    kill_tree(stage.server.children[0])
    stage.alert("2024-05", [at]).wait(60)
    stage.server.serve()
    stage.server.wait()
    stage.settle()
    worker = stage.work()
    assert len(stage.runs("retrain")) == before
    stage.reconcile()
    until(300, lambda: is_done(stage, "2024-05"))
    stage.reconcile()
    stage.quiet()
    assert trainings(stage, "2024-05") == ["COMPLETED"]
    kill_tree(worker)


def test_a_worker_killed_while_the_run_is_running_leads_to_one_completed_training(stage: Scene) -> None:
    worker = stage.work()
    at = stage.measure("2024-06")
    stage.alert("2024-06", [at])
    until(150, lambda: stage.runs("train", "RUNNING"))
    kill_tree(worker)
    [run] = stage.runs("retrain", "RUNNING")
    assert stage.slots() == 1
    until(180, lambda: stage.is_given_up(run.id, patience=5))
    worker = stage.work()
    until(300, lambda: is_done(stage, "2024-06"))
    stage.quiet()
    assert trainings(stage, "2024-06").count("COMPLETED") == stage.trained("2024-06") == 1
    assert len(request(stage, "2024-06").claims) >= 2
    assert stage.slots() == 0
    kill_tree(worker)


def test_a_worker_killed_while_the_run_is_pending_leads_to_one_completed_training(stage: Scene) -> None:
    worker = stage.work()
    at = stage.measure("2024-07")
    stage.alert("2024-07", [at])
    [run] = until(150, lambda: stage.runs("retrain", "PENDING"))
    kill_tree(worker)
    assert stage.slots() == 1
    stage.settle()
    until(180, lambda: stage.is_given_up(run.id, patience=3))
    assert stage.slots() == 0
    worker = stage.work()
    until(300, lambda: is_done(stage, "2024-07"))
    stage.quiet()
    stage.reconcile(patience=3)
    stage.quiet()
    assert trainings(stage, "2024-07") == ["COMPLETED"]
    assert stage.trained("2024-07") == 1
    assert stage.run(run.id).state_name == "Suppressed"
    assert stage.slots() == 0
    kill_tree(worker)


def test_of_two_runs_at_once_one_trains(stage: Scene) -> None:
    at = stage.measure("2024-08")
    runs = [stage.start("retrain/dev", use_case=SLUG, period="2024-08", as_of=at.isoformat()) for _ in range(2)]
    worker = stage.work()
    until(300, lambda: is_done(stage, "2024-08"))
    stage.quiet()
    assert trainings(stage, "2024-08").count("COMPLETED") == 1
    assert sorted(stage.run(one).state_name for one in runs) == ["Completed", "Suppressed"]
    kill_tree(worker)

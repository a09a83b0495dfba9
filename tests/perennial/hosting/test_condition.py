"""How a Deployment does, from what a cluster says: ready, still on its way, or never going to be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perennial.hosting.condition import condition
from perennial.values import Answer

BORN = datetime(2026, 1, 1, tzinfo=UTC)
SOON, LATER = BORN + timedelta(seconds=5), BORN + timedelta(minutes=11)


def deployment(**status: Any) -> dict[str, Any]:
    counts = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "observedGeneration": 3}
    return {"metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": counts | status}


def pod(state: dict[str, Any], **status: Any) -> dict[str, Any]:
    one = {"image": "some:1", "ready": False, "restartCount": 0, "state": state, **status}
    meta = {"name": "some-pod", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": meta, "status": {"containerStatuses": [one]}}


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": "because"}}


def test_all_that_are_wanted_are_ready() -> None:
    assert condition(deployment(), [], SOON).answer is Answer.PASS


@pytest.mark.parametrize(
    "status",
    [
        {"availableReplicas": 1},
        {"updatedReplicas": 1},
        {"replicas": 3},
        {"observedGeneration": 2},
    ],
    ids=str,
)
def test_what_is_not_all_ready_and_all_new_is_waited_for(status: dict[str, int]) -> None:
    assert condition(deployment(**status), [], SOON).answer is Answer.INCONCLUSIVE


def test_a_deployment_that_nobody_has_seen_yet_is_waited_for() -> None:
    found = deployment()
    del found["status"]
    assert condition(found, [], SOON).answer is Answer.INCONCLUSIVE


@pytest.mark.parametrize(
    ("at", "since", "answer"),
    [
        (SOON, BORN, Answer.INCONCLUSIVE),
        (LATER, BORN, Answer.FAIL),
        (LATER, LATER, Answer.INCONCLUSIVE),
    ],
    ids=["starts", "never ready", "was ready until just now"],
)
def test_what_runs_must_get_ready(at: datetime, since: datetime, answer: Answer) -> None:
    one = pod({"running": {"startedAt": BORN.isoformat()}})
    one["status"]["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": since.isoformat()}]
    found = condition(deployment(availableReplicas=1), [one], at)
    assert found.answer is answer
    assert ("never ready" in found.reason) == (answer is Answer.FAIL)


def test_what_started_late_has_its_time_too() -> None:
    """Its image came an hour after its pod."""
    one = pod({"running": {"startedAt": LATER.isoformat()}})
    one["status"]["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": BORN.isoformat()}]
    assert condition(deployment(availableReplicas=1), [one], LATER).answer is Answer.INCONCLUSIVE


@pytest.mark.parametrize("at", [SOON, LATER])
@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CreateContainerConfigError", "ContainerCreating"])
def test_what_people_or_time_mend_is_waited_for(reason: str, at: datetime) -> None:
    found = condition(deployment(availableReplicas=1), [pod(waiting(reason))], at)
    assert found.answer is Answer.INCONCLUSIVE
    assert f"({reason}): because" in found.reason


def test_a_name_that_is_none_of_an_image_is_not_waited_for() -> None:
    assert condition(deployment(availableReplicas=1), [pod(waiting("InvalidImageName"))], SOON).answer is Answer.FAIL


def test_a_quota_says_so_and_is_waited_for() -> None:
    late = {"type": "Progressing", "status": "False", "message": "timed out progressing"}
    full = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    found = condition(deployment(availableReplicas=0, conditions=[late, full]), [], LATER)
    assert (found.answer, found.reason) == (Answer.INCONCLUSIVE, "0 of 2 replicas are ready. exceeded quota")


def test_as_many_are_asked_for_as_are_promised() -> None:
    one = deployment(replicas=1, updatedReplicas=1, availableReplicas=1)
    one["spec"]["replicas"] = 1
    assert condition(one, [], SOON).answer is Answer.PASS
    found = condition(one, [], SOON, promised=2)
    assert (found.answer, found.wanted) == (Answer.INCONCLUSIVE, 2)


def crashed(count: int, began: datetime) -> dict[str, Any]:
    last = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "startedAt": began.isoformat()}}
    return pod(waiting("CrashLoopBackOff"), restartCount=count, lastState=last)


def test_a_container_that_ends_three_times_is_crashing() -> None:
    found = condition(deployment(availableReplicas=1), [crashed(3, BORN)], SOON)
    assert found.answer is Answer.FAIL
    assert "3 times, last OOMKilled, exit code 137" in found.reason
    assert condition(deployment(availableReplicas=1), [crashed(2, BORN)], SOON).answer is Answer.INCONCLUSIVE
    well = pod({"running": {"startedAt": BORN.isoformat()}}, restartCount=9, ready=True)
    assert condition(deployment(), [well], SOON).answer is Answer.PASS


@pytest.mark.parametrize("in_trouble", ["never ready", "crashes"])
def test_one_bad_node_condemns_no_image(in_trouble: str) -> None:
    idle = pod({"running": {"startedAt": BORN.isoformat()}})
    one = idle if in_trouble == "never ready" else crashed(3, BORN)
    well = pod({"running": {"startedAt": BORN.isoformat()}}, ready=True)
    found = condition(deployment(availableReplicas=1), [one, well], LATER)
    assert found.answer is Answer.INCONCLUSIVE
    assert in_trouble in found.reason
    assert condition(deployment(availableReplicas=0), [one, one], LATER).answer is Answer.FAIL


def test_ends_of_long_ago_are_not_held_against_a_container() -> None:
    """Three ends in its first minutes, then a day in which it ran well, then one look at which it is not ready."""
    tomorrow = BORN + timedelta(days=1)
    found = condition(deployment(availableReplicas=1), [crashed(3, BORN)], tomorrow)
    assert found.answer is Answer.INCONCLUSIVE


def test_a_pod_without_a_node_says_so() -> None:
    lone = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    unscheduled = {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"conditions": [lone]},
    }
    found = condition(deployment(availableReplicas=1), [unscheduled], LATER)
    assert found.answer is Answer.INCONCLUSIVE
    assert "0/3 nodes" in found.reason

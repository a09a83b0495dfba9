"""How a Deployment does, from what a cluster says: ready, still on its way, or never going to be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perennial.hosting.condition import PULLING, condition
from perennial.values import Answer

BORN = datetime(2026, 1, 1, tzinfo=UTC)
SOON, LATER = BORN + timedelta(seconds=5), BORN + PULLING + timedelta(seconds=5)


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


def test_no_progress_is_never_ready() -> None:
    late = {"type": "Progressing", "status": "False", "message": "timed out progressing"}
    found = condition(deployment(availableReplicas=0, conditions=[late]), [], SOON)
    assert (found.answer, found.reason) == (Answer.FAIL, "Never ready: timed out progressing")


@pytest.mark.parametrize(
    ("reason", "at", "answer"),
    [
        ("ImagePullBackOff", SOON, Answer.INCONCLUSIVE),
        ("ImagePullBackOff", LATER, Answer.FAIL),
        ("InvalidImageName", SOON, Answer.FAIL),
        ("CreateContainerConfigError", SOON, Answer.INCONCLUSIVE),
        ("CreateContainerConfigError", LATER, Answer.FAIL),
        ("ContainerCreating", LATER, Answer.INCONCLUSIVE),
    ],
)
def test_how_long_a_container_is_waited_for(reason: str, at: datetime, answer: Answer) -> None:
    found = condition(deployment(availableReplicas=1), [pod(waiting(reason))], at)
    assert found.answer is answer
    assert reason in found.reason


def test_a_container_that_ends_three_times_is_crashing() -> None:
    last = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    ended = pod(waiting("CrashLoopBackOff"), restartCount=3, lastState=last)
    found = condition(deployment(availableReplicas=1), [ended], SOON)
    assert found.answer is Answer.FAIL
    assert "3 times, last OOMKilled, exit code 137" in found.reason
    twice = pod(waiting("CrashLoopBackOff"), restartCount=2, lastState=last)
    assert condition(deployment(availableReplicas=1), [twice], SOON).answer is Answer.INCONCLUSIVE
    well = pod({"running": {}}, restartCount=9, ready=True)
    assert condition(deployment(), [well], SOON).answer is Answer.PASS


def test_a_pod_without_a_node_says_so() -> None:
    lone = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    unscheduled = {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"conditions": [lone]},
    }
    found = condition(deployment(availableReplicas=1), [unscheduled], LATER)
    assert found.answer is Answer.INCONCLUSIVE
    assert "0/3 nodes" in found.reason

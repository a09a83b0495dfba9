"""Three replicas under open-loop traffic: releases, a canary and a replica killed in the middle of a swap."""

import pytest

from tests.faults.serving import oracle
from tests.faults.serving.bounds import KILL, SWAP
from tests.faults.serving.stage import Stage, held, kill
from tests.faults.serving.traffic import Request
from tests.servers import until

pytestmark = pytest.mark.long

KILLS: list[tuple[float, set[int]]] = []


def failed(stage: Stage, since: float) -> oracle.Failures:
    return oracle.failures(stage.traffic.requests(since), kills=KILLS, kill_bound=KILL)


def astray(stage: Stage) -> list[Request]:
    return oracle.astray(stage.traffic.requests(), stage.ws.journal.entries())


def test_a_release_replaces_another_on_every_replica_and_no_request_fails(stage: Stage) -> None:
    released, at = stage.release(stage.models.make("good"))
    stage.until_all(lambda one: one.release == released.number)
    stage.until_asked(1)
    after = stage.traffic.requests(since=at + SWAP)
    assert failed(stage, since=0) == oracle.Failures()
    assert astray(stage) == []
    assert {one.release for one in stage.traffic.requests()[-20:]} == {released.number}
    assert {one.release for one in after} <= {released.number}


def test_a_replica_killed_in_the_middle_of_a_swap_costs_only_what_it_was_answering(stage: Stage) -> None:
    (stage.folder / "armed").touch()
    released, at = stage.release(stage.models.make("good"))
    (worker,) = until(60, lambda: held(stage.service))
    before = {one.replica for one in stage.live()}
    KILLS.append(kill(worker, stage.service.port))
    stage.until_all(lambda one: one.release == released.number)
    stage.until_asked(2)
    found = failed(stage, since=at)
    assert found.unexplained == []
    assert len(found.of_the_kill) <= 40
    assert astray(stage) == []
    assert len({one.replica for one in stage.live()} - before) == 1

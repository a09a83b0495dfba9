"""Three replicas under open-loop traffic: releases, a canary, a replica killed in mid-swap, a rollback.

No request fails, but those that a killed replica had taken on; and the log of answers is complete but for its last
moment, which is said.
"""

from datetime import timedelta

import pytest

from perennial.records import Released
from perennial.release.answers import SILENT, collect_answers
from perennial.release.releases import rollback
from tests.faults.serving import oracle
from tests.faults.serving.bounds import ARRIVALS, BACK, KILL, SWAP, UNLOGGED
from tests.faults.serving.scenarios import kill_one
from tests.faults.serving.stage import Stage, now

pytestmark = [pytest.mark.long, pytest.mark.alone]

KILLS: list[tuple[float, set[int]]] = []
RUNNING: list[float] = []
"""When the replica that was killed was last seen running: it was held before, and its log with it."""


def judge(stage: Stage) -> oracle.Failures:
    """Hold all that was asked so far to what is promised."""
    requests = stage.traffic.requests()
    found = oracle.failures(requests, kills=KILLS)
    assert found.unexplained == []
    assert oracle.astray(requests, stage.history()) == []
    return found


def test_a_release_replaces_another_on_every_replica(stage: Stage) -> None:
    released, at = stage.release(stage.models.make("good"))
    stage.until_all(lambda one: one.release == released.number)
    stage.until_asked(1)
    assert judge(stage) == oracle.Failures()
    before = [one.sent - at for one in stage.traffic.requests(at) if one.release != released.number]
    assert max(before, default=0.0) <= SWAP
    stage.until_served(released.number)


def test_a_canary_goes_up_step_by_step_and_serves(stage: Stage) -> None:
    started, _ = stage.try_out(stage.models.make("good"))
    entry = stage.until_record(lambda one: isinstance(one, Released) and one.rollout == started.number)
    assert isinstance(entry.record, Released)
    number = entry.record.number
    stage.until_all(lambda one: one.release == number)
    stage.until_served(number)
    assert judge(stage) == oracle.Failures()
    by_version = {one.version for one in stage.traffic.requests() if one.release == started.against_release}
    assert started.version in by_version, "it answered a share before it served"


def test_a_replica_killed_in_the_middle_of_a_swap_costs_only_what_it_had_taken_on(stage: Stage) -> None:
    before = {one.replica for one in stage.live()}
    outcome = kill_one(stage)
    KILLS.extend(outcome.kills)
    RUNNING.append(outcome.running)
    found = judge(stage)
    assert len(found.of_the_kill) <= ARRIVALS * KILL
    assert len(before - {one.replica for one in stage.live()}) == 1
    assert len({one.replica for one in stage.live()} - before) == 1


def test_a_rollback_by_hand_is_in_force_at_once(stage: Stage) -> None:
    back = rollback(stage.ws, "by hand", now())
    at = stage.written(stage.ws.journal.entries()[-1])
    stage.until_all(lambda one: one.release == back.number)
    stage.until_asked(1)
    judge(stage)
    assert all(one.release == back.number for one in stage.traffic.requests(at + BACK))


def test_every_answer_is_in_the_lake_but_the_last_moment_of_the_killed_and_that_is_said(stage: Stage) -> None:
    stage.traffic.stop()
    stage.service.stop()
    while collect_answers(stage.ws, now() + SILENT + timedelta(seconds=1)):  # as if a minute had passed
        pass
    [(killed_at, _)], [running] = KILLS, RUNNING
    lost = oracle.missing(stage.traffic.requests(), oracle.logged(stage.ws))
    assert all(running - UNLOGGED <= one.arrived <= killed_at for one in lost)
    told = [one.lost for one in stage.ws.state().collected if one.lost]
    assert len(told) == 1 and len(told[0]) == 1, "the killed replica is named"

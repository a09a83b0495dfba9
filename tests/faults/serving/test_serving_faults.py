"""Versions that passed every check and are faulty all the same, let loose on three replicas under open-loop traffic.

Each is taken back in time, no request fails but those that the faulty version itself could not answer, and every
answer is by a version that was released or on trial when it was given.
"""

import pytest

from tests.faults.serving import oracle
from tests.faults.serving.scenarios import NO_SCORE, REFUSED, Outcome, kept, let_loose, try_out
from tests.faults.serving.stage import STRANGE, Stage

pytestmark = [pytest.mark.long, pytest.mark.alone]

refused: set[int] = set()


def judge(stage: Stage, outcome: Outcome) -> oracle.Failures:
    """Hold a fault to everything that is promised; return which requests failed and why."""
    if outcome.refused:
        refused.add(outcome.refused)
    return kept(stage, outcome, refused)


@pytest.mark.parametrize("fault", ["fails", "nan", "slow"])
def test_a_release_that_fails_is_withdrawn(stage: Stage, fault: str) -> None:
    outcome = let_loose(stage, fault)
    found = judge(stage, outcome)
    assert any(one.version == outcome.version for one in outcome.requests), "it did answer"
    assert bool(found.of_the_model) == (fault in NO_SCORE)
    if fault == "fails":
        assert {one.row % STRANGE for one in found.of_the_model} == {0}, "the rows that it has no answer for"


@pytest.mark.parametrize("fault", REFUSED)
def test_a_release_that_no_replica_can_load_never_answers_and_is_withdrawn(stage: Stage, fault: str) -> None:
    outcome = let_loose(stage, fault)
    judge(stage, outcome)
    assert outcome.bad == []


@pytest.mark.parametrize("fault", ["fails", "nan", "slow", "schema", "corrupted"])
def test_a_canary_that_fails_ends_and_no_caller_is_refused(stage: Stage, fault: str) -> None:
    outcome = try_out(stage, fault, "canary")
    judge(stage, outcome)
    assert outcome.failed == []
    assert {one.release for one in outcome.requests} == {stage.ws.state().champion.number}  # type: ignore[union-attr]


@pytest.mark.parametrize("fault", ["fails", "slow"])
def test_a_shadow_that_fails_ends_and_no_caller_sees_anything_of_it(stage: Stage, fault: str) -> None:
    outcome = try_out(stage, fault, "shadow")
    judge(stage, outcome)
    assert outcome.bad == []


def test_outcomes_that_show_a_canary_to_be_worse_end_it(stage: Stage) -> None:
    outcome = try_out(stage, "quality", "canary")
    judge(stage, outcome)
    assert outcome.failed == []
    assert any(one.version == outcome.version for one in outcome.requests)


def test_a_release_that_is_worse_on_outcomes_that_are_known_is_withdrawn(stage: Stage) -> None:
    outcome = let_loose(stage, "quality")
    judge(stage, outcome)
    assert outcome.failed == []


def test_every_answer_is_in_the_lake_once_and_as_it_was_given(stage: Stage) -> None:
    stage.traffic.stop()
    stage.service.stop()
    requests = stage.traffic.requests()
    assert oracle.missing(requests, oracle.logged(stage.ws)) == []
    assert oracle.astray(requests, stage.history(), refused) == []

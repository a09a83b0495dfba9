"""The automations of an environment: what they are called, what they start, and that they stay within it."""

import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prefect.events.actions import ChangeFlowRunState
from prefect.server.events.schemas.automations import EventTrigger as ServerTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.states import AwaitingRetry, Cancelling, Completed, Late, Scheduled, State, Suspended

from deployments.automations import Notify, StartRun, automations
from deployments.definition import read_definition
from deployments.explain import mismatches

EVERY = automations("prod", ("slack-webhook/slack-prod",))


def test_names_are_unique_and_end_with_their_environment() -> None:
    names = [one.name for one in EVERY]
    assert len(set(names)) == len(names)
    assert all(one.endswith("(prod)") for one in names)


@pytest.mark.parametrize("spec", EVERY, ids=lambda spec: spec.name)
def test_each_stays_within_its_environment_and_says_what_it_is_for(spec: object) -> None:
    assert spec.description.endswith(".") and spec.actions  # type: ignore[attr-defined]
    assert "prod" in str(spec.trigger.match) + str(spec.trigger.match_related)  # type: ignore[attr-defined]


def test_without_a_block_nobody_is_told_and_all_else_is_the_same() -> None:
    silent = automations("prod")
    assert silent == [one for one in EVERY if not any(isinstance(action, Notify) for action in one.actions)]


def test_what_is_started_is_deployed() -> None:
    deployed = {
        one["entrypoint"].rpartition(".")[2].replace("_", "-") for one in read_definition("prod")["deployments"]
    }
    started = {action.deployment for one in EVERY for action in one.actions if isinstance(action, StartRun)}
    assert started == {"retrain/prod", "pipeline/prod", "validate/prod", "reconcile/prod", "roll-out/prod"}
    assert {one.partition("/")[0] for one in started} <= deployed


def test_an_operator_in_a_bare_template_is_in_parentheses() -> None:
    given = [action.parameters for one in EVERY for action in one.actions if isinstance(action, StartRun)]
    bare = [text for one in given for text in one.values() if re.fullmatch(r"\{\{[^{}]*\}\}", text) and " or " in text]
    assert bare and all(re.fullmatch(r"\{\{ \(.*\) \}\}", text) for text in bare)


def test_a_crashed_run_is_run_again_a_bounded_number_of_times() -> None:
    [restart] = [one for one in EVERY if one.name == "restart crashed runs (prod)"]
    assert restart.trigger.match.root["prefect.run-count"] == ["1", "2"]  # type: ignore[union-attr]
    assert isinstance(restart.actions[0], ChangeFlowRunState)


@pytest.mark.parametrize("state", [AwaitingRetry(), Scheduled(), Late(), Suspended(), Cancelling(), Completed()])
def test_a_run_that_was_handed_back_waits_or_ends_is_not_stuck(state: State) -> None:
    [stuck] = [one for one in EVERY if one.name == "crash stuck runs (prod)"]
    assert stuck.trigger.after == {"prefect.flow-run.heartbeat"}
    assert f"prefect.flow-run.{state.name}" in stuck.trigger.expect


def test_runs_of_a_deployment_that_other_people_call_prod_are_left_alone() -> None:
    [restart] = [one for one in EVERY if one.name == "restart crashed runs (prod)"]
    assert covers(restart.trigger, "perennial", "prod", "shop-returns")
    assert not covers(restart.trigger, "prod", "team-b")
    assert not covers(restart.trigger, "perennial", "test")


def covers(trigger: object, *tags: str) -> bool:
    """Whether it looks at a crash of a run with these tags of a deployment that is called `prod`."""
    role, named = "prefect.resource.role", {"prefect.resource.id": "prefect.deployment.1"}
    related = [{**named, role: "deployment", "prefect.resource.name": "prod"}]
    related += [{"prefect.resource.id": f"prefect.tag.{tag}", role: "tag"} for tag in tags]
    resource = {"prefect.resource.id": "prefect.flow-run.1", "prefect.run-count": "1"}
    told = {"event": "prefect.flow-run.Crashed", "resource": resource, "related": related, "payload": {}}
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    event = ReceivedEvent.model_validate({**told, "id": uuid4(), "occurred": moment, "received": moment})
    return not list(mismatches(event, ServerTrigger.model_validate(trigger.model_dump(mode="json"))))  # type: ignore[attr-defined]


def test_two_periods_within_a_minute_are_told_apart() -> None:
    told_apart = {one.name for one in automations("prod") if "perennial.period" in one.trigger.for_each}
    assert told_apart == {
        "run the pipeline on a delivery that was announced (prod)",
        "validate a received delivery (prod)",
    }

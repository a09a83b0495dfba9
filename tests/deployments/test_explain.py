"""Why an automation fires or does not, in a table of cases, and against what a real server does."""

import json
import time
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.server.events.schemas.automations import Automation, EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments import event_log
from deployments.event_log import EventLog, InvalidEvent, UnknownEvent, read_event
from deployments.explain import Names, explain, unexpected
from tests.servers import Server, running_server, until

DEPLOYMENT = str(uuid4())
NAMES = Names({DEPLOYMENT: "pipeline/prod"}, {})
PARAMETERS = {
    "use_case": "{{ event.resource.name }}",
    "score": {"__prefect_kind": "json", "value": {"__prefect_kind": "jinja", "template": "{{ event.payload.psi }}"}},
}


def event(name: str = "perennial.drift.detected", **changes: Any) -> dict[str, Any]:
    resource = {
        "prefect.resource.id": "perennial.use-case.shop",
        "prefect.resource.name": "shop",
        "perennial.environment": "prod",
    }
    now = datetime.now(UTC).isoformat()
    told = {"id": str(uuid4()), "event": name, "resource": resource, "payload": {"psi": 0.5}, "occurred": now}
    return told | changes


def automation(name: str = "retrain on drift (prod)", **changes: Any) -> dict[str, Any]:
    trigger = {
        "type": "event",
        "expect": ["perennial.drift.detected"],
        "match": {"prefect.resource.id": "perennial.use-case.*", "perennial.environment": "prod"},
        "for_each": ["prefect.resource.id"],
        "posture": "Reactive",
        "threshold": 1,
        "within": 0,
    }
    actions = [{"type": "run-deployment", "deployment_id": DEPLOYMENT, "parameters": PARAMETERS}]
    enabled = changes.pop("enabled", True)
    return {"name": name, "enabled": enabled, "trigger": trigger | changes, "actions": actions}


def received(told: dict[str, Any]) -> ReceivedEvent:
    return ReceivedEvent.model_validate({"received": told["occurred"], **told})


def explained(told: dict[str, Any], declared: dict[str, Any], *earlier: dict[str, Any]) -> Any:
    found = Automation.model_validate({"id": str(uuid4()), **declared})
    return explain(received(told), found, lambda trigger, one, since: [*map(received, earlier)], NAMES)


def test_what_fires_names_its_deployment_with_rendered_typed_parameters() -> None:
    found = explained(event(), automation())
    assert found.answer == "yes"
    assert found.actions == (
        {
            "action": "run-deployment",
            "deployment": "pipeline/prod",
            "parameters": {"use_case": "shop", "score": 0.5},
        },
    )


def test_a_template_that_the_server_could_not_render_is_told() -> None:
    found = explained(event(payload={}), automation())
    assert found.answer == "yes" and "fails" in found.actions[0]


@pytest.mark.parametrize(
    ("told", "changes", "answer", "reason"),
    [
        (event("perennial.drift.detect"), {}, "no", "It expects `perennial.drift.detected`, not"),
        (event(), {"enabled": False}, "no", "It is disabled."),
        (
            event(resource={**event()["resource"], "perennial.environment": "dev"}),
            {},
            "no",
            "It is for the environment `prod`, and the event is of `dev`.",
        ),
        (
            event(resource={"prefect.resource.id": "perennial.use-case.shop"}),
            {},
            "no",
            "The event's resource has no label `perennial.environment`, expected `prod`.",
        ),
        (
            event(resource={**event()["resource"], "prefect.resource.id": "shop"}),
            {},
            "no",
            "The label `prefect.resource.id` is `shop`, expected `perennial.use-case.*`.",
        ),
        (
            event(),
            {"match_related": {"prefect.resource.role": "flow", "prefect.resource.name": ["ingest", "validate"]}},
            "no",
            "It asks for a related resource with `prefect.resource.role` `flow`, `prefect.resource.name` `ingest` or",
        ),
        (event(), {"posture": "Proactive", "within": 60}, "no", "fires when this event fails to come for 0:01:00"),
        (event(), {"posture": "Proactive", "within": 60, "after": ["perennial.drift.detected"]}, "no", "its clock"),
        (event(), {"threshold": 3, "within": 60}, "counts", "It is number 1 of 3 events within 0:01:00."),
    ],
)
def test_what_does_not_fire_says_why(told: dict[str, Any], changes: dict[str, Any], answer: str, reason: str) -> None:
    found = explained(told, automation(**changes))
    assert found.answer == answer
    assert any(reason in one for one in found.reasons), found.reasons


def test_an_event_in_the_cooldown_names_the_one_that_used_it_up() -> None:
    first, second = event(), event()
    found = explained(second, automation(within=3600), first)
    assert found.answer == "no"
    assert first["id"] in found.reasons[0] and "cools down until" in found.reasons[0]


def test_a_name_that_nobody_expects_gets_the_nearest_one() -> None:
    declared = Automation.model_validate({"id": str(uuid4()), **automation()})
    assert "did you mean `perennial.drift.detected`?" in str(unexpected(received(event("perennial.drift")), [declared]))
    assert unexpected(received(event()), [declared]) is None


def test_a_compound_trigger_needs_its_other_parts() -> None:
    parts = [automation()["trigger"], automation(expect=["perennial.performance.degraded"])["trigger"]]
    declared = automation()
    declared["trigger"] = {"type": "compound", "require": "all", "within": 60, "triggers": parts}
    assert explained(event(), declared).answer == "counts"
    declared["trigger"]["require"] = "any"
    assert explained(event(), declared).answer == "yes"


@pytest.mark.parametrize("text", ["no json", "[]", '{"resource": {}}', '{"event": "x"}'])
def test_a_file_that_is_no_event_is_refused_with_an_example(tmp_path: Path, text: str) -> None:
    file = tmp_path / "event.json"
    file.write_text(text)
    with pytest.raises(InvalidEvent, match="Expected as"):
        read_event(file, datetime.now(UTC))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def client(server: Server) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as found:
        yield found


@pytest.mark.long
def test_the_answer_is_what_the_server_then_does(server: Server, client: SyncPrefectClient, tmp_path: Path) -> None:
    flow = server.ask("/flows/", {"name": "pipeline"})
    deployment = server.ask("/deployments/", {"name": "prod", "flow_id": flow["id"], "entrypoint": "x:y"})
    for declared in (
        automation("each"),
        automation("once", within=600),
        automation("twice", threshold=2, within=600),
        automation("misled", match={"perennial.environment": "dev"}),
        automation("off", enabled=False),
        automation("absent", posture="Proactive", within=600),
        automation("other", expect=["perennial.model.released"]),
    ):
        declared["actions"][0]["deployment_id"] = deployment["id"]
        server.ask("/automations/", declared)
    take_up(server, {"each", "once", "twice", "other"})
    log = EventLog(client)
    foreseen: dict[str, set[str]] = {}
    told = [event(), event(), event(), event("perennial.model.released"), event("perennial.other.told")]
    told[1]["resource"] = {**told[1]["resource"], "prefect.resource.id": "perennial.use-case.other"}
    for number, one in enumerate(told):
        one["occurred"] = datetime.now(UTC).isoformat()
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(one))
        asked = read_event(file, datetime.now(UTC))
        foreseen[one["id"]] = fired(log, asked)
        server.ask("/events", [one])
        until(30, lambda: known(server, one["id"]))  # noqa: B023
        until(30, lambda: done(server, one["id"]) == foreseen[one["id"]])  # noqa: B023
    assert [foreseen[one["id"]] for one in told] == [
        {"each", "once"},
        {"each", "once"},
        {"each", "twice"},
        {"other"},
        set(),
    ]
    assert {one["id"]: fired(log, log.event(UUID(one["id"]))) for one in told} == foreseen
    assert {one["id"]: done(server, one["id"]) for one in told} == foreseen
    [made] = [one for one in log.done(log.event(UUID(told[0]["id"]))) if one["automation"] == "each"]
    assert made["outcome"] == "executed" and made["about"].startswith("run `")


def take_up(server: Server, names: set[str]) -> None:
    """Wait until automations that were just made fire, on events of another use case: a server takes them up late."""
    seen: set[str] = set()
    triggered = {"event": {"name": ["prefect.automation.triggered"]}}

    def all_fire() -> bool:
        for one in (event(), event("perennial.model.released")):
            one["resource"]["prefect.resource.id"] = "perennial.use-case.first"
            server.ask("/events", [one])
        time.sleep(1)  # they are few, so that those that fire are on the first page
        seen.update(one["resource"]["prefect.resource.name"] for one in remembered(server, triggered))
        return names <= seen

    until(120, all_fire)


def fired(log: EventLog, one: ReceivedEvent) -> set[str]:
    found = [explain(one, each, log.past, log.names()) for each in log.automations()]
    return {each.automation for each in found if each.answer == "yes"}


def known(server: Server, identity: str) -> bool:
    return bool(remembered(server, {"id": {"id": [identity]}}))


def done(server: Server, identity: str) -> set[str]:
    wanted = {
        "related": {"id": [f"prefect.event.{identity}"]},
        "event": {"name": ["prefect.automation.triggered"]},
    }
    return {one["resource"]["prefect.resource.name"] for one in remembered(server, wanted)}


def remembered(server: Server, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    occurred = {"occurred": {"since": since, "until": "2200-01-01T00:00:00Z"}}
    found: list[dict[str, Any]] = server.ask("/events/filter", {"filter": {**occurred, **wanted}})["events"]
    return found


def test_of_many_events_those_of_the_resource_are_read_and_else_the_newest_which_is_said(
    server: Server, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [event("perennial.drift.noticed") for _ in range(6)]
    for one in told[1:5]:
        one["resource"] = {**one["resource"], "prefect.resource.id": "perennial.use-case.other"}
    server.ask("/events", told)
    until(30, lambda: all(known(server, one["id"]) for one in told))
    monkeypatch.setattr(event_log, "MOST_EVENTS", 3)
    log = EventLog(client)
    newest = log.event(UUID(told[5]["id"]))
    declared = automation(expect=["perennial.drift.noticed"], match={"perennial.environment": "prod"})
    each, every = (Automation.model_validate({"id": str(uuid4()), **one}) for one in (declared, deepcopy(declared)))
    assert isinstance(each.trigger, EventTrigger) and isinstance(every.trigger, EventTrigger)
    every.trigger.for_each = set()

    def earlier(trigger: EventTrigger) -> list[str]:
        return [str(one.id) for one in log.past(trigger, newest, None)]

    assert earlier(each.trigger) == [told[0]["id"]] and not log.has_left_out
    assert earlier(every.trigger) == [one["id"] for one in told[3:5]] and log.has_left_out


def test_an_event_that_the_server_does_not_know_is_an_error(client: SyncPrefectClient) -> None:
    with pytest.raises(UnknownEvent, match="give a JSON file"):
        EventLog(client).event(uuid4())

"""`perennial plan` and `perennial apply` on a real server: it becomes as declared, and nothing else is touched."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from rich.console import Console

from cli.promoting import _require_somebody
from cli.services import draw_server
from deployments import desired
from deployments.apply import MissingBlock, apply, changes
from deployments.automations import AutomationSpec, StartRun, automations
from deployments.definition import InvalidDefinition, read_definition
from deployments.item import AUTOMATION, BLOCK, DEPLOYMENT, KINDS, LIMIT, SCHEDULE
from deployments.observed import SomebodyElses
from deployments.plan import Change
from deployments.server import AnothersServer, NoServerKnown, NotAllowed, ServerAway, server_of
from deployments.services.overview import server_overview
from perennial.settings import Settings
from tests.builders import make_use_case
from tests.servers import PERENNIAL, Server, free_port, running_server, until

PASSWORD = "perennial:not-a-secret"
THEIR_LIMITS = {"theirs-test", "perennial-fits-test", "perennial:eu-test:fits", "perennial:test"}
CRON = {"pipeline": "0 6 2 * *", "monitor": "0 8 * * *"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It asks for a password, and calls a run late at once."""
    login = {"PREFECT_SERVER_API_AUTH_STRING": PASSWORD, "PREFECT_API_AUTH_STRING": PASSWORD}
    late = {f"PREFECT_SERVER_SERVICES_LATE_RUNS_{name}_SECONDS": "1" for name in ("AFTER", "LOOP")}
    with (
        running_server(tmp_path_factory.mktemp("server"), **login, **late) as found,
        temporary_settings({PREFECT_API_AUTH_STRING: PASSWORD}),
    ):
        yield found


@pytest.fixture(scope="module")
def settings(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The environment `test` with one use case, on a server that has what other people made."""
    workspace = make_use_case(tmp_path_factory.mktemp("project"), rows=10, changes={"schedules": CRON})
    flow = server.ask("/flows/", {"name": "theirs"})
    for name, tags in (("test", ["perennial"]), ("other", ["test"])):
        server.ask("/deployments/", {"name": name, "flow_id": flow["id"], "tags": tags})
    server.ask("/automations/", theirs("page me (test)", ["test"]))
    for name in THEIR_LIMITS:
        server.ask("/v2/concurrency_limits/", {"name": name, "limit": 1})
    return workspace.settings.model_copy(update={"prefect_api_url": server.url})


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[SyncPrefectClient]:
    with server_of(settings) as found:
        yield found


@pytest.fixture
def applied(client: SyncPrefectClient, settings: Settings) -> None:
    apply(client, settings, lambda _: None)


def theirs(name: str, tags: list[str]) -> dict[str, Any]:
    trigger = {"type": "event", "expect": ["a"], "posture": "Reactive", "threshold": 1, "within": 0}
    return {"name": name, "tags": tags, "trigger": trigger, "actions": [{"type": "do-nothing"}]}


def everything(server: Server) -> dict[str, Any]:
    """All that a server keeps, with ids and times of change."""
    asked = ("/work_pools/filter", "/block_documents/filter", "/v2/concurrency_limits/filter")
    asked += ("/deployments/filter", "/automations/filter")
    volatile = {"status", "last_polled", "active_slots"}
    return {
        f"{path} {one['id']}": {name: value for name, value in one.items() if name not in volatile}
        for path in asked
        for one in server.ask(path, {})
    }


def automation(server: Server, name: str) -> dict[str, Any]:
    (found,) = [one for one in server.ask("/automations/filter", {}) if one["name"] == name]
    return dict(found)


def limits(server: Server) -> set[str]:
    return {one["name"] for one in server.ask("/v2/concurrency_limits/filter", {})}


def told(found: list[Change]) -> list[tuple[str, str, str]]:
    return [(one.action, one.item.kind, one.item.name) for one in found]


def test_an_empty_server_lacks_everything_and_planning_changes_nothing(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    before = everything(server)
    found = changes(client, settings)
    assert {one.action for one in found} == {"create"}
    assert {one.item.kind for one in found} == set(KINDS) - {LIMIT}
    assert everything(server) == before


def test_applied_twice_the_second_time_touches_nothing(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    planned = changes(client, settings)
    assert told(apply(client, settings, lambda _: None)) == told(planned)
    assert changes(client, settings) == []
    before = everything(server)
    assert apply(client, settings, lambda _: None) == []
    assert everything(server) == before


@pytest.mark.usefixtures("applied")
def test_what_other_people_made_is_left_alone(server: Server) -> None:
    assert automation(server, "page me (test)")["tags"] == ["test"]
    names = {(one["name"], tuple(one["tags"])) for one in server.ask("/deployments/filter", {})}
    assert {("test", ("perennial",)), ("other", ("test",))} <= names
    assert limits(server) >= THEIR_LIMITS


@pytest.mark.usefixtures("applied")
def test_status_lists_our_deployments_alone(settings: Settings) -> None:
    told = server_overview(settings)
    assert told
    listed = {one["deployment"] for one in told["deployments"]}
    assert "pipeline/test" in listed and "theirs/test" not in listed


@pytest.mark.usefixtures("applied")
def test_status_shows_a_run_that_no_worker_has_taken_in_time_as_late(server: Server, settings: Settings) -> None:
    shown = Console(width=100, file=StringIO())
    assert shown_runs(settings, shown) == "No run is underway, waiting or late."
    deployment = server.ask("/deployments/name/monitor/test")
    due = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    scheduled = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
    asked = {"name": "nobody-came", "state": scheduled, "parameters": {"use_case": "shop-returns"}}
    run = server.ask(f"/deployments/{deployment['id']}/create_flow_run", asked)
    until(30, lambda: shown_runs(settings, shown).startswith("late"))
    [row] = (server_overview(settings) or {})["runs"]
    assert (row["id"], row["state"]) == (run["id"], "Late") and row["late_seconds"] >= 600
    assert re.fullmatch(r"late  nobody-came, 6\d\d s late", shown_runs(settings, shown))
    server.ask(f"/flow_runs/{run['id']}", None, "DELETE")


def shown_runs(settings: Settings, shown: Console) -> str:
    """What `perennial status` says of runs, below the table of deployments."""
    with shown.capture() as told:
        shown.print(draw_server(server_overview(settings)))
    return told.get().strip().splitlines()[-1].strip()


@pytest.mark.usefixtures("applied")
def test_a_schedule_that_its_use_case_no_longer_declares_goes(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    path = Path(settings.use_cases) / "shop-returns" / "use_case.yaml"
    declared = path.read_text()
    path.write_text(yaml.safe_dump({**yaml.safe_load(declared), "schedules": {"pipeline": "0 7 2 * *"}}))
    expected = [
        ("update", SCHEDULE, "pipeline/test shop-returns"),
        ("delete", SCHEDULE, "monitor/test shop-returns"),
    ]
    assert told(changes(client, settings)) == expected
    assert told(apply(client, settings, lambda _: None)) == expected
    assert server.ask("/deployments/name/monitor/test")["schedules"] == []
    (kept,) = server.ask("/deployments/name/pipeline/test")["schedules"]
    assert (kept["slug"], kept["schedule"]["cron"], kept["schedule"]["timezone"]) == (
        "shop-returns",
        "0 7 2 * *",
        "UTC",
    )
    assert kept["parameters"] == {"use_case": "shop-returns"}
    path.write_text(declared)


@pytest.mark.usefixtures("applied")
def test_a_pause_by_hand_is_shown_and_then_undone(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    deployment = server.ask("/deployments/name/monitor/test")
    (schedule,) = deployment["schedules"]
    server.ask(f"/deployments/{deployment['id']}/schedules/{schedule['id']}", {"active": False}, "PATCH")
    (change,) = changes(client, settings)
    assert change.fields["active"] == (False, True)
    assert change.fields["parameters.use_case"][1] == "shop-returns"  # Prefect 3.8 empties them when one is paused
    apply(client, settings, lambda _: None)
    (after,) = server.ask("/deployments/name/monitor/test")["schedules"]
    assert {name: after[name] for name in after if name != "updated"} == {
        name: schedule[name] for name in schedule if name != "updated"
    }


@pytest.mark.usefixtures("applied")
def test_where_schedules_are_paused_only_the_safety_net_runs(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    quiet = settings.model_copy(update={"schedules": "paused"})
    assert {one.item.kind for one in apply(client, quiet, lambda _: None)} == {SCHEDULE}
    deployments = [one for one in server.ask("/deployments/filter", {}) if "perennial" in one["tags"]]
    active = [(schedule["slug"], schedule["active"]) for one in deployments for schedule in one["schedules"]]
    assert sorted(active) == [("all-use-cases", True), ("shop-returns", False), ("shop-returns", False)]


@pytest.mark.usefixtures("applied")
def test_a_deployment_that_was_edited_by_hand_is_mended_under_its_id(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    before = server.ask("/deployments/name/train/test")
    edited = {
        "tags": ["mine", "perennial", "test"],
        "paused": True,
        "concurrency_limit": 9,
        "job_variables": {"env": {"PERENNIAL_ENV": "prod"}},
    }
    server.ask(f"/deployments/{before['id']}", edited, "PATCH")
    (change,) = changes(client, settings)
    env = {f"job_variables.env.{name}" for name in ("PERENNIAL_ENV", "PREFECT_CLIENT_MAX_RETRIES")}
    assert set(change.fields) == {"tags", "paused", "concurrency.limit", *env}
    apply(client, settings, lambda _: None)
    after = server.ask("/deployments/name/train/test")
    assert {name: after[name] for name in ("id", *edited)} == {name: before[name] for name in ("id", *edited)}


@pytest.mark.usefixtures("applied")
def test_an_automation_that_was_disabled_is_enabled_without_forgetting_its_cooldown(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    before = automation(server, "retrain on drift (test)")
    server.ask(f"/automations/{before['id']}", {"enabled": False}, "PATCH")
    (change,) = apply(client, settings, lambda _: None)
    assert change.fields == {"enabled": (False, True)}
    after = automation(server, "retrain on drift (test)")
    assert after["enabled"] is True
    assert after["trigger"]["id"] == before["trigger"]["id"]  # cooldowns are kept by the id of the trigger


@pytest.mark.usefixtures("applied")
def test_an_automation_that_was_edited_by_hand_is_mended_and_the_others_are_not_touched(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    before = {one["name"]: one for one in server.ask("/automations/filter", {})}
    edited = dict(before["retrain on drift (test)"])
    edited = {name: edited[name] for name in ("name", "trigger", "actions")} | {"description": "mine now"}
    edited["tags"] = ["mine", "perennial", "test"]
    edited["actions"] = [{"type": "do-nothing"}]
    server.ask(f"/automations/{before['retrain on drift (test)']['id']}", edited, "PUT")
    (change,) = apply(client, settings, lambda _: None)
    assert set(change.fields) == {"description", "tags", "actions"}
    after = {one["name"]: one for one in server.ask("/automations/filter", {})}
    mended = after.pop("retrain on drift (test)")
    assert mended["id"] == before["retrain on drift (test)"]["id"]
    assert mended["actions"] == before.pop("retrain on drift (test)")["actions"]
    assert after == before


@pytest.mark.usefixtures("applied")
def test_what_somebody_else_gave_a_declared_name_is_refused_and_left_alone(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    deployment, mine = server.ask("/deployments/name/train/test"), automation(server, "retrain on drift (test)")
    server.ask(f"/deployments/{deployment['id']}", {"tags": ["team-b"]}, "PATCH")
    before = everything(server)
    with pytest.raises(SomebodyElses, match="a deployment `train/test` without the tags `perennial` and `test`"):
        apply(client, settings, lambda _: None)
    assert everything(server) == before
    server.ask(f"/deployments/{deployment['id']}", {"tags": deployment["tags"]}, "PATCH")
    other = server.ask("/automations/", theirs(mine["name"], ["team-b"]))
    with pytest.raises(SomebodyElses, match=r"an automation `retrain on drift \(test\)` without"):
        changes(client, settings)
    server.ask(f"/automations/{other['id']}", None, "DELETE")
    assert changes(client, settings) == []


@pytest.mark.usefixtures("applied")
def test_of_two_automations_with_one_name_the_first_stays(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    first = automation(server, "retrain on drift (test)")
    kept = ("name", "description", "tags", "trigger", "actions")
    server.ask("/automations/", {name: first[name] for name in kept})
    assert told(changes(client, settings)) == [("delete", AUTOMATION, "retrain on drift (test)")]
    apply(client, settings, lambda _: None)
    assert automation(server, "retrain on drift (test)") == first


@pytest.mark.usefixtures("applied")
def test_a_deployment_that_is_no_longer_declared_goes_with_its_schedule_and_automation(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    flow = server.ask("/flows/", {"name": "old"})
    nightly = {"slug": "nightly", "schedule": {"cron": "0 3 * * *", "timezone": "UTC"}}
    body = {"name": "test", "flow_id": flow["id"], "tags": ["perennial", "test"], "schedules": [nightly]}
    deployment = server.ask("/deployments/", body)
    old = theirs("run the old (test)", ["perennial", "test"])
    server.ask("/automations/", {**old, "actions": [{"type": "run-deployment", "deployment_id": deployment["id"]}]})
    assert told(apply(client, settings, lambda _: None)) == [
        ("delete", AUTOMATION, "run the old (test)"),
        ("delete", SCHEDULE, "old/test nightly"),
        ("delete", DEPLOYMENT, "old/test"),
    ]
    assert changes(client, settings) == []


@pytest.mark.usefixtures("applied")
def test_a_block_that_was_edited_by_hand_is_mended(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    documents = server.ask("/block_documents/filter", {})
    (block,) = [one for one in documents if one["name"] == "test"]
    server.ask(f"/block_documents/{block['id']}", {"data": {"threads": 3}}, "PATCH")
    assert told(apply(client, settings, lambda _: None)) == [("update", BLOCK, "perennial-environment/test")]
    assert server.ask(f"/block_documents/{block['id']}")["data"] == block["data"]


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
@pytest.mark.usefixtures("applied")
def test_a_work_pool_of_another_type_is_made_anew_and_used(
    server: Server, client: SyncPrefectClient, settings: Settings, kind: Literal["docker", "kubernetes"]
) -> None:
    given = {"work_pool": kind, "flows_image": "flows@sha256:0a1b", "job_variables": {"stream_output": False}}
    contained = settings.model_copy(update=given)
    pool, block = changes(client, contained)
    assert pool.fields["type"] == ("process", kind)
    assert block.fields == {"document.flows_image": ("", "flows@sha256:0a1b")}
    apply(client, contained, lambda _: None)
    assert changes(client, contained) == []
    found = server.ask("/work_pools/perennial-test")
    assert found["type"] == kind
    variables = found["base_job_template"]["variables"]["properties"]
    assert [variables[name]["default"] for name in ("image", "stream_output")] == ["flows@sha256:0a1b", False]
    assert server.ask("/deployments/name/train/test")["work_pool_name"] == "perennial-test"


@pytest.mark.usefixtures("applied")
def test_people_are_told_only_through_blocks_that_exist(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    telling = settings.model_copy(update={"notifications": ("custom-webhook/alerts",)})
    before = everything(server)
    with pytest.raises(MissingBlock, match=r"`custom-webhook/alerts`.*Nothing was changed"):
        apply(client, telling, lambda _: None)
    assert everything(server) == before
    CustomWebhookNotificationBlock(name="alerts", url="http://127.0.0.1:1/").save("alerts")  # type: ignore[unused-coroutine]
    assert {one.item.kind for one in apply(client, telling, lambda _: None)} == {AUTOMATION}
    assert changes(client, telling) == []


@pytest.mark.usefixtures("applied")
def test_every_automation_starts_its_run_on_an_event_that_says_the_least(server: Server) -> None:
    server.ask("/events", [smallest_event(one, server) for one in automations("test") if starts(one)])
    wanted = {action.deployment for one in automations("test") for action in starts(one)}

    def started() -> bool:
        flows = {one["id"]: one["name"] for one in server.ask("/flows/filter", {})}
        return {f"{flows[one['flow_id']]}/test" for one in server.ask("/flow_runs/filter", {})} >= wanted

    until(60, started)


def starts(one: AutomationSpec) -> list[StartRun]:
    return [action for action in one.actions if isinstance(action, StartRun)]


def smallest_event(one: AutomationSpec, server: Server) -> dict[str, Any]:
    """An event that fires an automation and bears nothing but what it is about."""
    name = {"prefect.resource.id": "perennial.use-case.shop-returns", "prefect.resource.name": "shop-returns"}
    deployment = server.ask("/deployments/name/ingest/test")
    run = {"prefect.resource.id": f"prefect.deployment.{deployment['id']}", "prefect.resource.name": "test"}
    tags = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in deployment["tags"]]
    (event,) = one.trigger.expect
    return {
        "event": event,
        "resource": {**name, "perennial.environment": "test"},
        "related": [{**run, "prefect.resource.role": "deployment"}, *tags],
        "payload": {},
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
    }


@pytest.mark.long
def test_the_command_says_by_its_exit_code_whether_something_differs(
    server: Server, client: SyncPrefectClient, settings: Settings
) -> None:
    apply(client, settings, lambda _: None)
    server.environment |= {"COLUMNS": "80", "PERENNIAL_USE_CASES": settings.use_cases}
    refused = json.loads(server.run(PERENNIAL, "apply", "--env", "prod", "--json", expected=1))
    assert refused["error"] == "AnothersServer" and "`test`, and `prod` was never" in refused["message"]
    server.environment |= {"PERENNIAL_ENV": "prod", "PERENNIAL_PREFECT_API_URL": server.url}
    planned = server.run(PERENNIAL, "plan", "--env", "prod", expected=2)
    assert "+  schedule    monitor/prod shop-returns  0 8 * * * UTC" in planned
    assert planned.splitlines()[-1].endswith("to create. perennial apply --env prod makes it so.")
    assert max(map(len, planned.splitlines())) <= 80
    applied = server.run("sh", "-c", f"{PERENNIAL} apply --env prod 2>&1")
    assert applied.startswith(f"Applying prod to {server.url}, as `prefect_api_url` of the environment says ...\n")
    assert " created." in applied and "`notifications: [slack-webhook/slack-prod]`" in " ".join(applied.split())
    del server.environment["PERENNIAL_PREFECT_API_URL"]  # the server knows `prod` now
    after = json.loads(server.run(PERENNIAL, "plan", "--env", "prod", "--json"))
    assert after == {"environment": "prod", "server": server.url, "changes": []}
    assert changes(client, settings) == []  # the other environment of this server


def test_a_limit_over_several_deployments_is_made_changed_and_removed_when_nobody_declares_it(
    server: Server, client: SyncPrefectClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = read_definition("test")
    monkeypatch.setattr(desired, "read_definition", lambda environment: definition)
    for slots in (2, 3):
        definition["limits"] = [{"name": "fits", "limit": slots}]
        apply(client, settings, lambda _: None)
        assert server.ask("/v2/concurrency_limits/perennial:test:fits")["limit"] == slots
    definition["limits"] = []
    orphan = [("delete", LIMIT, "perennial:test:fits")]
    assert told(changes(client, settings)) == orphan
    before = limits(server)
    assert told(apply(client, settings, lambda _: None)) == orphan
    assert before - limits(server) == {"perennial:test:fits"}
    assert changes(client, settings) == []


def test_an_automation_of_a_deployment_that_nobody_declares_is_a_mistake(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = read_definition("test")
    definition["deployments"] = [one for one in definition["deployments"] if "retrain" not in one["entrypoint"]]
    monkeypatch.setattr(desired, "read_definition", lambda environment: definition)
    with pytest.raises(InvalidDefinition, match=r"starts `retrain/test`, which prefect\.yaml does not have"):
        desired.declared(settings)


@pytest.mark.usefixtures("applied")
def test_a_server_of_another_environment_is_not_taken_because_the_shell_still_names_it(
    server: Server, client: SyncPrefectClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server.url)
    before = everything(server)
    left = settings.model_copy(update={"environment": "dev", "prefect_api_url": ""})
    for act in (changes, lambda *given: apply(*given, lambda _: None)):
        with pytest.raises(AnothersServer, match=r"`test`, and `dev` was never applied to it\. Nothing was"):
            act(client, left)
    with pytest.raises(AnothersServer):
        _require_somebody(left.model_copy(update={"approval": "person"}))  # whose people would answer
    assert everything(server) == before
    assert changes(client, settings.model_copy(update={"prefect_api_url": ""})) == []
    assert changes(client, left.model_copy(update={"prefect_api_url": server.url}))


@pytest.mark.usefixtures("server")
def test_without_the_password_the_error_says_which_variable_holds_it(settings: Settings) -> None:
    with (
        temporary_settings({PREFECT_API_AUTH_STRING: None}),
        pytest.raises(NotAllowed, match="`PREFECT_API_AUTH_STRING`"),
        server_of(settings),
    ):
        pass


def test_without_a_server_the_error_says_how_to_get_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    nowhere = settings.model_copy(update={"prefect_api_url": ""})
    with pytest.raises(NoServerKnown, match="`perennial up`"), server_of(nowhere):
        pass
    away = settings.model_copy(update={"prefect_api_url": f"http://127.0.0.1:{free_port()}/api"})
    with pytest.raises(ServerAway, match="does not answer"), server_of(away):
        pass


def test_a_job_variable_that_the_template_does_not_have_is_named(settings: Settings) -> None:
    mistaken = settings.model_copy(update={"work_pool": "docker", "job_variables": {"network": ["team"]}})
    with pytest.raises(InvalidDefinition, match=r"names `network`, which .* docker pool does not have.*`networks`"):
        desired.declared(mistaken)

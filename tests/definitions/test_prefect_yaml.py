"""A real server takes `prefect.yaml` as it is, schedules by cron, and a real worker runs what it deploys."""

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.builders import make_use_case
from tests.servers import PERENNIAL, PREFECT, ROOT, Server, running_server, until

STAGES = {"ingest", "validate", "train", "register", "deploy", "predict", "monitor"}
FLOWS = {*STAGES, "pipeline", "retrain", "reconcile", "promote", "rollback", "roll_out", "host"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    settings = make_use_case(folder, changes={"schedules": {"monitor": "0 8 * * *"}}).settings
    variables = {"PERENNIAL_STORAGE_ROOT": settings.storage_root, "PERENNIAL_USE_CASES": settings.use_cases}
    often = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2"}
    with running_server(folder, **variables, **often) as found:
        template = str(ROOT / "deployments" / "work_pools" / "process.json")
        found.run(PREFECT, "work-pool", "create", "--type", "process", "--base-job-template", template, "perennial-dev")
        found.run(PREFECT, "--no-prompt", "deploy", "--all")
        yield found


@pytest.mark.long
def test_every_flow_is_deployed_under_the_name_of_the_environment(server: Server) -> None:
    found = server.ask("/deployments/filter", {})
    assert {one["name"] for one in found} == {"dev"}
    assert {one["entrypoint"].rsplit(".", 1)[1] for one in found} == FLOWS
    assert {one["work_pool_name"] for one in found} == {"perennial-dev"}
    assert all({"perennial", "dev"} <= set(one["tags"]) and one["description"] for one in found)


@pytest.mark.long
@pytest.mark.parametrize("environment", ["test", "prod"])
def test_one_command_deploys_the_other_environments_too(server: Server, environment: str) -> None:
    server.run(PREFECT, "work-pool", "create", "--type", "process", f"perennial-{environment}")
    server.run("env", f"PERENNIAL_ENV={environment}", PREFECT, "--no-prompt", "deploy", "--all")
    found = [one for one in server.ask("/deployments/filter", {}) if one["name"] == environment]
    assert {one["entrypoint"].rsplit(".", 1)[1] for one in found} == FLOWS
    assert {one["work_pool_name"] for one in found} == {f"perennial-{environment}"}
    assert {one["job_variables"]["env"]["PERENNIAL_ENV"] for one in found} == {environment}


@pytest.mark.long
def test_prefect_deploys_what_perennial_would(server: Server) -> None:
    planned = json.loads(server.run(PERENNIAL, "plan", "--json", expected=2))["changes"]
    assert {one["action"] for one in planned if one["kind"] == "deployment"} == set()
    assert {one["kind"] for one in planned if one["action"] == "create"} == {"block", "schedule", "automation"}


@pytest.mark.long
def test_the_cron_of_a_use_case_makes_runs_about_it(server: Server) -> None:
    server.run(PERENNIAL, "apply")
    deployment = server.ask("/deployments/name/monitor/dev")
    wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    found = until(60, lambda: server.ask("/flow_runs/filter", wanted))
    assert {one["state_type"] for one in found} == {"SCHEDULED"}
    assert all(one["parameters"] == {"use_case": "shop-returns"} for one in found)
    assert all(one["expected_start_time"].endswith("T08:00:00Z") for one in found)


@pytest.mark.long
def test_a_worker_runs_a_deployment(server: Server) -> None:
    server.start(PREFECT, "worker", "start", "--pool", "perennial-dev")
    deployment = server.ask("/deployments/name/ingest/dev")
    parameters = {"use_case": "shop-returns", "period": "2024-01", "as_of": "2024-02-01T00:00:00Z"}
    run = server.ask(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
    ended = {"COMPLETED", "FAILED", "CRASHED"}
    done = until(120, lambda: [one for one in [server.ask(f"/flow_runs/{run['id']}")] if one["state_type"] in ended])
    assert done[0]["state_type"] == "COMPLETED", done[0]["state"]
    assert done[0]["name"] == "ingest shop-returns 2024-01"
    assert {"shop-returns", "dev"} <= set(done[0]["tags"])


def test_the_definition_repeats_nothing() -> None:
    definition = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert {one["entrypoint"].rsplit(".", 1)[1] for one in definition["deployments"]} == FLOWS
    assert len((ROOT / "prefect.yaml").read_text().splitlines()) < 60

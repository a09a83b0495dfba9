"""A real server takes `prefect.yaml` as it is, schedules by cron, and a real worker runs what it deploys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders import make_use_case
from tests.servers import PREFECT, ROOT, Server, running_server, until

FLOWS = {"pipeline", "ingest", "validate", "train", "register", "deploy", "predict", "monitor"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    settings = make_use_case(folder).settings
    variables = {"PERENNIAL_STORAGE_ROOT": settings.storage_root, "PERENNIAL_USE_CASES": settings.use_cases}
    with running_server(folder, **variables) as found:
        found.run(PREFECT, "work-pool", "create", "--type", "process", "perennial-dev")
        found.run(PREFECT, "--no-prompt", "deploy", "--all")
        yield found


def test_every_flow_is_deployed_under_the_name_of_the_environment(server: Server) -> None:
    found = server.ask("/deployments/filter", {})
    assert {one["name"] for one in found} == {"dev"}
    assert {one["entrypoint"].rsplit(".", 1)[1] for one in found} == FLOWS
    assert {one["work_pool_name"] for one in found} == {"perennial-dev"}
    assert all({"perennial", "dev"} <= set(one["tags"]) and one["description"] for one in found)


def test_what_is_deployed_is_what_was_reviewed(server: Server) -> None:
    flows = {one["id"]: one["name"] for one in server.ask("/flows/filter", {})}
    found = sorted(server.ask("/deployments/filter", {}), key=lambda one: flows[one["flow_id"]])
    lines = [line for one in found for line in described(flows[one["flow_id"]], one)]
    assert "\n".join(lines) + "\n" == (Path(__file__).parent / "dev.txt").read_text()


def described(flow: str, deployment: dict[str, Any]) -> list[str]:
    schema = deployment["parameter_openapi_schema"]
    needed = schema.get("required", [])
    parameters = [f"{name}{'' if name in needed else '?'}" for name in schema["properties"]]
    strategy = deployment["concurrency_options"]["collision_strategy"]
    limit = deployment["global_concurrency_limit"]["limit"]
    return [
        f"{flow}/{deployment['name']}  {deployment['entrypoint']}({', '.join(parameters)})",
        f"    pool {deployment['work_pool_name']}, at most {limit} at once ({strategy}), tags {deployment['tags']}",
        f"    schedules {[one['schedule'] for one in deployment['schedules']] or 'none'}",
    ]


def test_a_cron_schedule_makes_runs(server: Server) -> None:
    deployment = server.ask("/deployments/name/validate/dev")
    schedule = {"schedule": {"cron": "0 6 * * *", "timezone": "UTC"}, "active": True}
    server.ask(f"/deployments/{deployment['id']}/schedules", [schedule])
    wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    assert until(60, lambda: server.ask("/flow_runs/filter", wanted))


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

"""A real server takes `prefect.yaml` as it is, schedules by cron, and a real worker runs what it deploys."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders import make_use_case

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))
FLOWS = {"pipeline", "ingest", "validate", "train", "register", "deploy", "predict", "monitor"}


class Server:
    """A Prefect server of this test's own on loopback."""

    def __init__(self, home: Path, storage: Path, use_cases: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PERENNIAL_ENV": "dev",
            "PERENNIAL_STORAGE_ROOT": str(storage),
            "PERENNIAL_USE_CASES": use_cases,
            "DO_NOT_TRACK": "1",
        }
        self.log = (home / "server.log").open("w")
        self.children: list[subprocess.Popen[bytes]] = []
        self.start(PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(self.port))

    def start(self, *command: str) -> None:
        quiet = ["env", "--default-signal=INT,QUIT", *command]
        child = subprocess.Popen(quiet, cwd=ROOT, env=self.environment, stdout=self.log, stderr=self.log)
        self.children.append(child)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def stop(self) -> None:
        for child in reversed(self.children):
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
        self.log.close()


def until(seconds: float, ask: Any) -> Any:
    """Wait for a condition: the answer as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            answer = ask()
        except OSError:
            answer = None
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    workspace = make_use_case(folder)
    found = Server(folder, Path(workspace.settings.storage_root), workspace.settings.use_cases)
    try:
        until(120, lambda: found.ask("/health"))
        found.run(PREFECT, "work-pool", "create", "--type", "process", "perennial-dev")
        found.run(PREFECT, "--no-prompt", "deploy", "--all")
        yield found
    finally:
        found.stop()


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
    body = json.dumps([schedule]).encode()
    address = f"{server.url}/deployments/{deployment['id']}/schedules"
    urllib.request.urlopen(urllib.request.Request(address, body, {"Content-Type": "application/json"}), timeout=10)
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

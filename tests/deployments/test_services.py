"""`perennial up` on one machine with real servers: it outlives the command, is used by the others, and ends whole."""

import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from blocks.local import prefect_home
from blocks.stack import BrokenRecord, Service, read_stack
from blocks.stack import Stack as Record
from deployments.services.launches import Launch
from deployments.services.processes import record, start, stop
from perennial.settings import Settings
from tests.builders import make_use_case
from tests.deployments.stacks import Stack, stopping


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = make_use_case(tmp_path_factory.mktemp("stack")).settings
    with stopping(Stack(settings.storage_root, settings.use_cases)) as stack:
        assert stack.up()["started"] == ["prefect", "mlflow", "worker"]
        yield stack


def test_servers_answer_on_loopback_after_the_command_has_ended(stack: Stack) -> None:
    for name, path in {"prefect": "/api/health", "mlflow": "/health"}.items():
        address = stack.services[name].address
        assert address.startswith("http://127.0.0.1:")
        urllib.request.urlopen(address + path, timeout=10).close()
        listening = {each.laddr.ip for each in listeners(stack.services[name].pid)}
        assert listening == {"127.0.0.1"}


def listeners(pid: int) -> list[Any]:
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return [each for one in family for each in one.net_connections("tcp") if each.status == psutil.CONN_LISTEN]


def test_what_is_on_record_is_for_its_owner_alone(stack: Stack) -> None:
    run = Path(stack.storage) / "run"
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    for path in (run / "stack.json", *run.glob("*.log")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_up_again_starts_nothing_and_says_so(stack: Stack) -> None:
    before = stack.services
    told = stack.json("up")
    assert (told["started"], told["changed"]) == ([], 0)
    assert "running already" in stack.run("up").stdout
    assert stack.services == before


def test_up_again_applies_what_a_use_case_says_since_and_leaves_the_worker_its_runs(stack: Stack) -> None:
    before, place = stack.services, Path(stack.variables["PERENNIAL_USE_CASES"]) / "shop-returns" / "use_case.yaml"
    place.write_text(place.read_text() + "schedules: {pipeline: 0 6 2 * *}\n")
    told = stack.json("up")
    assert (told["started"], told["changed"]) == ([], 1)
    [schedule] = stack.ask("/deployments/name/pipeline/dev")["schedules"]
    assert (schedule["slug"], schedule["active"]) == ("shop-returns", True)
    assert stack.services == before


def test_local_commands_go_through_it(stack: Stack) -> None:
    stack.run("ingest", "shop-returns", "--period", "2024-01", "--as-of", "2024-02-01")
    assert not (Path(stack.storage) / "prefect" / "server.log").exists(), "a private server was started"
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    api = {PREFECT_API_URL: stack.services["prefect"].address + "/api"}
    with temporary_settings(api), get_client(sync_client=True) as client:
        assert "ingest shop-returns 2024-01" in {run.name for run in client.read_flow_runs()}


def test_status_tells_what_runs_and_what_is_deployed(stack: Stack) -> None:
    told = stack.json("status")
    assert all(one["running"] and one["memory_mb"] > 50 for one in told["services"])
    assert "pipeline/dev" in {one["deployment"] for one in told["server"]["deployments"]}
    assert [one["status"] for one in told["server"]["workers"]] == ["ONLINE"]
    assert told["use_cases"][0]["use_case"] == "shop-returns"
    assert "pipeline/dev" in stack.run("status").stdout


def test_the_doctor_finds_it_well(stack: Stack) -> None:
    told = stack.json("doctor")
    checked = {"python", "packages", "environment", "storage", "disk", "secrets", "services", "prefect", "clock"}
    assert {one["check"] for one in told["findings"]} == checked | {"mlflow", "worker", "deployments"}
    assert {one["state"] for one in told["findings"]} == {"ok"}


def test_browsers_may_use_it_from_its_own_pages_alone(stack: Stack) -> None:
    address = stack.services["prefect"].address
    assert allowed(address, origin=address) == address
    assert allowed(address, origin="https://elsewhere.example") is None


def allowed(address: str, origin: str) -> str | None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    request = urllib.request.Request(f"{address}/api/flows/filter", headers=headers, method="OPTIONS")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.headers["Access-Control-Allow-Origin"])
    except urllib.error.HTTPError as refused:
        return refused.headers["Access-Control-Allow-Origin"]


def test_without_a_server_status_still_tells_what_serves(tmp_path: Path) -> None:
    settings = make_use_case(tmp_path).settings
    told = Stack(settings.storage_root, settings.use_cases).json("status")
    assert told["server"] is None
    assert told["services"] == []
    assert [one["use_case"] for one in told["use_cases"]] == ["shop-returns"]


def test_outside_dev_it_asks_for_databases(tmp_path: Path) -> None:
    stack = Stack(tmp_path, str(tmp_path), "test")
    stack.variables.pop("PREFECT_SERVER_DATABASE_CONNECTION_URL", None)
    told = stack.json("up", expected=1)
    assert told["error"] == "MissingDatabase"
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" in told["message"]


def test_a_process_that_took_over_a_pid_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        born = psutil.Process(stranger.pid).create_time()
        settings = Settings(environment="dev", storage_root=str(tmp_path))
        (tmp_path / "run").mkdir()
        reused = Service(name="worker", pid=stranger.pid, created=born - 100, log="worker.log")
        record(Record(environment="dev", services={"worker": reused}), settings)
        assert read_stack(settings).running("worker") is None
        assert Stack(tmp_path, str(tmp_path)).json("down")["stopped"] == []
        assert stranger.poll() is None
        ours = reused.model_copy(update={"created": born})
        assert stop(ours)
        assert stranger.wait(timeout=10) != 0
    finally:
        stranger.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell the birth of a process by the clock alone")
def test_a_service_is_known_again_after_the_clock_was_set(tmp_path: Path) -> None:
    settings = Settings(environment="dev", storage_root=str(tmp_path))
    (tmp_path / "run").mkdir()
    sleeper = Launch("worker", (sys.executable, "-c", "import time; time.sleep(600)"), dict(os.environ))
    ours = start(sleeper, settings)
    try:
        as_the_clock_tells_it_now = ours.model_copy(update={"created": ours.created + 100})
        assert as_the_clock_tells_it_now.process
        assert ours.model_copy(update={"born": ours.born + "1"}).process is None
        assert ours.model_copy(update={"born": ""}).process
        record(Record(environment="dev", services={"worker": as_the_clock_tells_it_now}), settings)
        assert Stack(tmp_path, str(tmp_path)).json("down")["stopped"] == ["worker"]
    finally:
        stop(ours)


WORKER = """
import subprocess, sys
flow = "import time; time.sleep(600)"
print(subprocess.Popen([sys.executable, "-c", flow]).pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("server", "is_ours"), [("http://127.0.0.1:1/api", True), ("http://127.0.0.1:2/api", False)])
def test_the_flows_of_a_worker_that_was_killed_are_stopped_and_those_of_others_left_alone(
    tmp_path: Path, server: str, is_ours: bool
) -> None:
    settings = Settings(environment="dev", storage_root=str(tmp_path))
    (tmp_path / "run").mkdir()
    given = {"PREFECT__FLOW_RUN_ID": "1", "PREFECT_API_URL": server, "PREFECT_HOME": str(prefect_home(settings))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    worker = subprocess.Popen([sys.executable, "-c", WORKER], env={**os.environ, **given}, **pipes, text=True)  # type: ignore[call-overload]
    flow = psutil.Process(int(worker.stdout.readline()))
    born = psutil.Process(worker.pid).create_time()
    worker.kill()
    worker.wait(timeout=10)
    uses = ("http://127.0.0.1:1/api", "", "process")
    killed = Service(name="worker", pid=worker.pid, created=born, uses=uses, log="worker.log")
    record(Record(environment="dev", services={"worker": killed}), settings)
    try:
        assert Stack(tmp_path, str(tmp_path)).json("down")["stopped"] == []
        assert is_ours != (flow.is_running() and flow.status() != psutil.STATUS_ZOMBIE)
    finally:
        if not is_ours:
            flow.kill()


def test_a_record_that_is_none_is_told(tmp_path: Path) -> None:
    settings = Settings(environment="dev", storage_root=str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text('{"environment": "dev", "services": {"worker": 7}}')
    with pytest.raises(BrokenRecord, match=r"stack\.json"):
        read_stack(settings)


@pytest.mark.long
def test_a_service_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "prefect" / "prefect.db").mkdir(parents=True)
    stack = Stack(tmp_path, str(tmp_path))
    with stopping(stack):
        told = stack.json("up", expected=1)
    assert told["error"] == "NotReady"
    assert "run/prefect.log" in told["message"]

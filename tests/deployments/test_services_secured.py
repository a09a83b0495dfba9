"""The servers outside dev, on PostgreSQL: they ask who one is at every door, and keep what they are told."""

import base64
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import websockets.exceptions
import yaml
from websockets.sync.client import connect

from blocks.stack import read_keys
from perennial.settings import Settings
from tests.builders import make_use_case
from tests.deployments.stacks import Stack, stopping
from tests.servers import until
from tests.storage_servers import Postgres, postgres_server

pytestmark = pytest.mark.long

CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-storage-41d7",
    "MLFLOW_TRACKING_PASSWORD": "canary-registry-9e02",
    "PREFECT_SERVER_API_AUTH_STRING": "perennial:canary-orchestrator-77b1",
}
TELLING = f"""
import os

import pyarrow.csv


def orders(window):
    if window.start.month == 2:
        raise ValueError("refused: " + " ".join(os.environ[name] for name in {[*CANARIES][:2]}))
    return pyarrow.csv.read_csv(os.path.join(os.path.dirname(__file__), "deliveries", "orders-2024-01.csv"))
"""
OPEN = {"/health", "/ready"}
OPEN_MLFLOW = ("/health", "/static-files", "/server-info")
SOCKETS = ("events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled", "work_pools/x/workers/connect")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def stack(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("secured")
    settings = make_use_case(folder).settings
    home = folder / "use_cases" / "shop-returns"
    (home / "source.py").write_text(TELLING)
    declaration = yaml.safe_load((home / "use_case.yaml").read_text())
    declaration["sources"]["orders"]["read"] = {"python": "shop-returns/source.py:orders"}
    (home / "use_case.yaml").write_text(yaml.safe_dump(declaration, sort_keys=False))
    variables = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url("prefect", "asyncpg"),
        "MLFLOW_BACKEND_STORE_URI": postgres.url("mlflow"),
        "MLFLOW_TRACKING_USERNAME": "perennial",
        "AWS_ACCESS_KEY_ID": "",
        **CANARIES,
        "AWS_SECRET_ACCESS_KEY": "",
    }
    with stopping(Stack(settings.storage_root, settings.use_cases, "test", **variables)) as stack:
        stack.up()
        yield stack


@pytest.fixture(scope="module")
def runs(stack: Stack) -> dict[str, Any]:
    """A run that succeeded and one that failed, of a worker that reads its storage keys from Secret blocks."""
    with knowing(stack):
        from prefect.blocks.system import Secret
        from prefect.client.orchestration import get_client
        from prefect.deployments import run_deployment

        Secret(value="somebody").save("storage-key-test")
        Secret(value=CANARIES["AWS_SECRET_ACCESS_KEY"]).save("storage-secret-test")
        started = {}
        for month, following in (("2024-01", "2024-02-01"), ("2024-02", "2024-03-01")):
            parameters = {"use_case": "shop-returns", "period": month, "as_of": f"{following}T00:00:00Z"}
            started[month] = run_deployment("ingest/test", parameters=parameters, timeout=0).id
        with get_client(sync_client=True) as client:
            ended = lambda one: client.read_flow_run(one).state.is_final()  # noqa: E731
            until(240, lambda: all(map(ended, started.values())))
            return {month: client.read_flow_run(one) for month, one in started.items()}


@contextmanager
def knowing(stack: Stack) -> Iterator[None]:
    """Speak to the secured server as somebody who knows its password."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    api = stack.services["prefect"].address + "/api"
    password = CANARIES["PREFECT_SERVER_API_AUTH_STRING"]
    with temporary_settings({PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: password}):
        yield


def test_secrets_reach_the_runs_and_no_secret_is_told(stack: Stack, runs: dict[str, Any], postgres: Postgres) -> None:
    assert runs["2024-01"].state.type.value == "COMPLETED", runs["2024-01"].state
    assert runs["2024-02"].state.type.value == "FAILED"
    assert "refused: ******** ********" in runs["2024-02"].state.message
    told = until(60, lambda: dumped(postgres, "prefect") if "refused: ****" in dumped(postgres, "prefect") else "")
    assert found(told + dumped(postgres, "mlflow"), secrets_of(stack)) == set()


def secrets_of(stack: Stack) -> dict[str, str]:
    kept = read_keys(Settings(environment="test", storage_root=str(stack.storage)))
    password = {"PREFECT_SERVER_API_AUTH_STRING": CANARIES["PREFECT_SERVER_API_AUTH_STRING"].partition(":")[2]}
    names = ("PREFECT_SERVER_ENCRYPTION_KEY", "MLFLOW_FLASK_SERVER_SECRET_KEY")
    return {**CANARIES, **password, **{name: kept[name] for name in names}}


def found(text: str, secrets: dict[str, str]) -> set[str]:
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in secrets.items()}
    return {name for name, value in secrets.items() if value in text or encoded[name] in text}


def dumped(postgres: Postgres, database: str) -> str:
    tool = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    done = subprocess.run([tool, postgres.url(database)], capture_output=True, text=True, check=True)
    return done.stdout


def test_files_and_commands_tell_no_secret(stack: Stack, runs: dict[str, Any], postgres: Postgres) -> None:
    storage, secrets = Path(stack.storage), secrets_of(stack)
    private = {"keys.json", "mlflow-auth.ini"}
    files = [path for path in storage.rglob("*") if path.is_file() and path.name not in private]
    assert any(path.name == "worker.log" for path in files)
    assert {path for path in files if found(path.read_bytes().decode("latin-1"), secrets)} == set()
    for name in private:
        assert (storage / "run" / name).stat().st_mode & 0o777 == 0o600
    database = postgres.url("prefect").split(":")[2].split("@")[0]
    family = [psutil.Process(one.pid) for one in stack.services.values()]
    commands = " ".join(" ".join(each.cmdline()) for one in family for each in (one, *one.children(recursive=True)))
    assert found(commands, {**secrets, "password of the database": database}) == set()
    given = (storage / "run" / "keys.json").read_text()
    assert found(given, CANARIES) == set(), "what was given is not written down"
    for command in ("status", "doctor"):
        assert found(stack.run(command).stdout, secrets) == set()


def test_no_process_is_given_the_secrets_of_another(stack: Stack) -> None:
    given = {
        name: found(str(psutil.Process(one.pid).environ()), secrets_of(stack)) for name, one in stack.services.items()
    }
    assert given["prefect"] == {"PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_ENCRYPTION_KEY"}
    assert given["mlflow"] == {"MLFLOW_TRACKING_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"}
    assert "PREFECT_SERVER_ENCRYPTION_KEY" not in given["worker"]


def test_every_route_of_prefect_asks_who_one_is(stack: Stack) -> None:
    address = stack.services["prefect"].address
    paths = yaml.safe_load(urllib.request.urlopen(f"{address}/openapi.json", timeout=30).read())["paths"]
    routes = [(method, path) for path, methods in paths.items() for method in methods]
    assert len(routes) > 150
    answers = {(method, path): status(method, f"{address}/api{filled(path)}") for method, path in routes}
    assert {path for (_, path), code in answers.items() if code not in (401, 403)} == OPEN


def test_every_route_of_mlflow_asks_who_one_is(stack: Stack) -> None:
    from mlflow.server import app

    address = stack.services["mlflow"].address
    routes = [(m, rule.rule) for rule in app.url_map.iter_rules() for m in rule.methods or () if m in ("GET", "POST")]
    assert len(routes) > 150
    answers = {(method, path): status(method, address + filled(path)) for method, path in routes}
    is_open = {path for (_, path), code in answers.items() if code not in (401, 403)}
    assert {path for path in is_open if not any(part in path for part in OPEN_MLFLOW)} == set()


def filled(path: str) -> str:
    return re.sub(r"[{<][^}>]*[}>]", "x", path)


def status(method: str, url: str) -> int:
    data = b"{}" if method.upper() in ("POST", "PUT", "PATCH") else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method.upper())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


@pytest.mark.parametrize("path", SOCKETS)
def test_every_socket_asks_who_one_is(stack: Stack, path: str) -> None:
    address = stack.services["prefect"].address.replace("http", "ws") + "/api/" + path
    refusals = (websockets.exceptions.InvalidStatus, websockets.exceptions.ConnectionClosed)
    with pytest.raises(refusals), connect(address, subprotocols=["prefect"]) as socket:  # type: ignore[list-item]
        socket.send('{"type": "auth", "token": "perennial:guess"}')
        assert "success" not in str(socket.recv(timeout=10))
        socket.recv(timeout=10)


def test_who_knows_the_password_needs_a_csrf_token_too(stack: Stack) -> None:
    known = base64.b64encode(CANARIES["PREFECT_SERVER_API_AUTH_STRING"].encode()).decode()
    assert stack.ask("/admin/version", Authorization=f"Basic {known}")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        stack.ask("/flows/filter", {}, Authorization=f"Basic {known}")


def test_the_doctor_knows_the_blocks_and_a_wrong_password(stack: Stack, runs: dict[str, Any]) -> None:
    told = stack.json("doctor")
    assert "storage-secret-test" in next(one["summary"] for one in told["findings"] if one["check"] == "secret blocks")
    stranger = Stack(stack.storage, stack.variables["PERENNIAL_USE_CASES"], "test")
    stranger.variables |= {"PREFECT_API_AUTH_STRING": "perennial:guess", "MLFLOW_TRACKING_PASSWORD": "guess"}
    problems = {one["check"] for one in stranger.json("doctor", expected=1)["findings"] if one["state"] == "problem"}
    assert {"prefect", "mlflow"} <= problems


def test_it_listens_on_loopback(stack: Stack) -> None:
    for name in ("prefect", "mlflow"):
        process = psutil.Process(stack.services[name].pid)
        family = [process, *process.children(recursive=True)]
        listening = {each.laddr.ip for one in family for each in one.net_connections("tcp") if each.status == "LISTEN"}
        assert listening == {"127.0.0.1"}

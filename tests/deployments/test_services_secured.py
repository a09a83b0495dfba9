"""The servers outside dev, on PostgreSQL: they ask who one is at every door, and keep what they are told.

What they keep is searched for every secret after a use case has lived there: it reads a database with a password, was
trained, judged, released and measured, and then its other source refused it and told why, and so did the webhook that
people should have been told by.
"""

import base64
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import websockets.exceptions
import yaml
from websockets.sync.client import connect

from blocks.stack import read_keys
from perennial.periods import Period
from perennial.settings import Settings
from perennial.workspace import Workspace
from tests.builders import make_use_case
from tests.deployments.stacks import Stack, stopping
from tests.servers import PERENNIAL, ROOT, free_port, until
from tests.storage_servers import PASSWORD, Postgres, postgres_server

pytestmark = pytest.mark.long

CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-storage-41d7",
    "MLFLOW_TRACKING_PASSWORD": "canary-registry-9e02",
    "PREFECT_SERVER_API_AUTH_STRING": "perennial:canary-orchestrator-77b1",
    "SHOP_PASSWORD": "canary-shop-c5a3",
    "ORDERS_PASSWORD": "canary-of-yesterday-08fe",
    "PERENNIAL_SLACK_WEBHOOK": "canary-webhook-b66d",
}
BLOCKS = {
    "AWS_ACCESS_KEY_ID": "storage-key-test",
    "AWS_SECRET_ACCESS_KEY": "storage-secret-test",
    "SHOP_PASSWORD": "shop-password-test",
    "ORDERS_PASSWORD": "orders-password-test",
}
TOLD = ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "ORDERS_PASSWORD")
REFUSED = "refused: ******** ******** ********"
TELLING = f"""
import os

import psycopg2
import pyarrow.csv


def orders(window):
    if window.start.month == 3:
        try:
            psycopg2.connect(os.environ["ORDERS"], password=os.environ["ORDERS_PASSWORD"])
        except psycopg2.OperationalError as error:
            raise ValueError("refused: " + " ".join(os.environ[name] for name in {TOLD})) from error
    return pyarrow.csv.read_csv(os.path.join(os.path.dirname(__file__), "deliveries", f"orders-{{window}}.csv"))
"""
DATABASE = "password of the database"
FAILING = "ingest shop-returns --period 2024-03 --as-of 2024-04-01 --verbose"
COMMANDS = ("status", "doctor", "plan", "history shop-returns", FAILING)
EARLY = {
    "sources": {"outcomes": {"known_after": "1d"}},
    "label": {"matures_after": "1d"},
    "training": {"validation": "5d", "holdout": "7d"},
}
"""So that the first month trains a model, and the second measures it."""
MONTHS = ("2024-01", "2024-02", "2024-03")
OPEN = {"/health", "/ready"}
OPEN_MLFLOW = ("/health", "/static-files", "/server-info")
SOCKETS = ("events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled", "work_pools/x/workers/connect")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server(("prefect", "mlflow", "shop")) as server:
        yield server


@pytest.fixture(scope="module")
def stack(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("secured")
    settings = make_use_case(folder, rows=1500, changes=EARLY).settings
    home = folder / "use_cases" / "shop-returns"
    (home / "source.py").write_text(TELLING)
    shop = fill_shop(postgres, home / "deliveries")
    declaration = yaml.safe_load((home / "use_case.yaml").read_text())
    declaration["sources"]["orders"]["read"] = {"python": "shop-returns/source.py:orders"}
    declaration["sources"]["outcomes"]["read"] = {
        "sql": shop.replace("shop@", "shop:${SHOP_PASSWORD}@"),
        "query": "SELECT * FROM outcomes WHERE ordered_at >= :start AND ordered_at < :end",
    }
    (home / "use_case.yaml").write_text(yaml.safe_dump(declaration, sort_keys=False))
    variables = {
        "ORDERS": shop,
        "PERENNIAL_SECRETS": json.dumps(BLOCKS),
        "PERENNIAL_NOTIFICATIONS": "[slack-webhook/slack-test]",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url("prefect", "asyncpg"),
        "MLFLOW_BACKEND_STORE_URI": postgres.url("mlflow"),
        "MLFLOW_TRACKING_USERNAME": "perennial",
        **CANARIES,
        **dict.fromkeys(BLOCKS, ""),
        "PERENNIAL_SLACK_WEBHOOK": f"http://127.0.0.1:{free_port()}/{CANARIES['PERENNIAL_SLACK_WEBHOOK']}",
    }
    with stopping(Stack(settings.storage_root, settings.use_cases, "test", **variables)) as stack:
        stack.up()
        yield stack


def fill_shop(postgres: Postgres, deliveries: Path) -> str:
    """Let an account of its own find the outcomes in a table; returns the address without the password."""
    with psycopg2.connect(postgres.url("shop")) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE shop LOGIN PASSWORD '{CANARIES['SHOP_PASSWORD']}'")
        cursor.execute("CREATE TABLE outcomes (order_id text, ordered_at timestamptz, returned int, refund float)")
        cursor.execute("GRANT SELECT ON outcomes TO shop")
        for path in sorted(deliveries.glob("outcomes-*.csv")):
            with path.open() as file:
                cursor.copy_expert("COPY outcomes FROM STDIN (FORMAT csv, HEADER)", file)
    return f"postgresql://shop@127.0.0.1:{postgres.port}/shop"


@pytest.fixture(scope="module")
def runs(stack: Stack) -> list[Any]:
    """The pipeline of three months by a worker that reads its secrets from blocks; the last of them fails."""
    with knowing(stack):
        from prefect.blocks.system import Secret
        from prefect.deployments import run_deployment

        for name, block in BLOCKS.items():
            Secret(value=CANARIES.get(name, "somebody")).save(block)
        ended = []
        for period in map(Period.parse, MONTHS):
            parameters = {"use_case": "shop-returns", "period": period.label, "as_of": period.end.isoformat()}
            ended.append(run_deployment("pipeline/test", parameters=parameters, timeout=240, poll_interval=1))
        return ended


@contextmanager
def knowing(stack: Stack) -> Iterator[None]:
    """Speak to the secured server as somebody who knows its password."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    api = stack.services["prefect"].address + "/api"
    password = CANARIES["PREFECT_SERVER_API_AUTH_STRING"]
    with temporary_settings({PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: password}):
        yield


def test_secrets_reach_the_runs_and_no_secret_is_told(stack: Stack, runs: list[Any], postgres: Postgres) -> None:
    states = [one.state for one in runs]
    assert [one.type.value for one in states] == ["COMPLETED", "COMPLETED", "FAILED"], states
    assert REFUSED in states[-1].message
    lived = Workspace.open("shop-returns", settings_of_stack(stack)).state()
    assert lived.champion and lived.measured, "all stages had something to tell"
    until(180, lambda: is_written(postgres))
    told, registered = dumped(postgres, "prefect"), dumped(postgres, "mlflow")
    assert found(told + registered, secrets_of(stack)) == set()
    assert '"use_case": "shop-returns"' in told and "shop-returns\t1\t" in registered, "parameters, and the model"


def is_written(postgres: Postgres) -> bool:
    """Whether the server has the log of the failure, artifacts of what went before, and that the webhook failed."""
    asked = {
        f"SELECT count(*) FROM log WHERE message LIKE '%{REFUSED}%'",
        "SELECT count(*) FROM artifact WHERE key = 'shop-returns-journal'",
        "SELECT count(*) FROM events WHERE event = 'prefect.automation.action.failed'",
    }
    return all(postgres.ask("prefect", one) != [(0,)] for one in asked)


def settings_of_stack(stack: Stack) -> Settings:
    use_cases = stack.variables["PERENNIAL_USE_CASES"]
    return Settings(environment="test", storage_root=str(stack.storage), use_cases=use_cases)


def secrets_of(stack: Stack) -> dict[str, str]:
    kept = read_keys(settings_of_stack(stack))
    password = {"PREFECT_SERVER_API_AUTH_STRING": CANARIES["PREFECT_SERVER_API_AUTH_STRING"].partition(":")[2]}
    names = ("PREFECT_SERVER_ENCRYPTION_KEY", "MLFLOW_FLASK_SERVER_SECRET_KEY")
    return {**CANARIES, DATABASE: PASSWORD, **password, **{name: kept[name] for name in names}}


def found(text: str, secrets: dict[str, str]) -> set[str]:
    """Return which secrets a text tells."""
    return {name for name, value in secrets.items() if any(one in text for one in written(value))}


def written(secret: str) -> tuple[str, ...]:
    """As it is, as basic authentication has it, and as `pg_dump` writes bytes."""
    return secret, base64.b64encode(secret.encode()).decode(), secret.encode().hex()


def dumped(postgres: Postgres, database: str) -> str:
    tool = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    done = subprocess.run([tool, postgres.url(database)], capture_output=True, text=True, check=True)
    return done.stdout


def test_files_and_commands_tell_no_secret(stack: Stack, runs: list[Any], postgres: Postgres) -> None:
    storage, secrets = Path(stack.storage), secrets_of(stack)
    private = {"keys.json", "mlflow-auth.ini"}
    files = [path for path in storage.rglob("*") if path.is_file() and path.name not in private]
    assert any(path.name == "worker.log" for path in files)
    assert {path for path in files if found(path.read_bytes().decode("latin-1"), secrets)} == set()
    for name in private:
        assert (storage / "run" / name).stat().st_mode & 0o777 == 0o600
    family = [psutil.Process(one.pid) for one in stack.services.values()]
    commands = " ".join(" ".join(each.cmdline()) for one in family for each in (one, *one.children(recursive=True)))
    assert found(commands, secrets) == set()
    given = (storage / "run" / "keys.json").read_text()
    assert found(given, CANARIES) == set(), "what was given is not written down"
    for command in COMMANDS:
        done = subprocess.run(
            [PERENNIAL, *command.split()], cwd=ROOT, env=stack.variables, capture_output=True, text=True
        )
        assert (done.returncode == 0) == (command != FAILING), done.stderr
        assert found(done.stdout + done.stderr, secrets) == set()


def test_no_process_is_given_the_secrets_of_another(stack: Stack) -> None:
    given = {
        name: found(str(psutil.Process(one.pid).environ()), secrets_of(stack)) for name, one in stack.services.items()
    }
    assert given["prefect"] == {DATABASE, "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_ENCRYPTION_KEY"}
    assert given["mlflow"] == {DATABASE, "MLFLOW_TRACKING_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"}
    assert not given["worker"] & {DATABASE, "PREFECT_SERVER_ENCRYPTION_KEY", "PERENNIAL_SLACK_WEBHOOK"}


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


def test_the_doctor_knows_the_blocks_and_a_wrong_password(stack: Stack, runs: list[Any]) -> None:
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

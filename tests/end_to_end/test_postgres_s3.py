"""The loop as test and prod run it: Prefect and MLflow on PostgreSQL behind logins, everything else on S3."""

import json
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.builders import make_use_case
from tests.servers import PERENNIAL, Server, free_port, running_server, until
from tests.storage_servers import S3, SECRET_KEY, Postgres, postgres_server, s3_server

pytestmark = pytest.mark.long

BUCKET, ROOT = "perennial-test", "s3://perennial-test/loop"
LOGIN, AUTH = "registry-secret-of-the-tests", "perennial:prefect-secret-of-the-tests"
MONTHS = ("2024-01", "2024-02", "2024-03")


@dataclass
class Loop:
    """All that the loop runs on."""

    postgres: Postgres
    s3: S3
    prefect: Server
    registry: str

    def run(self, *arguments: str) -> Any:
        """Run a command of Perennial and read what it prints for machines."""
        return json.loads(self.prefect.run(PERENNIAL, *arguments, "--json"))

    def live(self) -> list[Any]:
        """Run the pipeline through all months; returns what it added to the journal."""
        return [
            entry
            for month, end in zip(MONTHS, ("2024-02-01", "2024-03-01", "2024-04-01"), strict=True)
            for entry in self.run("pipeline", "shop-returns", "--period", month, "--as-of", end)["added"]
        ]

    def objects(self) -> dict[str, str]:
        """Return the digest of each object below the storage root."""
        found = self.s3.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {one["Key"]: one["ETag"] for page in found for one in page.get("Contents", ())}

    def count(self, database: str, table: str) -> int:
        """Return how many rows a table has."""
        return int(self.postgres.ask(database, f"SELECT count(*) FROM {table}")[0][0])

    def ask_registry(self, path: str) -> Any:
        """Call the REST API of MLflow."""
        headers = {"Authorization": f"Basic {b64encode(f'perennial:{LOGIN}'.encode()).decode()}"}
        with urllib.request.urlopen(urllib.request.Request(self.registry + path, headers=headers)) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("loop")
    use_cases = make_use_case(folder, rows=2000, months=MONTHS).settings.use_cases
    with ExitStack() as stack:
        postgres, s3 = stack.enter_context(postgres_server()), stack.enter_context(s3_server())
        s3.create_bucket(BUCKET)
        registry = f"http://127.0.0.1:{free_port()}"
        variables = {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url("prefect", "asyncpg"),
            "PREFECT_SERVER_API_AUTH_STRING": AUTH,
            "PREFECT_API_AUTH_STRING": AUTH,
            "PERENNIAL_ENV": "test",
            "PERENNIAL_STORAGE_ROOT": ROOT,
            "PERENNIAL_STORAGE_ENDPOINT": s3.endpoint,
            "PERENNIAL_MLFLOW_TRACKING_URI": registry,
            "PERENNIAL_USE_CASES": use_cases,
            "MLFLOW_TRACKING_USERNAME": "perennial",
            "MLFLOW_TRACKING_PASSWORD": LOGIN,
            **s3.variables,
        }
        prefect = stack.enter_context(running_server(folder, **variables))
        start_registry(prefect, postgres, s3, registry)
        until(120, lambda: urllib.request.urlopen(f"{registry}/health").read())
        yield Loop(postgres, s3, prefect, registry)


def start_registry(server: Server, postgres: Postgres, s3: S3, address: str) -> None:
    """Start MLflow as docs/operations.md says, with a login and the only keys of its artifacts."""
    login = server.home / "mlflow-auth.ini"
    lines = ["[mlflow]", "default_permission = NO_PERMISSIONS", f"database_uri = {postgres.url('mlflow')}"]
    lines += ["authorization_function = mlflow.server.auth:authenticate_request_basic_auth"]
    login.write_text("\n".join([*lines, "auth_cache_ttl_seconds = 60"]))
    place = {
        "MLFLOW_BACKEND_STORE_URI": postgres.url("mlflow"),
        "MLFLOW_SERVE_ARTIFACTS": "true",
        "MLFLOW_ARTIFACTS_DESTINATION": f"{ROOT}/mlflow/artifacts",
        "MLFLOW_S3_ENDPOINT_URL": s3.endpoint,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_AUTH_CONFIG_PATH": str(login),
        "MLFLOW_AUTH_ADMIN_USERNAME": "perennial",
        "MLFLOW_AUTH_ADMIN_PASSWORD": LOGIN,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-tests",
    }
    assigned = [f"{name}={value}" for name, value in place.items()]
    command = ["python", "-m", "deployments.services.mlflow_server", "--host", "127.0.0.1"]
    server.start(
        "env", *assigned, *command, "--port", address.rpartition(":")[2], "--workers", "1", "--app-name", "basic-auth"
    )


def test_the_loop_lands_in_postgresql_and_the_bucket_and_a_second_time_changes_nothing(loop: Loop) -> None:
    kinds = [one["record"]["kind"] for one in loop.live()]
    assert {"delivery.accepted", "model.trained", "model.registered", "model.judged", "release.made"} <= set(kinds)
    assert {"predictions.written", "monitoring.measured", "retraining.decided"} <= set(kinds)
    before = loop.objects()
    places = {key.removeprefix("loop/").split("/")[0] for key in before}
    assert places == {"journal", "landing", "lake", "models", "mlflow", "queries", "reports"}
    assert sum(key.startswith("loop/journal/shop-returns/") for key in before) == len(kinds)
    registered = kinds.count("model.registered")
    assert loop.count("mlflow", "model_versions") == registered
    assert loop.count("prefect", "flow_run") >= len(MONTHS)
    assert loop.live() == []
    assert loop.objects() == before
    assert loop.count("mlflow", "model_versions") == registered


def test_what_people_look_at_is_served_without_keys_of_the_storage(loop: Loop) -> None:
    found = loop.ask_registry("/api/2.0/mlflow/registered-models/get?name=shop-returns")["registered_model"]
    champion = {one["alias"]: one["version"] for one in found["aliases"]}["champion"]
    version = loop.ask_registry(f"/api/2.0/mlflow/model-versions/get?name=shop-returns&version={champion}")
    run = version["model_version"]["run_id"]
    files = loop.ask_registry(f"/api/2.0/mlflow/artifacts/list?run_id={run}")
    assert files["root_uri"].startswith("mlflow-artifacts:/")
    assert "model-card.md" in {one["path"] for one in files["files"]}
    assert loop.run("history", "shop-returns")


def test_no_secret_is_in_a_database_the_bucket_or_a_log(loop: Loop) -> None:
    secrets = (SECRET_KEY, LOGIN, AUTH.partition(":")[2])
    bodies = (loop.s3.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in loop.objects())
    assert not [body for body in bodies if any(secret.encode() in body for secret in secrets)]
    dumped = "".join(dump(loop.postgres, database) for database in ("prefect", "mlflow"))
    logged = (loop.prefect.home / "server.log").read_text()
    assert "shop-returns" in dumped
    assert [secret for secret in secrets if secret in dumped or secret in logged] == []


def dump(postgres: Postgres, database: str) -> str:
    """Return every row of every table as text."""
    tables = postgres.ask(database, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    return "".join(str(postgres.ask(database, f'SELECT t::text FROM "{name}" t')) for (name,) in tables)


def test_storage_that_goes_away_is_told_apart_from_a_mistake(loop: Loop, tmp_path: Path) -> None:
    command = (PERENNIAL, "history", "shop-returns", "--json")
    away = {"PERENNIAL_STORAGE_ENDPOINT": "http://127.0.0.1:9"}
    told = told_with(loop.prefect, away, *command)
    assert told["error"] == "StoreAway" and "could not answer" in told["message"]
    with loop.s3.refuse_unknown_keys():
        told = told_with(loop.prefect, {}, *command)
    assert told["error"] == "StoreRefused" and SECRET_KEY not in told["message"]


def told_with(server: Server, changes: dict[str, str], *command: str) -> Any:
    """Run a command that fails in a changed environment, and read what it says of that."""
    was, server.environment = server.environment, {**server.environment, **changes}
    try:
        return json.loads(server.run(*command, expected=1))
    finally:
        server.environment = was

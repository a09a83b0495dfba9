"""How services are started: with which variables, and with none of the secrets that are for another one."""

import stat
from pathlib import Path

import pytest

from blocks.local import prefect_home
from deployments.services.launches import Launch, mlflow_launch, prefect_launch, serving_launch, worker_launch
from perennial.settings import Settings
from perennial.workspace import Workspace
from tests.builders import make_use_case

CANARY = "canary-7c1d"
ALL = {
    "AWS_SECRET_ACCESS_KEY": {"mlflow", "worker", "online"},
    "MLFLOW_AUTH_DATABASE_URI": {"mlflow"},
    "MLFLOW_BACKEND_STORE_URI": {"mlflow"},
    "MLFLOW_TRACKING_PASSWORD": {"mlflow", "worker"},
    "PERENNIAL_EMAIL": set(),
    "PERENNIAL_SERVING_TOKENS": {"online"},
    "PERENNIAL_SLACK_WEBHOOK": set(),
    "PREFECT_API_AUTH_STRING": {"prefect", "worker"},
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": {"prefect"},
    "PREFECT_SERVER_ENCRYPTION_KEY": {"prefect"},
    "SHOP_PASSWORD": {"worker"},
}
"""Which services are given a secret; `SHOP_PASSWORD` is one that a use case reads its source with."""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ALL:
        monkeypatch.setenv(name, f"{CANARY}-{name}")
    return make_use_case(tmp_path, months=(), changes={"serving": {}})


def launches(ws: Workspace, settings: Settings, host: str = "127.0.0.1") -> dict[str, Launch]:
    return {
        "prefect": prefect_launch(settings, host, 4200),
        "mlflow": mlflow_launch(settings, host, 5000),
        "worker": worker_launch(settings, "http://127.0.0.1:4200/api", "http://127.0.0.1:5000"),
        "online": serving_launch(settings, ws.use_case, host, 8080, 1),
    }


def test_each_service_is_given_its_own_secrets_alone(ws: Workspace) -> None:
    found = launches(ws, ws.settings)
    given = {
        name: {service for service, one in found.items() if f"{CANARY}-{name}" in one.environment.values()}
        for name in ALL
    }
    assert given == ALL
    assert all("PATH" in one.environment for one in found.values())


def test_runs_and_blocks_are_for_their_owner_alone(ws: Workspace) -> None:
    home = prefect_home(ws.settings)
    home.mkdir(parents=True, mode=0o755)
    prefect_launch(ws.settings, "127.0.0.1", 4200)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_who_else_may_ask_is_added_to_what_the_servers_allow_by_themselves(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": "ml.example.org",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "https://ml.example.org",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": "https://runs.example.org",
    }
    alone = launches(ws, ws.settings, "10.0.0.1")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = launches(ws, ws.settings, "10.0.0.1")
    for name, value in given.items():
        service = "mlflow" if name.startswith("MLFLOW") else "prefect"
        assert found[service].environment[name] == f"{alone[service].environment[name]},{value}"
        assert "10.0.0.1:" in alone[service].environment[name]

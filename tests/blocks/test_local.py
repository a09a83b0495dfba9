"""The private server: it answers only its own process, records what ran, and never outlives it."""

import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from blocks.documents import chosen_settings
from blocks.local import local_run, prefect_home
from blocks.private_server import NoServer, address_of, private_server
from perennial.settings import Settings
from tests.servers import free_port

WAITING = """
import os, sys, time
from pathlib import Path
from blocks.private_server import address_of, private_server

home = Path(sys.argv[1])
with private_server(home) as (child, password):
    print(child.pid, address_of(child, home), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(environment="test", storage_root=str(tmp_path))


@pytest.mark.long
def test_runs_are_recorded_below_the_storage_root_and_go_on_record_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(prefect_home(settings)))
    seen = []
    for _ in range(2):
        with local_run(settings):
            from prefect import flow
            from prefect.client.orchestration import get_client

            assert chosen_settings() == settings
            flow(lambda: None, name="nothing")()
            with get_client(sync_client=True) as client:
                seen.append(len(client.read_flow_runs()))
    assert seen == [1, 2]
    assert stat.S_IMODE(prefect_home(settings).stat().st_mode) == 0o700
    assert chosen_settings() is None


@pytest.mark.long
def test_nobody_else_on_the_machine_may_ask_and_nothing_outlives_a_killed_process(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", WAITING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout
        pid, address = owner.stdout.readline().split()
        server = psutil.Process(int(pid))
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address}/admin/version", timeout=10)
    finally:
        owner.kill()
        owner.wait()
    server.wait(timeout=60)


def test_a_server_that_cannot_start_says_where_its_log_is(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").mkdir()
    with private_server(tmp_path) as (child, _), pytest.raises(NoServer, match=r"server\.log"):
        address_of(child, tmp_path)


def test_runs_are_recorded_by_the_server_that_the_environment_names(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL

    named = f"http://127.0.0.1:{free_port()}/api"
    for other in ("", "http://127.0.0.1:1/api"):
        monkeypatch.setenv("PREFECT_API_URL", other)
        with local_run(settings.model_copy(update={"prefect_api_url": named})):
            assert PREFECT_API_URL.value() == named
    assert not prefect_home(settings).exists()

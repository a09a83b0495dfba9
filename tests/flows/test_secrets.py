"""Secrets of a real server: blocks fill what a process lacks, and a task that fails tells the server none."""

import os
import time

import pytest
from prefect import flow, get_client
from prefect.blocks.system import Secret

from blocks.documents import using
from blocks.environment import current_settings
from blocks.secrets import MissingSecret
from perennial.errors import Permanent
from perennial.settings import Settings
from tasks import policies

VALUE = "canary-51c0-in-a-coal-mine"
SETTINGS = Settings(environment="test", storage_root="x", secrets={"SHOP_PASSWORD": "shop-password-test"})


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "")


@policies.task(**policies.DECIDING)
def refuse() -> None:
    """Fail as a library does that knows the password."""
    raise ValueError(f"login failed for shop:{os.environ['SHOP_PASSWORD']}")


@flow
def leak() -> None:
    """Run with the secrets of the environment."""
    current_settings()
    refuse()


def test_a_block_fills_what_is_missing_and_what_fails_then_tells_nobody(server: None, unset: None) -> None:
    Secret(value=VALUE).save("shop-password-test", overwrite=True)
    with using(SETTINGS):
        state = leak(return_state=True)
    assert os.environ["SHOP_PASSWORD"] == VALUE
    assert "login failed for shop:********" in str(state.message)
    with get_client(sync_client=True) as client:
        logs = logs_of(client, str(state.state_details.flow_run_id))
    assert "login failed for shop:********" in logs
    assert VALUE not in logs + str(state.message)


def logs_of(client: object, run: str) -> str:
    """Return what the server has of a run's log, once its end is there."""
    from prefect.client.schemas.filters import LogFilter

    wanted = LogFilter.model_validate({"flow_run_id": {"any_": [run]}})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        text = "\n".join(one.message for one in client.read_logs(wanted))  # type: ignore[attr-defined]
        if "Finished in state Failed" in text and "Traceback" in text:
            return text
        time.sleep(0.2)
    raise AssertionError("the log did not arrive")


def test_a_missing_block_is_named(server: None, unset: None) -> None:
    missing = SETTINGS.model_copy(update={"secrets": {"SHOP_PASSWORD": "no-such-block"}})
    with using(missing), pytest.raises(MissingSecret, match=r"`SHOP_PASSWORD`.*`no-such-block`") as raised:
        current_settings()
    assert isinstance(raised.value, Permanent)

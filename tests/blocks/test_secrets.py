"""Secrets: read where they are missing, and in no error, whatever raised it."""

import os
import traceback

import pytest

from blocks.secrets import keeping_secrets, load_secrets, missing_secrets, redacted
from perennial.errors import Permanent, Transient
from perennial.settings import Settings

VALUE = "canary-8f3a-in-a-coal-mine"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("SHOP_PASSWORD", raising=False)
    return Settings(environment="test", storage_root="x", secrets={"SHOP_PASSWORD": "shop-password-test"})


class Away(Transient):
    """Some service did not answer."""


def text_of(raised: BaseException) -> str:
    return "".join(traceback.format_exception(raised))


def test_what_the_process_has_is_not_asked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", VALUE)
    assert missing_secrets(settings) == {}
    load_secrets(settings)
    assert os.environ["SHOP_PASSWORD"] == VALUE


@pytest.mark.parametrize("error", [Away, Permanent, ValueError])
def test_no_error_leaves_with_a_secret(
    error: type[Exception], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", VALUE)
    load_secrets(settings)
    with pytest.raises((Permanent, Transient)) as raised, keeping_secrets():
        try:
            raise KeyError(VALUE)
        except KeyError as cause:
            raise error(f"`https://shop:{VALUE}@example.com` said no") from cause
    assert VALUE not in text_of(raised.value)
    assert "said no" in str(raised.value)
    assert isinstance(raised.value, Transient) is (error is Away)
    assert isinstance(raised.value, error) is (error is not ValueError)


def test_a_secret_in_a_cause_alone_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", f"postgresql+asyncpg://me:{VALUE}@host/prefect")
    with pytest.raises(Away) as raised, keeping_secrets():
        try:
            raise OSError(f"cannot reach host with {VALUE}")
        except OSError as cause:
            raise Away("The database did not answer.") from cause
    assert VALUE not in text_of(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_AUTH_DATABASE_URI", f"postgresql://me:{VALUE}@host/logins"),
        ("PERENNIAL_EMAIL", f"mailtos://me:{VALUE}@mail.example.org?from=ml@example.org"),
        ("PERENNIAL_SLACK_WEBHOOK", VALUE),
        ("PERENNIAL_SERVING_TOKENS", f"first-token,{VALUE}"),
    ],
)
def test_what_servers_and_notices_are_given_is_told_by_nobody(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert redacted(f"It said {VALUE}, no.") == "It said ********, no."


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ValueError, match="plain"), keeping_secrets():
        raise ValueError("plain")

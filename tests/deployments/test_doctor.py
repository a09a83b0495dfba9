"""What `perennial doctor` tells of this machine: nothing secret, and nothing that another doctor gets in the way of."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks import documents
from deployments.services import examining_machine
from deployments.services.doctor import Finding, examine
from flows.entry import now
from perennial.settings import Settings

CANARY = "canary-51f0"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An environment with a secret of its own, which this process has."""
    monkeypatch.setenv("SHOP_PASSWORD", CANARY)
    found = Settings(environment="test", storage_root=str(tmp_path), secrets={"SHOP_PASSWORD": "shop-password"})
    monkeypatch.setattr(documents, "read_settings", lambda: found)
    return found


def test_no_error_of_a_library_tells_a_secret(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: Settings) -> Iterator[Finding]:
        raise OSError(f"https://shop:{CANARY}@example.com said no")
        yield

    monkeypatch.setattr(examining_machine, "CHECKS", (broken,))
    found = {one.check: one for one in examine(now)}
    assert "https://shop:********@example.com said no" in found["broken"].summary


def test_the_storage_is_probed_under_a_name_of_its_own_and_left_as_it_was(settings: Settings) -> None:
    root = Path(settings.storage_root)
    (root / "run").mkdir()
    (root / "run" / "probe").write_text("of another doctor")
    (found,) = examining_machine._storage(settings)
    assert found.state == "ok"
    assert [path.name for path in (root / "run").iterdir()] == ["probe"]


def test_keys_of_the_storage_come_from_their_secret_blocks_for_as_long_as_they_are_needed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    asked = []

    def refusing(root: str, endpoint: str) -> None:
        asked.append(os.environ["AWS_SECRET_ACCESS_KEY"])
        raise OSError(f"{CANARY} was refused")

    monkeypatch.setattr(examining_machine, "storage_keys", lambda one: {"AWS_SECRET_ACCESS_KEY": CANARY})
    monkeypatch.setattr(examining_machine, "Store", refusing)
    (found,) = examining_machine._storage(settings.model_copy(update={"storage_root": "s3://shop/test"}))
    assert asked == [CANARY] and "AWS_SECRET_ACCESS_KEY" not in os.environ
    assert found.state == "problem" and CANARY not in found.summary


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"environment": "prod"}, ["problem"]),
        ({"environment": "prod", "notifications": ("slack-webhook/slack-prod",)}, ["ok"]),
        ({"schedules": "paused"}, []),
        ({"schedules": "paused", "approval": "person"}, ["problem"]),
        ({"environment": "dev"}, []),
    ],
)
def test_where_things_happen_by_themselves_somebody_is_to_be_told(
    settings: Settings, changes: dict[str, Any], state: list[str]
) -> None:
    found = list(examining_machine._notifications(settings.model_copy(update=changes)))
    assert [one.state for one in found] == state
    assert all("`notifications: [slack-webhook/slack-" in one.remedy for one in found if one.state == "problem")

"""A trained `shop-returns` that says how it is served, made once and copied for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.model.training import train
from perennial.workspace import Workspace
from serving.replica import Replica
from tests.builders import MONTHS, deliver, make_use_case
from tests.perennial.release.conftest import MAY, Shop
from tests.serving.questions import Kept


@pytest.fixture(scope="session")
def serving_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The original, which tests only copy."""
    ws = make_use_case(tmp_path_factory.mktemp("serving-shop"), changes={"serving": {}})
    deliver(ws, *MONTHS)
    shop = Shop(ws, train(ws, MAY))
    shop.register(shop.trained)
    return shop


@pytest.fixture
def shop(serving_shop: Shop, tmp_path: Path) -> Shop:
    """A copy of one's own; nothing is released."""
    root = tmp_path / "storage"
    shutil.copytree(serving_shop.ws.settings.storage_root, root)
    settings = serving_shop.ws.settings.model_copy(update={"storage_root": str(root)})
    return Shop(Workspace(serving_shop.ws.use_case, settings), serving_shop.trained)


@pytest.fixture
def log() -> Kept:
    return Kept()


@pytest.fixture
def replica(shop: Shop, log: Kept) -> Iterator[Replica]:
    """A replica that follows the journal of the shop."""
    replica = Replica(shop.ws, log)
    replica.start()
    yield replica
    replica.stop()

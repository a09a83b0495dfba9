"""A trained `shop-returns`, made once; every file of tests gets a service of its own over a copy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.records import Trained
from perennial.workspace import Workspace
from tests.faults.serving.stage import Stage, copied, make_shop, playing


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Trained]:
    """The original, which is only copied."""
    return make_shop(tmp_path_factory.mktemp("shop-under-load"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stage")


@pytest.fixture(scope="module")
def stage(made: tuple[Workspace, Trained], folder: Path) -> Iterator[Stage]:
    """Three replicas that answer a steady stream of requests."""
    ws, trained = made
    crashpoint = f"serving:between-load-and-swap@{folder / 'armed'}"
    with playing(copied(ws, folder / "storage"), trained, folder, PERENNIAL_CRASHPOINT=crashpoint) as stage:
        yield stage

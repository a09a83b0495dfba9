"""One engine and one build of the images for all tests with containers."""

import pytest

from tests.docker.engine import BUILDERS_SECRET, build, find_engine
from tests.servers import ROOT


@pytest.fixture(scope="session")
def engine() -> None:
    """Without it nothing here can run, so its absence is a failure and no skip."""
    find_engine()


@pytest.fixture(scope="session")
def images(engine: None) -> dict[str, str]:
    """The images by target, built by somebody who has secrets of his own."""
    return build(ROOT, AWS_SECRET_ACCESS_KEY=BUILDERS_SECRET)

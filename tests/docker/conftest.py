"""One engine and one build of the images for all tests with containers."""

import json
import os
import subprocess
import sys

import pytest

from perennial.model.revision import code_revision
from tests.docker.engine import BUILDERS_SECRET, find_engine
from tests.servers import ROOT


@pytest.fixture(scope="session")
def engine() -> None:
    """Without it nothing here can run, so its absence is a failure and no skip."""
    find_engine()


@pytest.fixture(scope="session")
def images(engine: None) -> dict[str, str]:
    """The images by target, as `perennial apply` builds and names them, by somebody who has secrets of his own."""
    told = {"PERENNIAL_REVISION": code_revision(), "AWS_SECRET_ACCESS_KEY": BUILDERS_SECRET}
    command, environment = [sys.executable, "-m", "deployments.building"], {**os.environ, **told}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found

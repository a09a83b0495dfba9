"""What `kubectl kustomize` makes of the folders of deployments/kubernetes, each made once."""

import os
import subprocess
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "deployments" / "kubernetes"
ABSENT = (
    "`kubectl` is not installed, so that no manifest, schema or policy was looked at. Install kubectl 1.31 or newer "
    "(Debian's `kubernetes-client` is too old for these files). It renders them, and is never pointed at a cluster."
)


@cache
def _built(place: str) -> str:
    if not which("kubectl"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(ABSENT)
    command = ["kubectl", "kustomize", str(FOLDER / place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(place: str) -> list[dict[str, Any]]:
    """The objects of `base`, `serving`, `overlays/test` or `overlays/prod`, to be changed freely."""
    return [one for one in yaml.safe_load_all(_built(place)) if one]

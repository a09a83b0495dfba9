"""What `kubectl kustomize` makes of the folders of deployments/kubernetes, each made once."""

import subprocess
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "deployments" / "kubernetes"


@cache
def _built(place: str) -> str:
    if not which("kubectl"):
        pytest.skip("`kubectl` is not installed. It renders the manifests, and is never pointed at a cluster.")
    command = ["kubectl", "kustomize", str(FOLDER / place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(place: str) -> list[dict[str, Any]]:
    """The objects of `base`, `serving`, `overlays/test` or `overlays/prod`, to be changed freely."""
    return [one for one in yaml.safe_load_all(_built(place)) if one]

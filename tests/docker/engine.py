"""A Docker engine, the project's images in it, and containers that are gone after the test; it asserts nothing."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT

STARTER = "PERENNIAL_DOCKER_ENGINE"
HARDENED = ("--read-only", "--tmpfs", "/tmp:size=1g", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
CONTEXT = (ROOT / ".dockerignore").read_text(encoding="utf-8")


def find_engine() -> None:
    """Let `docker` answer in this process: the engine that runs, else the one that a command of the machine starts.

    The command is named by `PERENNIAL_DOCKER_ENGINE`, and prints `export` lines as `docker-machine env` does.
    """
    starter = os.environ.get(STARTER)
    if not _answers() and starter:
        printed = subprocess.run(shlex.split(starter), check=True, capture_output=True, text=True, timeout=600).stdout
        os.environ.update(re.findall(r"(\w+)=(\S+)", printed))
    if not _answers():
        pytest.fail(
            "No Docker engine answers. Start one, name it by DOCKER_HOST, or name a command that starts one by "
            f"{STARTER}; `make test` needs none."
        )


def docker(*arguments: str, check: bool = True) -> str:
    """Run the client to its end, and return what it printed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=900)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.strip() if check else f"{done.stdout}{done.stderr}"


def inspect(name: str) -> Any:
    """Return what the engine says of an image or a container."""
    return json.loads(docker("inspect", name))[0]


@contextmanager
def container(image: str, *command: str, options: tuple[str, ...] = ()) -> Iterator[str]:
    """Run a hardened container on the host's loopback in the background; yields its id."""
    identity = docker("run", "--detach", *HARDENED, "--network", "host", *options, image, *command)
    try:
        yield identity
    finally:
        docker("rm", "--force", identity, check=False)


def project_copy(folder: Path) -> Path:
    """Copy what the images are built from, so that a test may change it."""
    names = [*re.findall(r"^!(.+)$", CONTEXT, flags=re.M), ".dockerignore"]
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def build(folder: Path, target: str) -> str:
    """Build an image from a folder, and return its id."""
    options = ["--network", "host", "--target", target, "--build-arg", "REVISION=of-the-tests", "--quiet"]
    return docker("build", *options, str(folder)).splitlines()[-1]


def _answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True, timeout=30).returncode == 0

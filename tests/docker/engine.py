"""A Docker engine, the project's images in it, and containers that are gone after the test; it asserts nothing."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from perennial.model.revision import code_revision
from tests.servers import ROOT

STARTER = "PERENNIAL_DOCKER_ENGINE"
HARDENED = ("--read-only", "--tmpfs", "/tmp:size=1g", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
BUILDERS_SECRET = "hunter3-of-the-tests"
"""In the environment of whoever builds the images."""
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
    """Run a container on the host's loopback in the background; yields its id."""
    identity = docker("run", "--detach", "--network", "host", *options, image, *command)
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


def build(folder: Path, **variables: str) -> dict[str, str]:
    """Build the images of a folder as `perennial apply` does, in a process of its own: the step builds once in each."""
    told = {**os.environ, "PERENNIAL_REVISION": code_revision(), **variables}
    command = [sys.executable, "-m", "deployments.building", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found


def options_of(service: Mapping[str, Any], keys: Path) -> tuple[str, ...]:
    """Return the options of `docker run` that do what a service of a compose file asks for.

    Args:
        service: Its words; command, image, networks and what others of its project it waits for are not options.
        keys: File that is written with its variables, since some are secret.
    """
    told = {
        name: os.environ.get(name) if one is None else str(one) for name, one in service.get("environment", {}).items()
    }
    there = [(name, os.path.expandvars(one.replace(":?}", "}"))) for name, one in told.items() if one is not None]
    keys.write_text("".join(f"{name}={one}\n" for name, one in there))
    flags = {"user": "--user", "mem_limit": "--memory", "pids_limit": "--pids-limit"}
    flags |= {"stop_grace_period": "--stop-timeout"}
    given = [(flag, str(service[word]).removesuffix("s")) for word, flag in flags.items() if word in service]
    lists = {"tmpfs": "--tmpfs", "cap_drop": "--cap-drop", "cap_add": "--cap-add", "security_opt": "--security-opt"}
    given += [(flag, one) for word, flag in lists.items() for one in service.get(word, ())]
    read_only = ("--read-only",) if service.get("read_only") else ()
    return (*read_only, "--env-file", str(keys), *(part for pair in given for part in pair))


def _answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True, timeout=30).returncode == 0

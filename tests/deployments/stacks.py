"""A stack that `perennial up` starts and `perennial down` stops, as people use it; it asserts nothing of it."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blocks.stack import Service, read_stack
from perennial.settings import Settings
from tests.servers import PERENNIAL, ROOT, answered, free_port

CLEARED = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "MLFLOW_TRACKING_URI")


class Stack:
    """The `perennial` command in an environment whose things are below one folder."""

    def __init__(self, storage: Path | str, use_cases: str, environment: str = "dev", **variables: str) -> None:
        """Say where; nothing is started."""
        inherited = {name: value for name, value in os.environ.items() if name not in CLEARED}
        self.storage = storage
        self.variables = {
            **inherited,
            "PERENNIAL_ENV": environment,
            "PERENNIAL_STORAGE_ROOT": str(storage),
            "PERENNIAL_USE_CASES": use_cases,
            "DO_NOT_TRACK": "1",
            "COLUMNS": "120",
            **variables,
        }

    def run(self, *arguments: str, expected: int = 0) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        done = subprocess.run([PERENNIAL, *arguments], cwd=ROOT, env=self.variables, capture_output=True, text=True)
        assert done.returncode == expected, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done

    def json(self, *arguments: str, expected: int = 0) -> Any:
        """Run a command and read what it prints for machines."""
        return json.loads(self.run(*arguments, "--json", expected=expected).stdout)

    def up(self) -> Any:
        """Bring it up, on free ports."""
        return self.json("up", "--prefect-port", str(free_port()), "--mlflow-port", str(free_port()))

    def ask(self, path: str, body: Any = None, **headers: str) -> Any:
        """Call the API of its Prefect server: GET without a body, POST with one."""
        data, url = (
            None if body is None else json.dumps(body).encode(),
            self.services["prefect"].address + "/api" + path,
        )
        request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
        return json.loads(answered(request))

    @property
    def services(self) -> dict[str, Service]:
        """What is on record of each service."""
        return read_stack(
            Settings(environment=self.variables["PERENNIAL_ENV"], storage_root=str(self.storage))
        ).services


@contextmanager
def stopping(stack: Stack) -> Iterator[Stack]:
    """Stop it at the end, whatever happens."""
    try:
        yield stack
    finally:
        stack.run("down")

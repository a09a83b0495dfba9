"""The service of `shop-returns` as real processes: a supervisor with its replicas; it asserts nothing."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from perennial.workspace import Workspace
from tests.servers import ROOT, free_port, until


class Service:
    """A running supervisor."""

    def __init__(self, ws: Workspace, replicas: int, log: Path | None = None, **variables: str) -> None:
        """Start it.

        Args:
            ws: What it serves.
            replicas: Processes that answer.
            log: File for what it says, else it goes where the test's own output goes.
            variables: Set for all its processes.
        """
        self.port = free_port()
        settings = ws.settings
        environment = {
            **os.environ,
            "PERENNIAL_ENV": "test",
            "PERENNIAL_STORAGE_ROOT": settings.storage_root,
            "PERENNIAL_STORAGE_ENDPOINT": settings.storage_endpoint,
            "PERENNIAL_USE_CASES": settings.use_cases,
            **variables,
        }
        command = [sys.executable, "-m", "serving", "shop-returns", "--port", str(self.port)]
        said = log.open("ab") if log else None
        self.process = subprocess.Popen(
            [*command, "--replicas", str(replicas)], cwd=ROOT, env=environment, stdout=said, stderr=said
        )
        if said:
            said.close()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask for a path, with POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def workers(self) -> list[psutil.Process]:
        """Return the replicas' processes that live."""
        children = psutil.Process(self.process.pid).children()
        alive = [one for one in children if one.status() != psutil.STATUS_ZOMBIE]
        return [one for one in alive if "serving.worker" in one.cmdline()]

    def stop(self) -> None:
        """End it by SIGTERM, and return when it has."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@contextmanager
def running(ws: Workspace, replicas: int, log: Path | None = None, **variables: str) -> Iterator[Service]:
    """Run a service that answers, and stop it."""
    service = Service(ws, replicas, log, **variables)
    try:
        until(60, lambda: service.ask("/version"))
        yield service
    finally:
        service.stop()

"""Real Prefect servers on loopback for tests, each with a home, a port and a database of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PREFECT = str(Path(sys.executable).with_name("prefect"))
PERENNIAL = str(Path(sys.executable).with_name("perennial"))


class Server:
    """A Prefect server of a test's own on loopback, and the processes that a test starts beside it."""

    def __init__(self, home: Path, **variables: str) -> None:
        """Start it: `variables` are set for the server and for all that is started or run beside it.

        Args:
            home: An existing folder of its own, for the database and the log of all its processes.
            variables: Such as `PERENNIAL_STORAGE_ROOT` or `PREFECT_SERVER_API_AUTH_STRING`.
        """
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PERENNIAL_ENV": "dev",
            "DO_NOT_TRACK": "1",
            **variables,
        }
        self.log = (home / "server.log").open("w")
        self.children: list[subprocess.Popen[bytes]] = []
        self.serve()

    def serve(self) -> "subprocess.Popen[bytes]":
        """Start the server as `up` does, again with the same port and database after it was stopped or killed."""
        command = (sys.executable, "-m", "deployments.services.prefect_server")
        return self.start(*command, "--host", "127.0.0.1", "--port", str(self.port))

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a process that knows this server; it is stopped with it."""
        quiet = ["env", "--default-signal=INT,QUIT", *command]
        child = subprocess.Popen(quiet, cwd=ROOT, env=self.environment, stdout=self.log, stderr=self.log)
        self.children.append(child)
        return child

    def run(self, *command: str, expected: int = 0) -> str:
        """Run a command that knows this server to its end, and return what it printed."""
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == expected, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Call the API: GET without a body, POST with one, unless the method says otherwise.

        While its SQLite file is locked the server answers 503, upon which Prefect's own clients ask again too.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self._login()}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        text = answered(request)
        return json.loads(text) if text else None

    def _login(self) -> dict[str, str]:
        password = self.environment.get("PREFECT_API_AUTH_STRING", "")
        return {"Authorization": f"Basic {b64encode(password.encode()).decode()}"} if password else {}

    def wait(self) -> "Server":
        """Wait until it answers."""
        until(120, lambda: self.ask("/health"))
        return self

    def stop(self) -> None:
        """Stop all processes, the newest first, and kill what does not end."""
        for child in reversed(self.children):
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
        self.log.close()


def answered(request: urllib.request.Request, tries: int = 4) -> bytes:
    """Send a request; while a server's SQLite file is locked it answers 503, and is asked again."""
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text: bytes = answer.read()
            return text
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.SERVICE_UNAVAILABLE or tries == 1:
            raise
    time.sleep(1)
    return answered(request, tries - 1)


@contextmanager
def running_server(home: Path, **variables: str) -> Iterator[Server]:
    """Run a server that answers, and stop it and all that was started beside it."""
    server = Server(home, **variables)
    try:
        yield server.wait()
    finally:
        server.stop()


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def listening() -> Iterator[int]:
    """Listen on a free port of loopback, answering nobody; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def until(seconds: float, ask: Callable[[], Any]) -> Any:
    """Wait for a condition: the answer as soon as it is true. A server that does not answer yet is waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            answer = ask()
        except OSError:
            answer = None
        if answer:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s")

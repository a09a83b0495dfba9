"""A contender as processes: started, waited for, measured, stopped with all that it started."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.benchmarks.serving.contenders import Contender
from tests.benchmarks.serving.preparing import Prepared, first_body

WAIT = 120.0
"""Seconds for a contender to answer first."""
MB = 2**20


class NoAnswer(Exception):
    """A contender was started and did not answer well."""


@dataclass(frozen=True)
class Running:
    """One that answers."""

    contender: Contender
    process: "subprocess.Popen[bytes]"
    port: int
    seconds: float
    """From the command to the first answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.contender.path}"

    def memory(self) -> tuple[float, float]:
        """Return the megabytes of the process that answers, the largest, and of all its processes together."""
        taken = [one.memory_full_info().pss / MB for one in self._processes()]
        return max(taken), sum(taken)

    def cpu(self) -> float:
        """Return the seconds of processor time that its processes have taken."""
        return sum(sum(one.cpu_times()[:2]) for one in self._processes())

    def _processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]


@contextmanager
def running(contender: Contender, prepared: Prepared) -> Iterator[Running]:
    """Start a contender, wait for its first answer, and stop it in the end.

    Raises:
        NoAnswer: It ended, or there was none in time; its log is in the folder of the benchmark.
    """
    port, log = _free_port(), prepared.home / f"{contender.name.replace(' ', '-')}.log"
    command = contender.command(port)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **contender.variables}
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=contender.folder, env=variables, stdout=out, stderr=out, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}{contender.path}"
        _wait(process, url, first_body(prepared.bodies(contender.protocol, "single")), log)
        yield Running(contender, process, port, time.monotonic() - began)
    finally:
        _stop(process)


def _wait(process: "subprocess.Popen[bytes]", url: str, body: bytes, log: Path) -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    deadline, last = time.monotonic() + WAIT, "nothing"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except urllib.error.HTTPError as error:
            last = f"{error.code} {error.read()[:200]!r}"
        except OSError as error:
            last = str(error)
        time.sleep(0.02)
    raise NoAnswer(f"no answer, last {last}; see {log}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the session that was started for it."""
    for one in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, one)
            process.wait(20)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            break


def _free_port() -> int:
    """Return a port that is free with the two after it, which some contenders take too."""
    while True:
        with ExitStack() as stack, suppress(OSError):
            first = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for port in (first + 1, first + 2):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return int(first)

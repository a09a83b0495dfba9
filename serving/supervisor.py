"""Starts the replicas of one service behind one socket, and those that die again; it answers nothing itself."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic

from serving.settings import SHARED, ServiceRefused, ServiceSettings
from serving.telling import tell

PATIENCE = (0.1, 1.0, 5.0, 15.0)
"""Seconds until what died, or did not start, is started again, the last for ever; forgotten after a quiet minute."""
QUIET = 60.0
LATER = 3.0
"""Seconds that the duties leave the machine to the replicas at the start."""
GRACE = 25.0
"""Seconds for a process to end before it is killed."""


@dataclass
class Child:
    """A process that is to run as long as the service does."""

    name: str
    command: tuple[str, ...]
    accepts: bool = False
    """Whether it gets the listening socket."""
    running: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    deaths: int = 0
    again: float = field(default=0.0)


class Supervisor:
    """The processes of one service."""

    def __init__(self, settings: ServiceSettings, replicas: int, variables: Mapping[str, str]) -> None:
        self._settings, self._replicas, self._variables = settings, replicas, variables
        self._ending = Event()
        self._children: list[Child] = []

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, and return once every process has ended.

        Raises:
            ServiceRefused: The address is taken.
        """
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, lambda number, frame: self._ending.set())
        with _bound(self._settings.host, self._settings.port) as listening, TemporaryDirectory("-serving") as folder:
            host, port = listening.getsockname()[:2]
            os.environ[SHARED] = folder
            self._children = self._declared(host, port, listening.fileno())
            where = {"use_case": self._settings.slug, "environment": self._settings.environment}
            tell("service.listening", **where, address=f"http://{host}:{port}")
            while not self._ending.wait(0.1):
                for child in self._children:
                    self._keep(child, listening.fileno())
            listening.close()  # so that callers are refused, and do not wait for ever, once the replicas have closed it
            self._end()

    def _declared(self, host: str, port: int, number: int) -> list[Child]:
        where = (self._settings.slug, host, str(port))
        worker = (sys.executable, "-m", "serving.worker", *where, str(number))
        replicas = [Child(f"replica {place}", worker, accepts=True) for place in range(1, self._replicas + 1)]
        duties = Child("duties", (sys.executable, "-m", "serving.duties", *where), again=monotonic() + LATER)
        return [*replicas, duties]

    def _keep(self, child: Child, number: int) -> None:
        if child.running is not None and child.running.poll() is None:
            return
        if child.running is not None:
            self._bury(child)
        if monotonic() < child.again:
            return
        variables = {**self._variables, SHARED: os.environ[SHARED], "OMP_NUM_THREADS": "1"}
        try:
            child.running = subprocess.Popen(  # noqa: S603
                child.command, env=variables, pass_fds=(number,) if child.accepts else (), process_group=0
            )
        except OSError as error:  # too many processes or too little memory: it may be otherwise in a while
            tell("process.not-started", name=child.name, error=str(error), again_in=_put_off(child))
            return
        child.started = monotonic()
        tell("process.started", name=child.name, pid=child.running.pid)

    def _bury(self, child: Child) -> None:
        assert child.running is not None
        code, pid = child.running.returncode, child.running.pid
        child.deaths = 0 if monotonic() - child.started > QUIET else child.deaths
        child.running = None
        tell("process.died", name=child.name, pid=pid, code=code, again_in=_put_off(child))
        from serving.metrics import forget

        forget(pid)

    def _end(self) -> None:
        """The replicas first, so that what they logged last is collected."""
        *replicas, duties = [one.running for one in self._children]
        for processes in (replicas, [duties]):
            alive = [one for one in processes if one is not None and one.poll() is None]
            for one in alive:
                one.terminate()
            deadline = monotonic() + GRACE
            for one in alive:
                try:
                    one.wait(max(0.1, deadline - monotonic()))
                except subprocess.TimeoutExpired:
                    one.kill()
                    one.wait()


def _put_off(child: Child) -> float:
    """Count a death, and return the seconds until it is started again."""
    wait = PATIENCE[min(child.deaths, len(PATIENCE) - 1)]
    child.deaths, child.again = child.deaths + 1, monotonic() + wait
    return wait


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ServiceRefused(
            f"`{host}:{port}` cannot be listened on: {error.strerror}. Choose another `--port`, or end what has it."
        ) from error
    listening.setblocking(False)
    return listening

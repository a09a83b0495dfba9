"""Processes that outlive the command that starts them: started, recorded, waited for and stopped, by pid and birth.

It knows neither Prefect nor MLflow.
"""

import fcntl
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from blocks.documents import PROJECT
from blocks.stack import Service, Stack, birth, run_folder
from deployments.services.errors import NotReady, NotStopped
from deployments.services.keys import write_private
from deployments.services.launches import Launch
from perennial.settings import Settings

_POLL = 0.2
_PATIENCE_WITH_RUNNING = 20


@contextmanager
def changing(settings: Settings) -> Iterator[None]:
    """Let one command at a time change the services of an environment; another one waits for it."""
    folder = run_folder(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    with (folder / "stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start(launch: Launch, settings: Settings) -> Service:
    """Start a process in a session of its own, so that it stays when the command ends or is interrupted."""
    log = run_folder(settings) / f"{launch.name}.log"
    with os.fdopen(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as output:
        child = subprocess.Popen(  # noqa: S603
            launch.command,
            cwd=PROJECT,
            env=launch.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Service(
        name=launch.name,
        pid=child.pid,
        created=psutil.Process(child.pid).create_time(),
        born=birth(child.pid),
        address=launch.address,
        uses=launch.uses,
        log=str(log),
    )


def record(stack: Stack, settings: Settings) -> None:
    """Write down what runs, or remove the record when nothing does."""
    path = run_folder(settings) / "stack.json"
    if stack.services:
        write_private(path, stack.model_dump_json(indent=2))
    else:
        path.unlink(missing_ok=True)


def replace(stack: Stack, launch: Launch, settings: Settings) -> Service:
    """Stop what is on record under the name of a launch, start it, and write down that it runs."""
    before = stack.services.get(launch.name)
    if before:
        stop(before)
    stack.services[launch.name] = start(launch, settings)
    record(stack, settings)
    return stack.services[launch.name]


def stop(service: Service, patience: float = 30) -> bool:
    """End a service and all processes that it started; what does not end in time is killed.

    Returns:
        Whether it was still running.

    Raises:
        NotStopped: It could not even be killed.
    """
    process = service.process
    if process is None:
        return False
    family = [process, *process.children(recursive=True)]
    process.terminate()
    if not _gone_within(patience, family):
        for one in family:
            _kill(one)
        if not _gone_within(10, family):
            raise NotStopped(f"`{service.name}` (pid {service.pid}) does not end, though it was killed; see `ps`.")
    return True


def wait_until(service: Service, what: str, is_so: Callable[[], bool], patience: float) -> None:
    """Poll a condition until it holds.

    Raises:
        NotReady: The process ended, or the time is over; with the last lines of its log.
    """
    deadline = time.monotonic() + patience
    while not is_so():
        has_ended = service.process is None
        if has_ended or time.monotonic() > deadline:
            happened = "ended" if has_ended else f"was not {what} within {patience:.0f} s"
            raise NotReady(
                f"`{service.name}` {happened}. Its log, `{service.log}`, ends with:\n{last_lines(service.log)}"
            )
        time.sleep(_POLL)


def is_well(service: Service | None, is_ready: Callable[[Service], bool]) -> bool:
    """Say whether a service runs and answers; one that is busy just now is waited for."""
    if service is None:
        return False
    try:
        wait_until(service, "answering", lambda: is_ready(service), _PATIENCE_WITH_RUNNING)
    except NotReady:
        return False
    return True


def answers(url: str) -> bool:
    """Say whether a URL answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def last_lines(log: str, count: int = 8) -> str:
    """Return the end of a log."""
    try:
        lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(f"    {line}" for line in lines[-count:])


def _gone_within(seconds: float, family: list[psutil.Process]) -> bool:
    deadline = time.monotonic() + seconds
    while any(_lives(one) for one in family):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _kill(process: psutil.Process) -> None:
    if _lives(process):
        process.send_signal(signal.SIGKILL)

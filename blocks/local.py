"""Running flows in this process with nothing else to start.

A Prefect server that the environment's document names (`prefect_api_url`) is used, else that of `PREFECT_API_URL`,
else the running stack of the environment, else a private one.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.documents import read_settings, using
from blocks.private_server import address_of, private_server
from blocks.secrets import load_secrets, missing_secrets
from blocks.stack import connected, known_address, own_folder, with_registry
from perennial.settings import Settings


def prefect_home(settings: Settings) -> Path:
    """Return the folder with the recorded runs: below the storage root where that is a folder."""
    return own_folder(settings, "prefect")


def local_settings() -> Settings:
    """Return the settings of this process, which imports Prefect only where `PREFECT_API_URL` names a server.

    Models are registered through the MLflow server of the running stack, if there is one: that takes as long as
    writing its database (0.8 s), and whoever watches sees them at once.
    """
    if not os.environ.get("PREFECT_API_URL"):
        settings = with_registry(read_settings())
        if missing_secrets(settings):
            with connected(settings) as server:
                if server:
                    load_secrets(settings)
        return settings
    from blocks.environment import current_settings

    return current_settings()


@contextmanager
def local_run(
    settings: Settings, verbose: bool = False, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Let flows run here with these settings.

    Where nothing names a server and no stack runs, a private server records them, which takes about 3 seconds
    to start (the first time 10, for its database). Heartbeats are off: a run in somebody's terminal is watched by
    them, and each synchronous flow would wait one second for its heartbeat to stop. Runs of workers keep theirs.

    Args:
        settings: The environment.
        verbose: Show Prefect's own log lines; without it only warnings, as the caller tells the errors.
        meanwhile: Called while the server starts, to import the flows for instance.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with using(settings):
        if known_address(settings):
            meanwhile()
            with connected(settings), _without_heartbeats(), _console(verbose), _sending_all():
                yield
        else:
            home = prefect_home(settings)
            with _recorded_below(home, meanwhile), _without_heartbeats(), _console(verbose), _sending_all():
                yield


@contextmanager
def _without_heartbeats() -> Iterator[None]:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@contextmanager
def _recorded_below(home: Path, meanwhile: Callable[[], object]) -> Iterator[None]:
    os.environ.setdefault("PREFECT_HOME", str(home))
    with private_server(home) as (child, password):
        import prefect.flow_engine  # noqa: F401  imported while the server starts
        from prefect import settings as names

        meanwhile()
        own = {
            names.PREFECT_API_URL: address_of(child, home),
            names.PREFECT_API_AUTH_STRING: password,
            names.PREFECT_HOME: home,
            names.PREFECT_SERVER_ANALYTICS_ENABLED: False,
        }
        with names.temporary_settings(own):
            yield


@contextmanager
def _console(verbose: bool) -> Iterator[None]:
    import prefect.main  # noqa: F401  it sets up logging
    from prefect.logging.handlers import PrefectConsoleHandler

    handlers = [one for one in logging.getLogger().handlers if isinstance(one, PrefectConsoleHandler) and not verbose]
    for handler in handlers:
        handler.addFilter(_is_news)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    is_told_by_caller = record.levelno >= logging.ERROR and record.name.startswith("prefect.")
    is_about_draining = record.name in ("EventsWorker", "APILogWorker")
    return record.levelno >= logging.WARNING and not is_told_by_caller and not is_about_draining


@contextmanager
def _sending_all() -> Iterator[None]:
    try:
        yield
    finally:
        from prefect._internal.concurrency.threads import wait_for_global_loop_exit
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=10, at_exit=False)
        wait_for_global_loop_exit(timeout=10)  # or its thread keeps what flows imported from being torn down at exit

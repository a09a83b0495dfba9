"""What a process tells Prefect goes to one server only: the one that its first flow run met."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect._internal.concurrency.threads import wait_for_global_loop_exit
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker


@contextmanager
def fresh_senders() -> Iterator[None]:
    """Send events and logs to the server that is named within, and afterwards again to whichever is named then.

    A worker that met another server asks that one about the runs, which it does not know, and drops the events.
    """
    _end_senders()
    try:
        yield
    finally:
        _end_senders()
        wait_for_global_loop_exit(timeout=10)


def _end_senders() -> None:
    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=10, at_exit=False)

"""One replica as a process: accepts from a socket that it was given, and ends with its log written.

`python -m serving.worker <slug> <host> <port> <number of the socket>` is started by the supervisor alone.
"""

import gc
import os
import signal
import socket
import sys
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from perennial.workspace import Workspace
from serving.lean import do_without, leave
from serving.parents import end_with_parent
from serving.settings import ServiceSettings, read_settings

if TYPE_CHECKING:
    from serving.answer_log import AnswerLog

OPENING = 30.0
"""Seconds that a replica has to load a version before it accepts: until then the others take the requests."""

STUCK = 70
"""Its exit code."""
GARBAGE = (10_000, 20, 1_000)
"""When memory is searched for cycles: hardly ever in full, which holds up every caller for as long as it takes."""

SWITCH = 0.0005
"""Seconds after which a thread lets others run that wait: Python's own 5 ms are longer than an answer takes."""


def work(settings: ServiceSettings, listening: socket.socket) -> None:
    """Answer until SIGTERM, which may come before there is anything to answer with."""
    ending = Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ending.set())
    warming = Thread(target=_import_ahead, name="importing", daemon=True)
    warming.start()
    from serving.answer_log import AnswerLog
    from serving.replica import Replica, new_name
    from serving.reporting import Reporter

    ws, name = Workspace.open(settings.slug, settings.storage), new_name()
    log = AnswerLog(ws, name)
    replica = Replica(ws, log, name=name, address=f"{socket.gethostname()}:{settings.port}/{os.getpid()}")
    reporter = Reporter(ws, replica.report)
    log.start()
    replica.start()
    reporter.start()
    warming.join()
    from serving.app import build_app
    from serving.connections import serve

    app = build_app(replica, settings, give_up=partial(_give_up, log))
    replica.wait(OPENING, ending)
    if not ending.is_set():
        _tell_ready(replica.name, replica.status.release, replica.status.version)
        serve(app, [listening], app.drain, refused=app.refused, ending=ending)
    replica.stop()
    log.stop()
    reporter.stop(farewell=log.is_complete)


def _give_up(log: "AnswerLog") -> None:
    """End without a farewell, as a model that does not come back leaves no other way; what it answered is logged.

    Another process takes its place, and the guard sees that replicas fell silent with the version.
    """
    log.stop()
    os._exit(STUCK)


def _import_ahead() -> None:
    """What is needed a moment later, while the version loads."""
    import serving.app
    import serving.connections  # noqa: F401


def _tell_ready(replica: str, release: int | None, version: int | None) -> None:
    from serving.telling import tell

    tell("replica.open", replica=replica, pid=os.getpid(), release=release, version=version)


def _main(slug: str, host: str, port: str, number: str) -> None:
    end_with_parent()
    do_without()
    gc.set_threshold(*GARBAGE)
    sys.setswitchinterval(SWITCH)
    listening = socket.socket(fileno=int(number))
    work(read_settings(slug, host, int(port), os.environ), listening)
    leave()


if __name__ == "__main__":
    _main(*sys.argv[1:])

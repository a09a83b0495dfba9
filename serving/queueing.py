"""How long a thread waited for a processor: on a machine that is too busy, the version is not what is slow.

Source: https://docs.kernel.org/scheduler/sched-stats.html, "/proc/<pid>/schedstat".
"""

import os
from collections.abc import Callable
from io import FileIO
from threading import local

_OWN = "/proc/thread-self/schedstat"
_NANO = 1e-9
_thread = local()


def queued_seconds() -> float:
    """Return the seconds that this thread has been ready to run without running; always 0 where no kernel tells."""
    if not hasattr(_thread, "clock"):
        _thread.clock = queue_clock()
    clock: Callable[[], float] = _thread.clock
    return clock()


def queue_clock() -> Callable[[], float]:
    """Return what tells the queued seconds of this thread, also to others and while it is at something."""
    file = _open()

    def read() -> float:
        if file is None:
            return 0.0
        _, queued, _ = os.pread(file.fileno(), 128, 0).split()
        return int(queued) * _NANO

    return read


def _open() -> FileIO | None:
    try:
        return FileIO(_OWN)
    except OSError:
        return None

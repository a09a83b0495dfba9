"""Garbage of a Prefect server's process, collected by a thread of its own.

Where the event loop's thread does that, a burst of events on SQLite stops the server for a minute at a time (3.8.8): a
dropped cursor waits for its connection, on which another thread waits for the lock to write, and whoever has that lock
waits for the event loop. It ends when the wait for the lock is given up: "database is locked".
"""

import gc
import threading
from itertools import count
from time import sleep

EVERY = 2.0
"""Seconds between two collections of what is young."""
OLD = 30
"""Collections of which the last is one of everything, which takes a tenth of a second."""


def collect_apart(every: float = EVERY) -> None:
    """Collect garbage in a thread of its own from now on, and in no other."""
    gc.disable()
    threading.Thread(target=_collect, args=(every,), name="garbage", daemon=True).start()


def _collect(every: float) -> None:
    for number in count(1):
        sleep(every)
        gc.collect(1 if number % OLD else 2)

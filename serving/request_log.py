"""One line of JSON per request and per event, written by a thread of its own so that no request waits for the disk.

No value of a field, no token and no query string is ever in it; the route stands for the path.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, TextIO

import orjson

MAX_LINES = 20_000
"""Lines that wait to be written; beyond it they are dropped and counted."""


class RequestLog:
    """Lines on a stream, by default standard output."""

    def __init__(self, clock: Callable[[], datetime], stream: TextIO | None = None, every: float = 0.2) -> None:
        """Write what has gathered every so many seconds.

        Args:
            clock: The present time.
            stream: Where lines go.
            every: Seconds between two writings.
        """
        self._clock, self._every = clock, every
        self._stream = sys.stdout if stream is None else stream
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def write(self, event: str, level: str = "info", **fields: Any) -> None:
        """Add a line."""
        if len(self._lines) >= MAX_LINES:
            self._dropped += 1
            return
        self._lines.append(orjson.dumps({"at": self._clock(), "level": level, "event": event, **fields}))

    def close(self) -> None:
        """Write what is left and end."""
        self._ending.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ending.wait(self._every):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._lines.append(
                orjson.dumps({"at": self._clock(), "level": "warning", "event": "lines-dropped", "lines": dropped})
            )
        lines = [self._lines.popleft() for _ in range(len(self._lines))]  # one by one: others add meanwhile
        if not lines:
            return
        try:
            self._stream.write(b"\n".join(lines).decode() + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._dropped += len(lines)

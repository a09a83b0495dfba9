"""How much one caller may ask: requests a second, bytes and seconds of a body; it knows nobody's name."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from serving.messages import Request
from serving.problems import Refused

MAX_CALLERS = 10_000
"""Callers whose rate is remembered; beyond it the one longest unseen is forgotten."""
BODY_SECONDS = 10.0
"""Time for a whole body to arrive."""
CLOSE = ((b"connection", b"close"),)

Receive = Callable[[], Awaitable[Any]]


class Disconnected(Exception):
    """The caller went away before its request was whole."""


class RateLimit:
    """A token bucket per caller that holds the requests of one second; the rate is that of this replica alone."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Limit to `rate` requests a second, 0 for no limit."""
        self._rate, self._clock = rate, clock
        self._size = max(1.0, rate)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one request.

        Raises:
            Refused: The caller's bucket is empty (429); `Retry-After` says when it is not.
        """
        if not self._rate:
            return
        now = self._clock()
        left, at = self._buckets.pop(caller, (self._size, now))
        left = min(self._size, left + (now - at) * self._rate)
        self._buckets[caller] = (max(left - 1, 0.0) if left >= 1 else left, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        if left < 1:
            wait = max(1, round((1 - left) / self._rate + 0.5))
            raise Refused(
                429,
                "rate",
                f"More than {self._rate:g} requests a second. Ask again in {wait} s.",
                (),
                ((b"retry-after", str(wait).encode()),),
            )


async def read_body(request: Request, receive: Receive, max_bytes: int, seconds: float = BODY_SECONDS) -> bytes:
    """Read a body whole; what is stated or turns out to be too large is left unread, with its connection.

    Raises:
        Refused: Too large (413), too slow (408), compressed (415).
        Disconnected: The caller went away.
    """
    if request.headers.get(b"content-encoding", b"identity") != b"identity":
        raise Refused(415, "encoding", "The body is compressed, expected it as it is.", (), CLOSE)
    if int(request.headers.get(b"content-length", b"0")) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(seconds):
            return await _read(receive, max_bytes)
    except TimeoutError:
        raise Refused(
            408, "slow", f"The body did not arrive within {seconds:g} s. Send it faster or in parts.", (), CLOSE
        ) from None


async def _read(receive: Receive, max_bytes: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(max_bytes: int) -> Refused:
    return Refused(413, "size", f"The body has more than {max_bytes} bytes. Send fewer rows at once.", (), CLOSE)

"""The only home of uvicorn: connections that cannot be held open for nothing, and an end that loses no request.

uvicorn bounds neither the time nor the size of a request's head, nor how many requests one connection sends ahead, nor
how long a response may wait to be taken away; the protocol here does.
"""

import asyncio
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.telling import tell

HEAD_SECONDS = 10.0
"""Time for the request line and headers to arrive, and for a response to be taken away."""
HEAD_BYTES = 32 * 1024
IDLE_SECONDS = 20
"""Time that a connection may stay open between two requests."""
CONNECTIONS = 1000
"""Open ones of a replica; for more, those that wait longest for a request are closed. Where all are busy it is 503."""
SPARE = 50
"""Of these, kept free for who comes next."""
AHEAD = 64
"""Requests that one connection may send before the first is answered."""
FILES = 4096
"""Open files that a replica asks the system for, where it has fewer."""

Refused = Callable[[str], None]
"""Told why a connection or request never reached the application, in one word."""


class TooFarAhead(Exception):
    """A connection sent more requests than it may before it got answers."""


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose heads must arrive soon and small, and whose responses must be taken away."""

    def __init__(self, *given: Any, waiting: "dict[BoundedProtocol, None]", refused: Refused, **more: Any) -> None:
        """Take, beside what uvicorn gives, what all connections of a server share.

        Args:
            given: By uvicorn.
            waiting: Connections without a request, the longest waiting first.
            refused: Counts.
            more: By uvicorn.
        """
        super().__init__(*given, **more)
        self._waiting, self._refused = waiting, refused
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self._answering: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head, in the place of another where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS - SPARE and self._waiting:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            self.connections.discard(oldest)
            self._refused("connections")
            oldest.transport.abort()
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not whole yet."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._end_soon()
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._head_timer is None and self.timeout_keep_alive_task is None:
            self._wait_for_head()
        if self._head_timer is not None and self._head_bytes > HEAD_BYTES:
            self._refuse("head-size", b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """The head is whole; its body is timed where it is read."""
        self._stop_waiting()
        if len(self.pipeline) >= AHEAD:
            raise TooFarAhead
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The next head may begin."""
        self._head_bytes = 0
        super().on_response_complete()
        if self.transport.is_closing():
            self._end_soon()
        elif not self.pipeline and self.cycle.response_complete:
            self._waiting[self] = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or is sent too far ahead."""
        self._refused("http")
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        """The peer does not take away what is sent to it, and has a while to begin."""
        super().pause_writing()
        self._end_soon()

    def resume_writing(self) -> None:
        """It did."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._cancel_end()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, at once where the peer does not take away what was sent to it."""
        super().timeout_keep_alive_handler()
        self._end_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer, and answer nothing more of what it asked."""
        self._stop_waiting()
        self._cancel_end()
        self.pipeline.clear()
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if app is not self.app:
            self._refused("connections")
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            slow = ("head-slow", b"408 Request Timeout")
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse, *slow)
            if self.cycle is None or self.cycle.response_complete:
                self._waiting.setdefault(self)

    def _stop_waiting(self) -> None:
        self._waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, reason: str, status: bytes) -> None:
        self._stop_waiting()
        if self.flow.read_paused:  # it waits for us: the rest may have been sent long ago
            self._wait_for_head()
            return
        if not self.transport.is_closing():
            self._refused(reason)
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
        self._end_soon()

    def _end_soon(self) -> None:
        if self._end_timer is None:
            self._end_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _cancel_end(self) -> None:
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None


class Telling(logging.Handler):
    """What uvicorn finds worth a line, as one of ours: without values of a request."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        tell("http.failed", error=error, message=record.getMessage().strip())


class DrainingServer(uvicorn.Server):
    """On SIGTERM says first that it is not ready, and ends when whoever routes requests has had time to see it."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None], seconds: float) -> None:
        """Serve until told to end.

        Args:
            config: What to serve.
            drain: Called at once.
            seconds: Between that and the end of accepting.
        """
        super().__init__(config)
        self._drain, self._seconds = drain, seconds
        self.ending = threading.Event()
        """Set where a signal came before this server could act on it."""
        self._is_draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remember the loop that signals are handed to."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.ending.is_set():
            self.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End by and by; at the second signal at once."""
        if not hasattr(self, "_loop"):
            self.ending.set()
            return
        if self._is_draining:
            self.should_exit = True
            return
        self._is_draining = True
        self._loop.call_soon_threadsafe(self._begin_end)

    def _begin_end(self) -> None:
        self._drain()
        self._loop.call_later(self._seconds, self._end)

    def _end(self) -> None:
        self.should_exit = True


def make_server(
    app: Any,
    drain: Callable[[], None],
    *,
    refused: Refused = lambda reason: None,
    seconds: float = 1.0,
    grace: float = 10.0,
) -> DrainingServer:
    """Return a server of an ASGI application; its `run` takes bound sockets, which several processes may share.

    Args:
        app: The application.
        drain: Called at SIGTERM, before anything else.
        refused: Told of what never reaches the application.
        seconds: How long requests are still accepted after that, each response closing its connection.
        grace: How long those in flight have then.
    """
    waiting: dict[BoundedProtocol, None] = {}
    config = uvicorn.Config(
        app,
        http=partial(BoundedProtocol, waiting=waiting, refused=refused),  # type: ignore[arg-type]
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=int(grace),
        backlog=2048,
    )
    logger = logging.getLogger("uvicorn.error")
    logger.handlers, logger.propagate, logger.level = [Telling()], False, logging.ERROR
    return DrainingServer(config, drain, seconds)


def serve(
    app: Any,
    sockets: list[socket.socket],
    drain: Callable[[], None],
    *,
    refused: Refused = lambda reason: None,
    seconds: float = 1.0,
    grace: float = 10.0,
    ending: threading.Event | None = None,
) -> None:
    """Serve an application on bound sockets until SIGTERM, and return once what was asked is answered.

    A SIGTERM that came before counts too: whoever took it has set `ending`.
    """
    _ask_for_files()
    server = make_server(app, drain, refused=refused, seconds=seconds, grace=grace)
    server.ending = ending or server.ending
    server.run(sockets)


def _ask_for_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

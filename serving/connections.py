"""The only home of uvicorn: connections that cannot be held open for nothing, and an end that loses no request.

uvicorn bounds neither the time nor the size of a request's head; the protocol here does both.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""Time for the request line and headers to arrive, and for a response to be taken away."""
HEAD_BYTES = 32 * 1024
IDLE_SECONDS = 20
"""Time that a connection may stay open between two requests."""
CONNECTIONS = 1000
"""Open ones of a replica; further requests get 503."""


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose heads must arrive soon and small."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not whole yet."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._head_timer is None and self.timeout_keep_alive_task is None:
            self._wait_for_head()
        if self._head_timer is not None and self._head_bytes > HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        """The head is whole; its body is timed where it is read."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The next head may begin."""
        self._head_bytes = 0
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, at once where the peer does not take away what was sent to it."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse, b"408 Request Timeout")

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()


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


def make_server(app: Any, drain: Callable[[], None], *, seconds: float = 1.0, grace: float = 10.0) -> DrainingServer:
    """Return a server of an ASGI application; its `run` takes bound sockets, which several processes may share.

    Args:
        app: The application.
        drain: Called at SIGTERM, before anything else.
        seconds: How long requests are still accepted after that, each response closing its connection.
        grace: How long those in flight have then.
    """
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=int(grace),
        backlog=2048,
    )
    return DrainingServer(config, drain, seconds)


def serve(
    app: Any,
    sockets: list[socket.socket],
    drain: Callable[[], None],
    *,
    seconds: float = 1.0,
    grace: float = 10.0,
    ending: threading.Event | None = None,
) -> None:
    """Serve an application on bound sockets until SIGTERM, and return once what was asked is answered.

    A SIGTERM that came before counts too: whoever took it has set `ending`.
    """
    server = make_server(app, drain, seconds=seconds, grace=grace)
    server.ending = ending or server.ending
    server.run(sockets)

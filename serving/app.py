"""The ASGI application of one replica: who may ask, how much, what answers, and what is told of it.

It is plain ASGI on purpose: a request passes no framework, only what is below.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any

from serving.auth import Doorkeeper
from serving.clock import now
from serving.limits import CLOSE, Disconnected, RateLimit, read_body
from serving.messages import Request, Response
from serving.metrics import Metrics
from serving.problems import Refused
from serving.replica_protocol import AnsweringReplica, HttpSettings
from serving.request_log import RequestLog
from serving.route_list import routes_of
from serving.routes import Route, RouteTable, choose
from serving.scoring import Scoring

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
EVERY = 1.0
"""Seconds between two looks at the gauges."""
_QUIET = {"/livez", "/readyz", "/ping", "/metrics", "/v2/health/live", "/v2/health/ready"}
"""Routes that are logged only when something is wrong."""


def build_app(
    replica: AnsweringReplica,
    settings: HttpSettings,
    clock: Callable[[], datetime] = now,
    log: RequestLog | None = None,
    give_up: Callable[[], None] = lambda: None,
) -> "Service":
    """Return the ASGI application of a replica, which is started and stopped by whoever made it.

    Args:
        replica: What answers.
        settings: Tokens and limits.
        clock: The time.
        log: Where lines go, by default to standard output.
        give_up: Called where the scoring thread will not come back, so that nothing is answered any more.
    """
    return Service(replica, settings, clock, log, give_up)


class Service:
    """One replica over HTTP."""

    def __init__(
        self,
        replica: AnsweringReplica,
        settings: HttpSettings,
        clock: Callable[[], datetime],
        log: RequestLog | None,
        give_up: Callable[[], None],
    ) -> None:
        self.draining = False
        """True once the process is to end: not ready any more, and every response closes its connection."""
        self._replica, self._clock, self._give_up = replica, clock, give_up
        self._log = log or RequestLog(clock)
        self._metrics = Metrics(replica.ws.use_case.task)
        self._scoring = Scoring(replica, self._metrics, clock)
        self._doorkeeper, self._limit = Doorkeeper(settings.tokens), RateLimit(settings.rate)
        self._max_body = settings.max_body
        documented_at = None if settings.environment == "prod" else clock
        is_guarded = bool(settings.tokens)
        parts = (replica, self._scoring, self._metrics, lambda: self.draining, documented_at)
        self.table = RouteTable(routes_of(*parts, is_guarded=is_guarded))

    @property
    def routes(self) -> Sequence[Route]:
        """All that is reachable."""
        return self.table.routes

    def drain(self) -> None:
        """Say to whoever routes requests here that this replica will end; those that come are still answered."""
        self.draining = True
        self._log.write("draining")

    def refused(self, reason: str) -> None:
        """Count what did not get as far as here."""
        self._metrics.refused(reason)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        request = Request.of(scope)
        methods = self.table.at(request)
        reason = version = ""
        try:
            response = await self._answer(request, methods, receive)
            version = request.version
        except Refused as refused:
            reason = refused.reason
            response = refused.response(request.echo.decode())
            self._tell_refused(request, refused)
        except Disconnected:
            self._metrics.refused("disconnected")
            return
        except Exception as error:
            reason = "error"
            response = Refused(500, reason, "Something went wrong here.").response(request.echo.decode())
            self._metrics.refused(reason)
            self._log.write("error", "error", request_id=request.id, error=_named(error))
        await self._send(request, response, send)
        template = next(iter(methods.values())).template if methods else "none"
        self._tell(request, template, response, reason, version, perf_counter() - started)

    async def _answer(self, request: Request, methods: dict[str, Route], receive: Receive) -> Response:
        if not any(one.is_open for one in methods.values()):
            self._limit.take(self._admitted(request))
        route = choose(methods, request.method)
        if request.method == "POST":
            request.body = await read_body(request, receive, self._max_body)
        return await route.handler(request)

    def _admitted(self, request: Request) -> str:
        try:
            return self._doorkeeper.admit(request)
        except Refused:
            self._limit.take(f"refused {request.client}")
            raise

    async def _send(self, request: Request, response: Response, send: Send) -> None:
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            (b"x-request-id", request.echo),
            (b"x-content-type-options", b"nosniff"),
            *response.headers,
            *(CLOSE if self.draining else ()),
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    def _tell_refused(self, request: Request, refused: Refused) -> None:
        self._metrics.refused(refused.reason)
        if refused.__cause__ is not None:
            cause = refused.__cause__.__cause__ or refused.__cause__
            self._log.write("error", "error", request_id=request.id, reason=refused.reason, error=_named(cause))

    def _tell(
        self, request: Request, route: str, response: Response, reason: str, version: str, seconds: float
    ) -> None:
        self._metrics.request(route, response.status, seconds, version)
        if route in _QUIET and response.status == 200:
            return
        self._log.write(
            "request",
            "info" if response.status < 500 else "error",
            request_id=request.id,
            method=request.method if len(request.method) < 10 else "other",
            route=route,
            status=response.status,
            reason=reason,
            rows=request.rows,
            version=version,
            ms=round(seconds * 1000, 3),
            client=request.client,
        )

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._scoring.start()
        gauges = asyncio.create_task(self._keep_gauges())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        gauges.cancel()
        self._scoring.stop()
        self._metrics.flush()
        self._log.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _keep_gauges(self) -> None:
        while True:
            if self._scoring.is_stuck:
                self._log.write("stuck", "error")
                self._give_up()
            try:
                self._metrics.flush()
                is_ready = self._replica.is_ready and not self.draining
                told, waiting = self._replica.report(), self._scoring.lanes.waiting
                self._metrics.replica(told, is_ready, self._replica.followed, waiting, self._clock())
            except Exception as error:
                self._log.write("gauges.failed", "error", error=_named(error))
            await asyncio.sleep(EVERY)


def _named(error: BaseException) -> str:
    """Name an error by its type alone where its text could hold values of a request."""
    from perennial.errors import PerennialError

    return f"{type(error).__name__}: {error}" if isinstance(error, PerennialError) else type(error).__name__

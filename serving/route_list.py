"""Every route of the service with what answers there; who may ask and how much is the business of `app`."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import orjson

from serving.answers import Answer
from serving.messages import Asked, Request, Response
from serving.metrics import CONTENT_TYPE, Metrics
from serving.problems import Refused
from serving.protocols import kserve, mlflow, plain
from serving.replica_protocol import AnsweringReplica
from serving.request_contract import RequestContract
from serving.routes import Handler, Route
from serving.scoring import AGAIN, Scoring

Read = Callable[[Request, RequestContract], Asked]


def routes_of(
    replica: AnsweringReplica,
    scoring: Scoring,
    metrics: Metrics,
    is_draining: Callable[[], bool],
    documented_at: Callable[[], datetime] | None,
    *,
    is_guarded: bool,
) -> list[Route]:
    """Return the routes of a replica.

    Args:
        replica: What answers.
        scoring: The way to it.
        metrics: What `/metrics` shows.
        is_draining: Whether the process is about to end.
        documented_at: The time, for the example of the documentation; without it there is none.
        is_guarded: Whether a token is needed, for the documentation.
    """
    model = f"/v2/models/{replica.ws.use_case.slug}"
    life = _Life(replica, scoring, is_draining)
    models = _Models(replica, scoring)
    infer = models.infer
    routes = [
        Route("GET", "/livez", life.live, is_open=True),
        Route("GET", "/readyz", life.ready, is_open=True),
        Route("GET", "/ping", life.ready, is_open=True),
        Route("GET", "/v2/health/live", life.live, is_open=True),
        Route("GET", "/v2/health/ready", life.ready, is_open=True),
        Route("POST", "/predict", scored(scoring, plain.read)),
        Route("POST", "/invocations", scored(scoring, mlflow.read)),
        Route("GET", "/version", models.version),
        Route("GET", "/v2", models.server),
        Route("GET", model, models.metadata),
        Route("GET", f"{model}/ready", models.ready),
        Route("POST", f"{model}/infer", infer),
        Route("GET", f"{model}/versions/{{version}}", models.metadata),
        Route("GET", f"{model}/versions/{{version}}/ready", models.ready),
        Route("POST", f"{model}/versions/{{version}}/infer", infer),
        Route("GET", "/metrics", _metrics(metrics)),
    ]
    return routes + ([] if documented_at is None else _documentation(replica, scoring, documented_at, is_guarded))


def scored(scoring: Scoring, read: Read) -> Handler:
    """Return the handler of a protocol: read the rows, have them scored, write the answers in its form."""

    async def answer(request: Request) -> Response:
        scoring.require_ready()
        asked = read(request, scoring.contract)
        request.rows = len(asked.rows)
        answers: Sequence[Answer] = await scoring.answers(request, asked)
        request.version = str(answers[0].version)
        return asked.reply(answers)

    return answer


class _Life:
    """Whether the process lives, and whether it may be asked."""

    def __init__(self, replica: AnsweringReplica, scoring: Scoring, is_draining: Callable[[], bool]) -> None:
        self._replica, self._scoring, self._is_draining = replica, scoring, is_draining

    async def live(self, _: Request) -> Response:
        if self._scoring.is_stuck:
            raise Refused(503, "stuck", "The scoring thread does not come back.")
        return _json({"live": True})

    async def ready(self, _: Request) -> Response:
        if self._is_draining():
            raise Refused(503, "draining", "The replica is about to end.", (), AGAIN)
        self._scoring.require_ready()
        if self._scoring.is_late:
            raise Refused(503, "late", "A batch takes longer than an answer may. Ask another replica.", (), AGAIN)
        return _json({"ready": True})


class _Models:
    """The model as the Open Inference Protocol sees it, and as the journal does."""

    def __init__(self, replica: AnsweringReplica, scoring: Scoring) -> None:
        self._replica, self._scoring = replica, scoring
        self._name = replica.ws.use_case.slug
        self._infer = scored(scoring, partial(kserve.read, model=self._name))

    async def version(self, _: Request) -> Response:
        report = self._replica.report()
        shown = report.model_dump(
            mode="json", include={"replica", "head", "release", "model", "version", "rollout", "refused", "features_at"}
        )
        return _json({"use_case": self._name, **shown, "trouble": self._replica.trouble})

    async def server(self, _: Request) -> Response:
        from importlib.metadata import version

        return kserve.server_metadata(version("perennial"))

    async def metadata(self, request: Request) -> Response:
        return kserve.model_metadata(self._name, self._served(request), self._scoring.contract)

    async def ready(self, request: Request) -> Response:
        self._scoring.require_ready()
        self._served(request)
        return _json({"name": self._name, "ready": True})

    async def infer(self, request: Request) -> Response:
        self._served(request)
        return await self._infer(request)

    def _served(self, request: Request) -> int | None:
        """Return the version that answers, which must be the one that the path names, if it names one."""
        version, named = self._replica.report().version, request.arguments.get("version")
        if named is not None and named != str(version):
            raise Refused(404, "version", f"Version {version} of `{self._name}` answers, and no other can be asked.")
        return version


def _metrics(metrics: Metrics) -> Handler:
    async def answer(_: Request) -> Response:
        metrics.flush()
        return Response(await asyncio.to_thread(metrics.text), CONTENT_TYPE)

    return answer


def _documentation(
    replica: AnsweringReplica, scoring: Scoring, clock: Callable[[], datetime], is_guarded: bool
) -> list[Route]:
    from serving.docs_page import page
    from serving.examples import example_row
    from serving.openapi import document

    example: dict[str, Any] = {}

    async def described() -> dict[str, Any]:
        if not example:
            example.update(await asyncio.to_thread(example_row, replica.ws, scoring.contract, clock()))
        version = replica.report().version
        return document(replica.ws.use_case, scoring.contract, example, version, is_guarded=is_guarded)

    async def openapi(_: Request) -> Response:
        return _json(await described())

    async def docs(_: Request) -> Response:
        return Response(page(await described()).encode(), b"text/html; charset=utf-8", 200, _PAGE)

    return [Route("GET", "/openapi.json", openapi), Route("GET", "/docs", docs)]


_PAGE = ((b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),)


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content))

"""The form for people: one row as an object, or several below `rows`."""

from collections.abc import Sequence
from typing import Any

import orjson

from serving.answers import Answer
from serving.messages import Asked, Request, Response
from serving.problems import Refused
from serving.request_contract import RequestContract


def read(request: Request, contract: RequestContract) -> Asked:
    """Read `POST /predict`."""
    require_json(request)
    rows, is_single = contract.decode(request.body)
    return Asked(rows, _one if is_single else _many)


def require_json(request: Request, *others: bytes) -> None:
    """Refuse (415) what is not said to be JSON or of one of the other media types."""
    kind = request.content_type
    if kind == b"application/json" or kind in others or (kind.startswith(b"application/") and kind.endswith(b"+json")):
        return
    expected = " or ".join(f"`{one.decode()}`" for one in (b"application/json", *others) if one)
    raise Refused(415, "media-type", f"`Content-Type` is `{kind.decode('latin-1')[:80]}`, expected {expected}.")


def _one(answers: Sequence[Answer]) -> Response:
    return Response(orjson.dumps(_written(answers[0])))


def _many(answers: Sequence[Answer]) -> Response:
    return Response(orjson.dumps({"predictions": [_written(one) for one in answers]}))


def _written(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.question.id,
        "score": answer.score,
        "version": answer.version,
        "release": answer.release,
    }

"""Why a request got no answer: the error that every layer raises, and its form as `application/problem+json`.

It decides nothing; `reason` is a short stable word that metrics and logs count by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from serving.messages import Headers, Response

PROBLEM = b"application/problem+json"
MAX_PROBLEMS = 20
"""Problems of one request that are told; more help nobody."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field of one row."""

    row: int
    field: str
    given: str
    """What came, as JSON and cut short; `nothing` where the field is missing."""
    expected: str

    def __str__(self) -> str:
        return f"row {self.row}: `{self.field}` is {self.given}, expected {self.expected}"


class Refused(Exception):
    """A request is not answered, and the caller is told why."""

    def __init__(
        self, status: int, reason: str, detail: str, problems: Sequence[Problem] = (), headers: Headers = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.problems = problems
        self.headers = headers

    def response(self, request_id: str) -> Response:
        """Write it by RFC 9457, with `error` for clients of the Open Inference Protocol, which look for it."""
        content: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            "request_id": request_id,
            "error": self.detail,
        }
        if self.problems:
            content["errors"] = [
                {"row": one.row, "field": one.field, "given": one.given, "expected": one.expected}
                for one in self.problems
            ]
        return Response(orjson.dumps(content), PROBLEM, self.status, self.headers)


def invalid(problems: Sequence[Problem]) -> Refused:
    """Refuse rows that break the contract, the first problem as the detail."""
    more = f" ({len(problems) - 1} more below `errors`)" if len(problems) > 1 else ""
    told = f"{problems[0]}{more}"
    return Refused(422, "invalid", told if told.endswith("?") else f"{told}.", problems[:MAX_PROBLEMS])


def malformed(detail: str) -> Refused:
    """Refuse a body that cannot be read as rows at all."""
    return Refused(400, "malformed", detail)


def given(value: Any) -> str:
    """Write a value as short JSON for the caller's eyes; nothing of it is logged."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = f"of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."

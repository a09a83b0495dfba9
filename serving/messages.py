"""A request and a response as plain data, between the ASGI layer and the protocols; it knows neither of them."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.answers import Answer

JSON = b"application/json"
Headers = Sequence[tuple[bytes, bytes]]
_SANE_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


@dataclass(slots=True)
class Request:
    """What was asked, its body read whole; headers by lower-case name, of a repeated one the last."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    client: str
    """The peer's address; headers of proxies are not trusted."""
    id: str
    """Unique: the caller's own `X-Request-Id` may repeat, so that it gets a suffix here."""
    echo: bytes
    """What the response gives back as `X-Request-Id`."""
    body: bytes = b""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """What stood at the placeholders of the route."""
    rows: int = 0
    """Rows that it asks for, once they are read."""
    version: str = ""
    """The version that answered its first row."""

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> "Request":
        """Read it off an ASGI scope, without the body."""
        headers = dict(scope["headers"])
        given, own = headers.get(b"x-request-id", b""), os.urandom(12).hex()
        is_sane = _SANE_ID.fullmatch(given) is not None
        client = scope["client"][0] if scope.get("client") else ""
        identity = f"{given.decode()}.{own[:12]}" if is_sane else own
        return cls(scope["method"], scope["path"], headers, client, identity, given if is_sane else own.encode())

    @property
    def content_type(self) -> bytes:
        """The media type without its parameters, in lower case."""
        return self.headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    body: bytes
    content_type: bytes = JSON
    status: int = 200
    headers: Headers = ()


Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows of a request, checked, and how its protocol writes their answers."""

    rows: Sequence[Row]
    reply: Callable[[Sequence[Answer]], Response]
    """Given one scored answer per row, in order."""

"""Who may ask: bearer tokens compared in constant time; it says nothing of what they may ask how often.

Without tokens the service is open, which its settings allow on loopback alone. There it answers only requests that
name this machine and come from no foreign page, so that a page in somebody's browser cannot ask it.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import urlsplit

from serving.messages import Request
from serving.problems import Refused

_LOCAL = {"localhost", "127.0.0.1", "::1"}
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="perennial"'),)


class Doorkeeper:
    """Lets requests in that carry one of the tokens."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._digests = [sha256(token.encode()).digest() for token in tokens]

    def admit(self, request: Request) -> str:
        """Return who asks: the place of the token, or the address where none is needed.

        Raises:
            Refused: No token or a wrong one (401); without tokens, a foreign host or page (403).
        """
        if not self._digests:
            _require_local(request)
            return request.client
        scheme, _, token = request.headers.get(b"authorization", b"").partition(b" ")
        digest = sha256(token.strip()).digest()
        matches = [hmac.compare_digest(digest, one) for one in self._digests]
        if scheme.lower() != b"bearer" or not any(matches):
            raise Refused(
                401, "auth", "The request has no valid token, expected `Authorization: Bearer ...`.", (), _CHALLENGE
            )
        return f"token {matches.index(True)}"


def _require_local(request: Request) -> None:
    origin = request.headers.get(b"origin")
    named = [b"//" + request.headers.get(b"host", b"localhost"), *([origin] if origin is not None else [])]
    if not all(_host(one) in _LOCAL for one in named):
        raise Refused(403, "foreign", "Without tokens the service answers only to localhost and its own pages.")


def _host(url: bytes) -> str | None:
    try:
        return urlsplit(url.decode("latin-1")).hostname
    except ValueError:
        return None

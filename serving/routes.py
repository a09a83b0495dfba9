"""The table of routes: what answers at which path, and which of them need no token. It is all that is reachable."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from serving.messages import Request, Response
from serving.problems import Refused

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One path with one method."""

    method: str
    template: str
    """The path, with `{name}` for what may vary."""
    handler: Handler
    is_open: bool = False
    """Whether it answers without a token: only what says that the process lives or may be asked."""


class RouteTable:
    """Finds a route by its path, most of them by one look into a dictionary."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._plain: dict[str, dict[str, Route]] = {}
        patterns: dict[str, dict[str, Route]] = {}
        for one in routes:
            places = patterns if "{" in one.template else self._plain
            places.setdefault(one.template, {})[one.method] = one
        self._patterns = [(_pattern(template), methods) for template, methods in patterns.items()]

    def at(self, request: Request) -> dict[str, Route]:
        """Return the routes at the path of a request by method, none where there is nothing; keep its arguments."""
        found = self._plain.get(request.path)
        if found is not None:
            return found
        for pattern, methods in self._patterns:
            if match := pattern.fullmatch(request.path):
                request.arguments = match.groupdict()
                return methods
        return {}


def choose(methods: dict[str, Route], method: str) -> Route:
    """Return the route of a method.

    Raises:
        Refused: There is nothing at the path (404), or not for that method (405).
    """
    if not methods:
        raise Refused(404, "path", "There is nothing at this path.")
    if method not in methods:
        allowed = ", ".join(sorted(methods))
        raise Refused(
            405, "method", f"The method is not allowed here, expected {allowed}.", (), ((b"allow", allowed.encode()),)
        )
    return methods[method]


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template)))

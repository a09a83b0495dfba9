"""What is said of an address at which no Prefect server answers as it should."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from blocks.documents import read_settings
from deployments.server import NoPrefectThere, ServerAway, server_of, unguarded
from deployments.services.overview import server_overview
from perennial.settings import Settings


@contextmanager
def answering(health: tuple[int, str], rest: tuple[int, str] = (404, "")) -> Iterator[Settings]:
    """Listen on loopback, answer the question for health and all others so; yields settings that name the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = health if self.path.endswith("/health") else rest
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/api"
        yield read_settings("dev").model_copy(update={"prefect_api_url": address})
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("health", [(404, '{"detail": "Not Found"}'), (200, "<html>"), (301, ""), (410, "")])
def test_an_address_of_something_else_is_said_to_be_none_of_prefect(health: tuple[int, str]) -> None:
    with answering(health) as settings:
        with pytest.raises(NoPrefectThere, match=f"answered {health[0]}, expected 200 with JSON"), server_of(settings):
            pass
        told = server_overview(settings)
    assert told and "ends in /api" in told["error"]


@pytest.mark.parametrize("health", [(500, ""), (502, "<html>"), (200, "true")])
def test_a_server_with_a_fault_of_its_own_counts_as_away(health: tuple[int, str]) -> None:
    with (
        answering(health, rest=(500, "")) as settings,
        pytest.raises(ServerAway, match=r"cannot answer \(50[02]\)"),
        server_of(settings),
    ):
        pass


@pytest.mark.parametrize(
    ("environment", "status", "is_told"), [("prod", 200, True), ("prod", 401, False), ("dev", 200, False)]
)
def test_a_server_that_asks_nobody_for_a_password_is_told_of_outside_dev(
    environment: str, status: int, is_told: bool
) -> None:
    with answering((200, "true"), rest=(status, '"3"')) as settings:
        told = unguarded(settings.model_copy(update={"environment": environment}), settings.prefect_api_url)
    assert bool(told) == is_told
    assert not told or ("run code as the worker of `prod`" in told and "`PREFECT_SERVER_API_AUTH_STRING`" in told)


def test_a_login_in_the_address_is_neither_used_to_see_whether_one_is_needed_nor_told() -> None:
    with answering((404, ""), rest=(200, '"3"')) as settings:
        address = settings.prefect_api_url.replace("://", "://somebody:hidden@")
        settings = settings.model_copy(update={"environment": "prod", "prefect_api_url": address})
        told = unguarded(settings, address)
        with pytest.raises(NoPrefectThere) as refused, server_of(settings):
            pass
    assert "asks nobody for a password" in told
    assert "hidden" not in f"{told}{refused.value}"

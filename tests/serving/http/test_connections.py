"""Connections that are held open or sent rubbish, and a process that is told to end while it answers."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from serving import connections, limits
from serving.limits import read_body
from tests.servers import ROOT, free_port, until
from tests.serving.http.conftest import MAY, Running, order, running
from tests.serving.http.small_replica import SmallReplica, Told

LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = LIVE.replace(b"/livez", b"/openapi.json")
ENDING = LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BEGUN = HEAD + b"Content-Length: 10\r\n\r\n{"


@pytest.fixture
def impatient(replica: SmallReplica, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A service that waits for a tenth of a second only, on a busy machine also for what was sent at once."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(read_body, "__defaults__", (0.1,))
    with running(replica) as one:
        yield one


def sent(service: Running, *parts: bytes) -> bytes:
    """Send some bytes and return all that comes until the service closes the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as raw:
        for part in parts:
            raw.sendall(part)
        while data := raw.recv(65536):
            received += data
    return received


@pytest.mark.parametrize("part", [b"", b"\r\n", b"GET", b"GET /livez HTTP/1.1\r\nX: y"])
def test_a_head_that_never_ends_is_given_up(impatient: Running, part: bytes) -> None:
    assert sent(impatient, part).startswith(b"HTTP/1.1 408")
    until(10, lambda: sent(impatient, ENDING).startswith(b"HTTP/1.1 200"))


@pytest.mark.parametrize("part", [b"\r\n", b"GET /"])
def test_a_second_head_that_never_ends_is_given_up_too(impatient: Running, part: bytes) -> None:
    until(10, lambda: sent(impatient, LIVE, part).startswith(b"HTTP/1.1 200"))


def test_a_body_that_never_ends_is_given_up(impatient: Running) -> None:
    received = until(10, lambda: b"reason" in (all_of_it := sent(impatient, BEGUN)) and all_of_it)
    assert received.startswith(b"HTTP/1.1 408")
    assert b'"reason":"slow"' in received


def test_a_head_that_is_too_large_is_refused(service: Running) -> None:
    assert sent(service, HEAD, b"X-Large: " + b"x" * 40_000).startswith(b"HTTP/1.1 431")


def test_bodies_that_are_too_large_are_not_read(service: Running) -> None:
    stated = sent(service, HEAD + b"Content-Length: 999999999999\r\n\r\n{")
    chunked = sent(service, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b" " * 0x100000)
    assert stated.startswith(b"HTTP/1.1 413")
    assert chunked.startswith(b"HTTP/1.1 413")


def test_a_caller_that_leaves_does_no_harm(service: Running) -> None:
    for part in (HEAD, HEAD + b"Content-Length: 10\r\n\r\n{", HEAD + b"Content-Length: 2\r\n\r\n{}"):
        with socket.create_connection(("127.0.0.1", service.port), timeout=5) as raw:
            raw.sendall(part)
    assert service.client.post("/predict", json=order()).status_code == 200


def test_connections_that_ask_nothing_make_room_for_who_does(
    replica: SmallReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS", 20)
    with running(replica) as one, ExitStack() as silent:
        idle = [silent.enter_context(socket.create_connection(("127.0.0.1", one.port), timeout=5)) for _ in range(100)]
        for _ in range(3):
            assert httpx.post(f"http://127.0.0.1:{one.port}/predict", json=order()).status_code == 200
        assert idle[0].recv(1) == b""
        assert len(one.server.server_state.connections) <= 20
        assert refused(one, "connections") >= 80


def refused(service: Running, reason: str) -> float:
    """Return how often the metrics say that something was refused for a reason."""
    lines = service.client.get("/metrics").text.splitlines()
    return sum(
        float(one.split()[-1]) for one in lines if one.startswith(f'perennial_serving_refused_total{{reason="{reason}"')
    )


def test_requests_sent_ahead_are_answered_in_order_and_too_many_are_not_kept(service: Running) -> None:
    before = refused(service, "http")
    assert sent(service, LIVE * 40, ENDING).count(b"200 OK") == 41
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", service.port), timeout=5) as raw:
        while True:
            raw.sendall(LIVE * 5000)
    assert refused(service, "http") == before + 1


def test_a_caller_that_takes_no_answer_away_is_given_up(replica: SmallReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with running(replica) as one, socket.socket() as raw:
        open_now = one.server.server_state.connections
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        raw.connect(("127.0.0.1", one.port))
        until(10, lambda: open_now)
        asked = range(60, 6000, 60)
        with suppress(OSError):  # it was given up while more was sent
            for number in asked:
                raw.sendall(LARGE * 60)
                until(20, lambda wanted=number: answered(one) >= wanted or not open_now)
        until(20, lambda: not open_now)
        assert answered(one) < asked[-1]


def answered(service: Running) -> int:
    """Return how many requests were answered, as its log says."""
    return service.lines.getvalue().count('"request"')


def test_a_caller_that_leaves_amid_its_answers_is_no_error(service: Running, capfd: pytest.CaptureFixture[str]) -> None:
    row = json.dumps(order()).encode()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", service.port), timeout=5) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.sendall((HEAD + b"Content-Length: %d\r\n\r\n" % len(row) + row) * 30)
            raw.recv(1)
    until(5, lambda: len(service.server.server_state.tasks) == 0)
    assert "http.failed" not in capfd.readouterr().err


def test_who_asks_is_the_peer_whatever_a_header_says(replica: SmallReplica) -> None:
    with running(replica, Told(rate=3)) as limited:
        spoofed = [{"X-Forwarded-For": f"10.0.0.{number}", "Forwarded": f"for=10.0.0.{number}"} for number in range(9)]
        assert limited.client.get("/version", headers=spoofed[-1]).status_code == 200
        assert {limited.client.get("/version", headers=one).status_code for one in spoofed} == {200, 429}
        until(5, lambda: '"status":429' in limited.lines.getvalue())
        assert {json.loads(line)["client"] for line in limited.lines.getvalue().splitlines()} == {"127.0.0.1"}


CHILD = """
import socket, sys
from datetime import datetime
from perennial.settings import Settings
from perennial.workspace import Workspace
from serving.app import build_app
from serving.connections import serve
from tests.serving.http.small_replica import SmallReplica, Told

settings, model, as_of, file = sys.argv[1:]
ws = Workspace.open("shop-returns", Settings.model_validate_json(settings))
app = build_app(SmallReplica(ws, model, datetime.fromisoformat(as_of)), Told())
serve(app, [socket.socket(fileno=int(file))], app.drain, seconds=1.0)
"""


@pytest.fixture
def pair(replica: SmallReplica, tmp_path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Two processes that accept from one socket and count into one folder, as a supervisor starts them."""
    with socket.create_server(("127.0.0.1", free_port())) as listening:
        os.set_inheritable(listening.fileno(), True)
        told = [replica.ws.settings.model_dump_json(), replica.model, MAY.isoformat(), str(listening.fileno())]
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        log = (tmp_path / "log").open("w")
        children = [
            subprocess.Popen(
                [sys.executable, "-c", CHILD, *told], cwd=ROOT, env=environment, close_fds=False, stdout=log, stderr=log
            )
            for _ in range(2)
        ]
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", children
        finally:
            log.close()
            for child in children:
                child.kill()
                child.wait()


def test_two_processes_answer_at_one_address_and_one_ends_without_losing_a_request(
    pair: tuple[str, list[Any]], tmp_path: Path
) -> None:
    url, children = pair
    until(60, lambda: started(url, children, tmp_path / "log"))
    statuses: list[int] = []
    ended: list[bool] = []

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not ended:
                statuses.append(client.post("/predict", json=order(len(statuses))).status_code)

    askers = [Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    until(20, lambda: len(statuses) > 50)
    children[0].send_signal(signal.SIGTERM)
    assert children[0].wait(timeout=15) == 0
    seen = len(statuses)
    until(20, lambda: len(statuses) > seen + 50)
    ended.append(True)
    for asker in askers:
        asker.join()
    assert set(statuses) == {200}
    counted = httpx.get(f"{url}/metrics", timeout=30).text
    assert f'perennial_serving_requests_total{{route="/predict",status="200"}} {float(len(statuses))}' in counted
    lines = (tmp_path / "log").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert events.count("draining") == 1


def started(url: str, children: list[Any], log: Path) -> bool:
    """Say whether both report themselves ready. A dead one fails here: its connections would wait for ever."""
    assert [one.poll() for one in children] == [None, None], log.read_text()
    try:
        lines = httpx.get(f"{url}/metrics", timeout=5).text.splitlines()
    except httpx.TimeoutException:
        return False
    return len({one for one in lines if one.startswith("perennial_serving_ready{") and one.endswith(" 1.0")}) == 2

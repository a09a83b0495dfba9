"""Connections that are held open or sent rubbish, and a process that is told to end while it answers."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from serving import connections, limits
from serving.limits import read_body
from tests.servers import ROOT, free_port, until
from tests.serving.http.conftest import MAY, Running, order, running
from tests.serving.http.small_replica import SmallReplica

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def impatient(replica: SmallReplica, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A service that waits for a tenth of a second only."""
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
    assert impatient.client.get("/livez").status_code == 200


@pytest.mark.parametrize("part", [b"\r\n", b"GET /"])
def test_a_second_head_that_never_ends_is_given_up_too(impatient: Running, part: bytes) -> None:
    received = sent(impatient, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", part)
    assert received.startswith(b"HTTP/1.1 200")


def test_a_body_that_never_ends_is_given_up(impatient: Running) -> None:
    received = sent(impatient, HEAD + b"Content-Length: 10\r\n\r\n{")
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

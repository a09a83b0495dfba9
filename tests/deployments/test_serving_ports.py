"""Each online service that `perennial up` starts has a port of its own, keeps it, and answers there by itself."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from blocks.stack import Service, Stack, birth, read_stack, run_folder, serving_name
from deployments.services.processes import stop
from deployments.services.serving_up import is_live, is_ready, port_of, services_up
from perennial.settings import Settings
from tests.builders import make_use_case
from tests.servers import free_port, listening

SLUGS = ("shop-exchanges", "shop-returns", "shop-visits")
FIRST, SECOND, THIRD = (serving_name(slug) for slug in SLUGS)


def on_record(**ports: int) -> Stack:
    services = {
        name: Service(name=name, pid=1, created=0, address=f"http://127.0.0.1:{port}", log="log")
        for name, port in ports.items()
    }
    return Stack(environment="test", services=services)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(environment="test", storage_root=str(tmp_path), serving_port=free_port())


def test_a_port_that_another_has_on_record_is_not_given_though_nobody_listens_there(settings: Settings) -> None:
    assert port_of(FIRST, on_record(), settings) == settings.serving_port
    others = on_record(**{SECOND: settings.serving_port, "mlflow": settings.serving_port + 1})
    assert port_of(FIRST, others, settings) > settings.serving_port + 1


def test_a_service_keeps_its_port_and_gets_another_when_a_stranger_or_another_service_has_it(
    settings: Settings,
) -> None:
    had = free_port()
    assert port_of(FIRST, on_record(**{FIRST: had}), settings) == had
    assert port_of(FIRST, on_record(**{FIRST: had, SECOND: had}), settings) == settings.serving_port
    with listening() as taken:
        assert port_of(FIRST, on_record(**{FIRST: taken}), settings) == settings.serving_port


def test_what_another_process_answers_at_its_address_says_nothing_of_a_service() -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with answering() as port, subprocess.Popen(command, stdin=subprocess.PIPE) as silent:
        address = f"http://127.0.0.1:{port}"
        told = Service(name=FIRST, pid=silent.pid, created=0, address=address, log="log")
        ours, other = (told.model_copy(update={"pid": pid, "born": birth(pid)}) for pid in (os.getpid(), silent.pid))
        assert is_live(ours) and is_ready(ours)
        assert other.process is not None
        assert not is_live(other) and not is_ready(other)
        silent.kill()


class Well(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Well) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def up(tmp_path: Path) -> Iterator["partial[list[str]]"]:
    """Three served use cases, and what brings their services up; they are stopped at the end."""
    made = make_use_case(tmp_path, rows=5, months=("2024-01",), changes={"serving": {}}).settings
    for slug in SLUGS:
        if slug != "shop-returns":
            shutil.copytree(Path(made.use_cases) / "shop-returns", Path(made.use_cases) / slug)
    settings = made.model_copy(update={"environment": "dev", "serving_port": free_port(), "serving_replicas": 1})
    run_folder(settings).mkdir(parents=True)
    yield partial(services_up, settings, tell=lambda _: None)
    for one in read_stack(settings).services.values():
        stop(one)


@pytest.mark.long
def test_three_services_answer_each_for_its_use_case_and_keep_their_ports(up: "partial[list[str]]") -> None:
    stack = Stack(environment="dev")
    assert up(stack) == [FIRST, SECOND, THIRD]
    assert {name: asked(one) for name, one in stack.services.items()} == dict(
        zip((FIRST, SECOND, THIRD), SLUGS, strict=True)
    )
    before = dict(stack.services)
    assert up(stack) == []
    assert stack.services == before

    stop(before[SECOND])
    assert up(stack) == [SECOND]
    assert stack.services[SECOND].address == before[SECOND].address

    stop(stack.services[SECOND])
    with socket.create_server(("127.0.0.1", before[SECOND].port)):
        assert up(stack) == [SECOND]
    assert stack.services[SECOND].port not in {one.port for one in before.values()}
    assert {name: asked(one) for name, one in stack.services.items()} == dict(
        zip((FIRST, SECOND, THIRD), SLUGS, strict=True)
    )
    assert (stack.services[FIRST], stack.services[THIRD]) == (before[FIRST], before[THIRD])


def asked(service: Service) -> str:
    with urllib.request.urlopen(f"{service.address}/version", timeout=10) as answer:
        use_case: str = json.load(answer)["use_case"]
        return use_case

"""The service as processes: it answers, follows, outlives a killed replica, and leaves with its log complete."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from perennial.release.reports import read_reports
from perennial.workspace import Workspace
from serving import supervisor
from serving.settings import SHARED, read_settings
from tests.perennial.release.conftest import Shop, with_labels
from tests.servers import ROOT, until
from tests.serving.processes import Service, running

ROW = {"order_id": "x", "ordered_at": "2024-06-01T00:00:00Z", "price": 60.0, "channel": "app", "shop": "bonn"}


def collected(ws: Workspace) -> int:
    return sum(one.rows for one in ws.state().collected)


def telling(service: Service) -> set[int]:
    """The processes that the metrics show as ready: gauges of dead ones are forgotten, what they counted is not."""
    with urllib.request.urlopen(f"{service.url}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    if 'perennial_serving_rows_total{arm="champion",version="2"} 10.0' not in text:
        return set()
    return {int(one) for one in re.findall(r'perennial_serving_ready{pid="(\d+)"} 1\.0', text)}


def answered(service: Service, count: int) -> None:
    """Ask for a row so many times until it is answered: what a busy machine leaves without answer is not logged."""
    for _ in range(count):
        until(30, lambda: service.ask("/predict", ROW))


def accepting(service: Service) -> set[int]:
    """The processes that hold the listening socket: as long as one does, callers are not refused but wait."""
    supervisor = psutil.Process(service.process.pid)
    return {
        one.pid
        for one in (supervisor, *supervisor.children())
        if any(
            found.status == psutil.CONN_LISTEN and found.laddr.port == service.port for found in one.net_connections()
        )
    }


@pytest.mark.alone
@pytest.mark.long
def test_a_service_answers_follows_and_leaves_with_its_log_complete(shop: Shop, tmp_path: Path) -> None:
    shop.serve(shop.trained)
    worse = shop.plant(with_labels(lambda y, x: 1 - y))
    with running(shop.ws, 2, tmp_path / "lines") as service:
        until(30, lambda: service.ask("/version")["release"] == 1)
        answered(service, 1)
        until(30, lambda: collected(shop.ws) == 1)
        shop.serve(worse)
        until(30, lambda: {one.release for one in read_reports(shop.ws)} == {2})
        assert accepting(service) == {service.process.pid, *(one.pid for one in service.workers())}
        answered(service, 10)
        until(30, lambda: telling(service))
        for one in service.workers():
            one.kill()
        until(30, lambda: sum(one.answered for one in read_reports(shop.ws)) == 11)
        until(30, lambda: len(service.workers()) == 2 and len(read_reports(shop.ws)) == 4)
        until(30, lambda: telling(service) == {one.pid for one in service.workers()})
        answered(service, 5)
    assert service.process.returncode == 0
    reports = read_reports(shop.ws)
    assert sum(one.ended for one in reports) == 2
    assert all(one.answered == one.logged for one in reports if one.ended)
    events = Counter(json.loads(line)["event"] for line in (tmp_path / "lines").read_text().splitlines())
    assert (events["service.listening"], events["process.died"], events["draining"]) == (1, 2, 2)
    assert events["answers.lost"] == 2
    assert collected(shop.ws) == 16 - sum(one.answered - one.logged for one in reports)


def test_replicas_killed_between_load_and_swap_are_started_again_and_the_next_start_loads(shop: Shop) -> None:
    shop.serve(shop.trained)
    service = Service(shop.ws, 1, PERENNIAL_CRASHPOINT="serving:between-load-and-swap")
    try:
        (first,) = until(30, service.workers)
        until(30, lambda: [one for one in service.workers() if one.pid != first.pid])
    finally:
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(60)
    with running(shop.ws, 1) as again:
        assert again.ask("/version")["release"] == 1


def test_a_process_that_cannot_be_started_is_tried_again_later_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds, tries = [0.0], list[float]()

    def fork(*_: Any, **__: Any) -> "subprocess.Popen[bytes]":
        tries.append(seconds[0])
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setenv(SHARED, "")
    monkeypatch.setattr(supervisor, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(supervisor.subprocess, "Popen", fork)
    service = supervisor.Supervisor(read_settings("a", "127.0.0.1", 0, {"PERENNIAL_STORAGE_ROOT": "x"}), 1, {})
    child = supervisor.Child("replica 1", ("true",), started=-1000.0)
    for tenths in range(300):
        seconds[0] = tenths / 10
        service._keep(child, 0)
    assert tries == [0.0, 0.1, 1.1, 6.1, 21.1] and child.running is None
    assert capsys.readouterr().err.count("process.not-started") == 5


def test_another_address_without_a_token_is_refused(shop: Shop) -> None:
    environment = {**os.environ, "PERENNIAL_STORAGE_ROOT": shop.ws.settings.storage_root}
    environment.pop("PERENNIAL_SERVING_TOKENS", None)
    command = [sys.executable, "-m", "serving", "shop-returns", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "would answer anybody who reaches `0.0.0.0`" in done.stderr

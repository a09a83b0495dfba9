"""One trained `shop-returns` that all tests of the HTTP service ask, and services of it on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from socket import create_server
from threading import Thread
from typing import Any

import httpx
import pytest

from perennial.model.training import train
from serving.app import Service, build_app
from serving.clock import now
from serving.connections import DrainingServer, make_server
from serving.request_log import RequestLog
from tests.builders import MONTHS, deliver, make_use_case, moment
from tests.servers import until
from tests.serving.http.small_replica import SmallReplica, Told

MAY = moment("2024-05-01")
OPEN_HERE = Told()


@dataclass
class Running:
    """A service that answers on a port of its own."""

    app: Service
    server: DrainingServer
    client: httpx.Client
    port: int
    lines: StringIO
    """What it logs."""


@contextmanager
def running(replica: Any, told: Told = OPEN_HERE, **headers: str) -> Iterator[Running]:
    """Serve a replica on loopback by the server that production uses, in a thread of this process."""
    lines = StringIO()
    app = build_app(replica, told, log=RequestLog(now, lines, every=0.01))
    listening = create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = make_server(app, app.drain, refused=app.refused, seconds=0.1, grace=2)
    thread = Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        until(10, lambda: server.started)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            yield Running(app, server, client, port, lines)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def replica(tmp_path_factory: pytest.TempPathFactory) -> SmallReplica:
    """A replica with a boosted model."""
    ws = make_use_case(tmp_path_factory.mktemp("shop"), changes={"serving": {"max_rows": 50}})
    deliver(ws, *MONTHS)
    return SmallReplica(ws, train(ws, MAY).model, MAY)


@pytest.fixture(scope="session")
def service(replica: SmallReplica) -> Iterator[Running]:
    """An open service that tests only ask."""
    with running(replica) as one:
        yield one


def order(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a row as a request writes it."""
    row = {"order_id": f"x-{number}", "ordered_at": "2024-05-01T12:00:00Z", "price": 20.0 + number}
    return {**row, "channel": "app", "shop": "bonn", **changes}

"""A locust file: requests that arrive at a constant rate, whether or not earlier ones were answered.

locust keeps the pace; each arrival is a greenlet of its own that nobody waits for, so a slow service gets as many
requests as a fast one. Nothing is ever sent again. Each connection is used some times and then replaced, so that all
replicas are asked; like every client, it does not send on a connection that the other side has already closed.
Environment: `ARRIVALS` (a second), `ARRIVALS_ROWS` (JSON lines to ask), `ARRIVALS_RECORDS` (what came of each).
"""

import json
import os
import select
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.pool import Pool
from locust import User, constant_throughput, events, task

USERS = 6
USES = 15
"""Requests of one connection."""
PATIENCE = 10.0
"""Seconds until a request is given up; the service answers before, be it with 504."""
_RATE = float(os.environ["ARRIVALS"])
_ROWS = Path(os.environ["ARRIVALS_ROWS"]).read_text().splitlines()
_RECORDS = Path(os.environ["ARRIVALS_RECORDS"]).open("a", buffering=1)  # noqa: SIM115
_NUMBERS, _PLACES = count(), count()
_UNDER_WAY = Pool()


class Connection:
    """One kept alive, and how often it was used."""

    def __init__(self, host: str) -> None:
        self.http = HTTPConnection(host, timeout=PATIENCE)
        self.http.connect()
        self.port = self.http.sock.getsockname()[1]
        self.uses = 0

    def is_open(self) -> bool:
        readable, _, _ = select.select([self.http.sock], [], [], 0)
        return not readable


class Arrivals(User):
    """One of several sources of requests."""

    wait_time = constant_throughput(_RATE / USERS)

    def on_start(self) -> None:
        self.idle: list[Connection] = []
        gevent.sleep(next(_PLACES) / _RATE)

    def on_stop(self) -> None:
        _UNDER_WAY.join(PATIENCE)

    @task
    def arrive(self) -> None:
        """One more, and nobody waits for it."""
        _UNDER_WAY.spawn(self.ask, next(_NUMBERS))

    def ask(self, number: int) -> None:
        record: dict[str, Any] = {"number": number, "sent": time(), "status": 0, "port": 0}
        row = _ROWS[number % len(_ROWS)]
        record["row"] = number % len(_ROWS)
        try:
            self._exchange(row, record)
        except (OSError, HTTPException) as error:
            record["reason"] = f"{type(error).__name__}: {error}"
        record["arrived"] = time()
        _RECORDS.write(json.dumps(record) + "\n")
        events.request.fire(
            request_type="POST",
            name="/predict",
            response_time=1000 * (record["arrived"] - record["sent"]),
            response_length=0,
            exception=None if record["status"] == 200 else RuntimeError(record.get("reason")),
        )

    def _exchange(self, row: str, record: dict[str, Any]) -> None:
        connection = self._connection()
        record["port"] = connection.port
        headers = {"Content-Type": "application/json", "X-Request-Id": f"arrival-{record['number']}"}
        try:
            connection.http.request("POST", "/predict", row, headers)
            response = connection.http.getresponse()
            body = json.loads(response.read())
        except BaseException:
            connection.http.close()
            raise
        record |= {"status": response.status} | {
            name: body.get(name) for name in ("id", "release", "version", "score", "reason")
        }
        if response.will_close or connection.uses >= USES:
            connection.http.close()
        else:
            self.idle.append(connection)

    def _connection(self) -> Connection:
        while self.idle:
            known = self.idle.pop()
            if known.is_open():
                known.uses += 1
                return known
            known.http.close()
        return Connection(urlsplit(self.host).netloc)

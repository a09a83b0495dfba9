"""Requests to one container at a steady pace, and what came of each; it asserts nothing."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from threading import Event, Thread
from time import time
from typing import Any, Self

PACE = 0.25
"""Seconds from one answer to the next request."""
PATIENCE = 60.0
"""Seconds until one is given up: longer than the service's own timeout, so that what it says is heard."""


@dataclass(frozen=True)
class Answer:
    """What came of a request."""

    sent: float
    status: int
    """0 where there was none."""
    release: int | None
    said: str


class Traffic(AbstractContextManager["Traffic"]):
    """Asks from its beginning to its end, each time on a connection of its own, and never a second time."""

    def __init__(self, port: int, rows: Sequence[dict[str, Any]], token: str) -> None:
        """Prepare it: `rows` are asked over and over."""
        self.answers: list[Answer] = []
        self._port, self._rows = port, [json.dumps(one) for one in rows]
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self._is_over = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._is_over.wait(PACE):
            self.answers.append(self._ask(self._rows[len(self.answers) % len(self._rows)]))

    def _ask(self, row: str) -> Answer:
        sent, connection = time(), HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            connection.request("POST", "/predict", row, self._headers)
            response = connection.getresponse()
            text = response.read().decode()
            release = json.loads(text).get("release") if response.status == 200 else None
            return Answer(sent, response.status, release, text)
        except (OSError, HTTPException) as error:
            return Answer(sent, 0, None, f"{type(error).__name__}: {error}")
        finally:
            connection.close()

"""Real rows of a use case sent to its service at a steady rate, and what became of them.

It is a load that people watch, not a benchmark: requests leave on time whether or not earlier ones were answered, and
what cannot be answered is counted, never sent again.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Thread
from time import monotonic, perf_counter
from typing import Any, Self

import httpx

from perennial.data import lake
from perennial.data.engine import Engine, quote
from perennial.workspace import Workspace

PATIENCE = 5.0
"""Seconds after which a request has failed."""
_UNREADY = 503
_PAST = 2 / 3
"""Of a delivery's rows by event time, the part that nobody would ask for any more."""


@dataclass
class Sent:
    """What became of the requests so far."""

    answered: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    """Answers by model version."""
    releases: Counter[int] = field(default_factory=Counter)
    """Answers by release."""
    slowest: float = 0.0
    """Seconds of the slowest answer."""


class Traffic:
    """Sends requests from a thread of its own until it is stopped."""

    def __init__(self, address: str, rate: float, token: str = "", rows: Sequence[dict[str, Any]] = ()) -> None:
        """Prepare it.

        Args:
            address: Of the service, as `http://127.0.0.1:8080`.
            rate: Requests a second, one row each.
            token: Bearer token, where the service asks for one.
            rows: What is asked, over and over; without any it waits for `rows` to be set.
        """
        self.rows = list(rows)
        self.sent = Sent()
        self._address, self._every = address, 1 / rate
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._ending = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
        async with (
            httpx.AsyncClient(headers=self._headers, timeout=PATIENCE, limits=limits) as client,
            asyncio.TaskGroup() as underway,
        ):
            due = monotonic()
            for number in count():
                due = max(due + self._every, monotonic() - 1)
                await asyncio.sleep(max(0.0, due - monotonic()))
                if self._ending.is_set():
                    return
                if rows := self.rows:
                    underway.create_task(self._ask(client, rows[number % len(rows)]))

    async def _ask(self, client: httpx.AsyncClient, row: dict[str, Any]) -> None:
        began = perf_counter()
        try:
            response = await client.post(f"{self._address}/predict", json=row)
        except httpx.HTTPError as error:
            return self._failed(type(error).__name__)
        if response.status_code == _UNREADY and not self.sent.answered:
            return None  # nothing has been released yet
        if response.status_code != httpx.codes.OK:
            return self._failed(f"{response.status_code} {_reason(response)}")
        told, sent = response.json(), self.sent
        sent.answered += 1
        sent.versions[told["version"]] += 1
        sent.releases[told["release"]] += 1
        sent.slowest = max(sent.slowest, perf_counter() - began)
        return None

    def _failed(self, why: str) -> None:
        self.sent.failed += 1
        self.sent.reasons[why] += 1


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["reason"])
    except (ValueError, LookupError, TypeError):
        return response.text[:80]


def newest_delivery(workspace: Workspace) -> str | None:
    """Return the partition of the entity's newest delivery, `None` before the first."""
    entity = workspace.use_case.entity
    found = [one for one in workspace.state().accepted if one.source == entity and one.accepted]
    return found[-1].partition if found else None


def newest_rows(workspace: Workspace, most: int = 2000) -> list[dict[str, Any]]:
    """Return rows of the entity's newest delivery as requests that the service takes.

    They are spread over its last third by event time: what is asked now is not long past, and for what is, the
    service keeps no history.
    """
    partition, entity = newest_delivery(workspace), workspace.use_case.entity
    if partition is None:
        return []
    columns = ", ".join(quote(one) for one in workspace.use_case.sources[entity].columns)
    event_time = quote(workspace.use_case.event_time)
    with Engine(workspace.settings) as engine:
        engine.files("delivered", lake.files(workspace, f"raw_{entity}", "delivery", [partition]))
        late = f"{event_time} >= (SELECT quantile_disc({event_time}, {_PAST}) FROM delivered)"
        recent = f"SELECT {columns} FROM delivered WHERE {late}"
        kept = f"SELECT * FROM ({recent}) USING SAMPLE reservoir({most} ROWS) REPEATABLE (1)"
        rows: list[dict[str, Any]] = engine.table(kept).to_pylist()
    return [{name: _plain(value) for name, value in one.items()} for one in rows]


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value

"""Open-loop traffic from a process of its own, and a record of what came of every request."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from tests.faults.serving.bounds import ARRIVALS
from tests.servers import ROOT, until

_FILE = Path(__file__).with_name("arrivals.py")
_ALL = 6
"""Users of the locust file, each a sixth of the rate."""


@dataclass(frozen=True)
class Request:
    """One request and what came of it."""

    number: int
    sent: float
    """Seconds since 1970, as is `arrived`."""
    arrived: float
    status: int
    """0 where there was no answer."""
    row: int
    """Place among the rows that are asked."""
    port: int
    """Of the client's end of the connection, 0 where none was made."""
    reason: str | None = None
    id: str | None = None
    release: int | None = None
    version: int | None = None
    score: float | None = None

    @property
    def is_answered(self) -> bool:
        return self.status == HTTPStatus.OK

    @property
    def prediction_id(self) -> str:
        return str(self.id)


class Traffic:
    """Requests at a constant rate from its beginning to its end."""

    def __init__(self, url: str, folder: Path, rows: Sequence[dict[str, Any]], rate: float = ARRIVALS) -> None:
        """Prepare it.

        Args:
            url: Of the service.
            folder: An existing one, for rows and records.
            rows: What is asked, over and over.
            rate: Requests a second.
        """
        self.rows = rows
        self._url, self._rate, self._folder = url, rate, folder
        self._records = folder / "records.jsonl"
        (folder / "rows.jsonl").write_text("\n".join(json.dumps(one) for one in rows))

    def __enter__(self) -> Self:
        environment = {
            **os.environ,
            "ARRIVALS": str(self._rate),
            "ARRIVALS_ROWS": str(self._folder / "rows.jsonl"),
            "ARRIVALS_RECORDS": str(self._records),
        }
        command = [sys.executable, "-m", "locust", "--locustfile", str(_FILE), "--host", self._url, "--headless"]
        quiet = ["--users", str(_ALL), "--spawn-rate", str(_ALL), "--only-summary", "--loglevel", "WARNING"]
        with (self._folder / "locust.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *quiet], cwd=ROOT, env=environment, stdout=log, stderr=log)
        until(60, self.requests)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, once all that were sent were answered or given up."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    def requests(self, since: float = 0.0) -> list[Request]:
        """Return what came of the requests that were sent since a moment and are done, in that order."""
        if not self._records.exists():
            return []
        lines = self._records.read_text().split("\n")[:-1]
        found = (Request(**json.loads(line)) for line in lines)
        return sorted((one for one in found if one.sent >= since), key=lambda one: one.sent)

"""A service of three replicas under traffic, and what is done to it while it answers; it asserts nothing."""

import csv
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

import psutil

from perennial.model.training import train
from perennial.records import Entry, Judged, Record, Released, ReleaseServed, RolloutEnded, RolloutStarted, Trained
from perennial.release.reports import Report, read_reports
from perennial.release.rollout_evidence import is_fresh
from perennial.workspace import Workspace
from tests.builders import MONTHS, deliver, make_use_case, write_month
from tests.faults.serving.bounds import REPLICAS
from tests.faults.serving.models import SLOW_MS, Models
from tests.faults.serving.traffic import Traffic
from tests.perennial.release.conftest import MAY
from tests.servers import until
from tests.serving.processes import Service, running

ASKED = "2024-05"
"""The month of the orders that are asked about; its outcomes are not delivered at the beginning."""
STRANGE = 5
"""Every so many orders are of a shop that is not in the reference table, so that a feature is missing."""
SERVING = {
    "rollout": "canary",
    "timeout": "6s",
    "canary": {"steps": [0.3, 0.6]},
    "trial": {"min_answers": 60, "deadline": "10m"},
    "health": {"min_answers": 30, "slower_than": f"{SLOW_MS // 2}ms"},
}
PATIENCE = 120.0


def now() -> datetime:
    return datetime.now(UTC)


def make_shop(folder: Path) -> tuple[Workspace, Trained]:
    """Make the use case with four months of deliveries and a training; nothing is registered or released."""
    ws = make_use_case(folder, changes={"serving": SERVING})
    deliver(ws, *MONTHS)
    write_month(folder / "use_cases" / "shop-returns", ASKED, rows=3000, seed=len(MONTHS))
    return ws, train(ws, MAY)


def copied(ws: Workspace, root: Path) -> Workspace:
    """Return the same use case with storage of its own."""
    shutil.copytree(ws.settings.storage_root, root)
    return Workspace(ws.use_case, ws.settings.model_copy(update={"storage_root": str(root)}))


def asked_rows(ws: Workspace) -> list[dict[str, Any]]:
    """Return the orders of the month that is asked about, as requests, some of a strange shop."""
    path = Path(ws.settings.use_cases) / "shop-returns" / "deliveries" / f"orders-{ASKED}.csv"
    with path.open() as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row |= {"price": float(row["price"]), "ordered_at": row["ordered_at"].replace(" ", "T")}
        if number % STRANGE == 0:
            row["shop"] = "essen"
    return rows


@dataclass
class Stage:
    """What runs, and the means to change it."""

    ws: Workspace
    models: Models
    service: Service
    traffic: Traffic
    folder: Path

    def append(self, record: Record) -> float:
        """Append a record as its stage would have, and return the moment just before."""
        at = now()
        self.ws.journal.decide(lambda entries: record, at)
        return at.timestamp()

    def release(self, judged: Judged) -> tuple[Released, float]:
        """Make a version the champion, and return its release with the moment."""
        state = self.ws.state()
        released = Released(
            number=len(state.released) + 1,
            model=judged.model,
            version=judged.version,
            replaces=state.champion.version if state.champion else None,
            reason="by hand",
        )
        return released, self.append(released)

    def try_out(
        self, judged: Judged, kind: str = "canary", steps: tuple[float, ...] = ()
    ) -> tuple[RolloutStarted, float]:
        """Begin the trial of a version, by the steps of the use case or others; return its record with the moment."""
        state, serving = self.ws.state(), self.ws.use_case.serving
        assert state.champion and serving
        started = RolloutStarted(
            number=len(state.rollouts) + 1,
            rollout="shadow" if kind == "shadow" else "canary",
            model=judged.model,
            version=judged.version,
            against_release=state.champion.number,
            against_version=state.champion.version,
            steps=steps or ((1.0,) if kind == "shadow" else serving.canary.steps),
            deadline=now() + serving.trial.deadline,
        )
        return started, self.append(started)

    def until_record(self, matches: Callable[[Record], bool], seconds: float = PATIENCE) -> Entry:
        """Wait for the first record of a kind."""
        found: Entry = until(
            seconds, lambda: next((one for one in self.ws.journal.entries() if matches(one.record)), None)
        )
        return found

    def until_withdrawn(self, number: int, seconds: float = PATIENCE) -> Entry:
        """Wait for the record that takes a release back."""
        return self.until_record(lambda one: isinstance(one, Released) and one.withdraws == number, seconds)

    def until_ended(self, rollout: int, seconds: float = PATIENCE) -> Entry:
        """Wait for the record that ends a trial."""
        return self.until_record(lambda one: isinstance(one, RolloutEnded) and one.number == rollout, seconds)

    def until_served(self, number: int) -> Entry:
        """Wait until a release is known to have served well, so that one may go back to it."""
        return self.until_record(lambda one: isinstance(one, ReleaseServed) and one.release == number)

    def live(self) -> list[Report]:
        """Return the reports of the replicas that are there."""
        at = now()
        return [one for one in read_reports(self.ws) if is_fresh(one, at)]

    def until_all(self, says: Callable[[Report], bool], replicas: int = REPLICAS) -> None:
        """Wait until all replicas say something of themselves."""
        until(PATIENCE, lambda: len(one := self.live()) == replicas and all(map(says, one)))

    def written(self, entry: Entry) -> float:
        """Return the moment from which an entry of the journal could be read."""
        if not self.ws.store.is_local:
            return entry.at.timestamp()
        found = Path(self.ws.settings.storage_root) / "journal" / "shop-returns" / f"{entry.seq:09d}.json"
        return found.stat().st_mtime

    def history(self) -> list[tuple[float, Entry]]:
        """Return the journal with the moments from which each entry could be read."""
        return [(self.written(one), one) for one in self.ws.journal.entries()]

    def until_asked(self, seconds: float) -> None:
        """Let traffic go on for a while."""
        end = time() + seconds
        until(PATIENCE, lambda: any(one.sent > end for one in self.traffic.requests()[-50:]))


@contextmanager
def playing(ws: Workspace, trained: Trained, folder: Path, **variables: str) -> Iterator[Stage]:
    """Run the service with a good release that has served, under traffic, until the block ends."""
    models = Models(ws, trained)
    folder.mkdir(parents=True, exist_ok=True)
    first = models.make("good")
    with running(ws, REPLICAS, folder / "service.log", **variables) as service:
        stage = Stage(ws, models, service, Traffic(service.url, folder, asked_rows(ws)), folder)
        released, _ = stage.release(first)
        stage.until_all(lambda one: one.release == released.number)
        with stage.traffic:
            stage.until_served(released.number)
            yield stage


def held(service: Service) -> list[psutil.Process]:
    """Return the replicas that are held at a crash point."""
    return [one for one in service.workers() if one.status() == psutil.STATUS_STOPPED]


def until_held(service: Service, seconds: float = 60) -> tuple[float, psutil.Process]:
    """Wait for a replica to be held; return it with the moment at which it was last seen running."""
    running = [time()]

    def look() -> psutil.Process | None:
        at = time()
        found = held(service)
        if not found:
            running.append(at)
        return found[0] if found else None

    worker: psutil.Process = until(seconds, look)
    return running[-1], worker


def kill(worker: psutil.Process, port: int) -> tuple[float, set[int]]:
    """Kill a replica by SIGKILL; return the moment, and the client's ends of the connections that it had accepted.

    It is stopped first, so that it can accept no further one after they were looked at.
    """
    os.kill(worker.pid, signal.SIGSTOP)
    connections = {one.raddr.port for one in worker.net_connections("tcp") if one.raddr and one.laddr.port == port}
    at = time()
    worker.kill()
    return at, connections

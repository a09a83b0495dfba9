"""A use case that lives on a real Prefect server with its automations and a worker, and alerts about it.

Months are measured without Prefect, as if a monitoring had run. From March on prices rise by half each month, so that
every measurement finds a drift. Runs, slots and events are counted in the database of the server, not by its API.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow.compute as pc
import pyarrow.csv

from perennial.model.registry import project_aliases, register
from perennial.model.training import train
from perennial.periods import Period
from perennial.release.judging import judge_challenger
from perennial.release.predictions import predict
from perennial.release.releases import release
from perennial.retraining import Outcome
from perennial.watch.monitoring import measure
from perennial.watch.reconciliation import SETTLED
from perennial.workspace import Workspace
from tests.builders import deliver, make_use_case
from tests.databases import written
from tests.servers import PERENNIAL, PREFECT, ROOT, Server, running_server, until

SLUG = "shop-returns"
MONTHS = tuple(f"2024-{month:02d}" for month in range(1, 10))
COOLDOWN = timedelta(days=20)
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


_RUNS = """
SELECT CAST(r.id AS VARCHAR), r.state_type, r.state_name, r.parameters FROM flow_run r JOIN flow f ON f.id = r.flow_id
"""
_SLOTS = """
SELECT l.active_slots FROM concurrency_limit_v2 l JOIN deployment d ON d.concurrency_limit_id = l.id
JOIN flow f ON f.id = d.flow_id WHERE f.name = ? AND d.name = ?
"""


class Run(NamedTuple):
    """A row of the server's table of runs."""

    id: str
    state_type: str
    state_name: str
    told: Any
    """The parameters: text in SQLite, an object in PostgreSQL."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What the run was started with."""
        return dict(json.loads(self.told) if isinstance(self.told, str) else self.told)


class Scene:
    """The server, the use case in its `dev` environment, and what was asked of them."""

    def __init__(self, server: Server, workspace: Workspace) -> None:
        self.server = server
        self.workspace = workspace

    def work(self) -> "subprocess.Popen[bytes]":
        """Start a worker."""
        return self.server.start(PREFECT, "worker", "start", "--pool", "perennial-dev")

    def measure(self, month: str) -> datetime:
        """Let the champion score a month and be measured, and return the moment of it: the end of the month."""
        period = Period.parse(month)
        for one in MONTHS[: MONTHS.index(month) + 1]:
            deliver(self.workspace, one)
        predict(self.workspace, period, period.end)
        measured = measure(self.workspace, period, period.end)
        assert any("drift" in one.category for one in measured.findings)
        return period.end

    def settle(self) -> None:
        """Let the newest entry of the journal be written so long ago that no run goes on from it."""
        head = len(self.workspace.journal.entries())
        long_ago = time.time() - SETTLED.total_seconds() - 60
        os.utime(self.workspace.store.uri(f"journal/{SLUG}/{head:09d}.json"), (long_ago, long_ago))

    def alert(self, month: str, moments: list[datetime], pause: float = 0) -> "subprocess.Popen[bytes]":
        """Start a process that emits one event for each moment, all about the drift of a month."""
        command = [sys.executable, "-m", "tests.faults.alerts", SLUG, month, str(pause)]
        return self.server.start(*command, *(one.isoformat() for one in moments))

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a run of a deployment by hand and return its id."""
        found = self.server.ask(f"/deployments/name/{deployment}")
        run = self.server.ask(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def reconcile(self, patience: float = 900) -> None:
        """Run `reconcile` beside the server, to its end; it may be less patient than it lets people be."""
        quick = "from perennial.watch import lost_runs; lost_runs.BEATS = 0; from flows.reconciliation import reconcile"
        script = f"{quick}; print(reconcile({SLUG!r}, patience={patience}))"
        self.server.run(sys.executable, "-c", script)

    def runs(self, flow: str, *states: str) -> list[Run]:
        """Return the runs of a flow that the server has, those in some states if named, oldest first."""
        found = [Run(*row) for row in written(self.server, f"{_RUNS} WHERE f.name = ? ORDER BY r.created", flow)]
        return [one for one in found if not states or one.state_type in states]

    def run(self, run: str) -> Run:
        """Return one run."""
        [row] = written(self.server, f"{_RUNS} WHERE CAST(r.id AS VARCHAR) = ?", run)
        return Run(*row)

    def is_given_up(self, run: str, patience: float) -> bool:
        """Reconcile once more unless a run was marked as crashed already, and say whether it is."""
        crashes = "SELECT count(*) FROM flow_run_state WHERE type = 'CRASHED' AND CAST(flow_run_id AS VARCHAR) = ?"
        if written(self.server, crashes, run) != [(0,)]:
            return True
        self.reconcile(patience)
        return False

    def trained(self, month: str) -> int:
        """Return how many trainings the journal has as of the end of a month."""
        entries = self.workspace.journal.entries()
        return sum(one.record.kind == "model.trained" and one.at == Period.parse(month).end for one in entries)

    def quiet(self, seconds: float = 120, beside: str = "") -> None:
        """Wait until no run is under way or waits for a worker, one apart if it is named."""
        flows = ("retrain", "train", "reconcile")
        until(seconds, lambda: not [one for flow in flows for one in self._unfinished(flow) if one.id != beside])

    def _unfinished(self, flow: str) -> list[Run]:
        return [one for one in self.runs(flow) if one.state_type not in ENDED]

    def slots(self, deployment: str = "retrain/dev") -> int:
        """Return how many concurrency slots of a deployment are taken."""
        [(taken,)] = written(self.server, _SLOTS, *deployment.split("/"))
        return int(taken)

    def events(self, name: str) -> int:
        """Return how many events of a name the server has received."""
        [(count,)] = written(self.server, "SELECT count(DISTINCT id) FROM events WHERE event = ?", name)
        return int(count)

    def pause_schedules(self) -> None:
        """Let nothing start by cron, so that a test knows who started what."""
        for one in self.server.ask("/deployments/filter", {}):
            for schedule in one["schedules"]:
                path = f"/deployments/{one['id']}/schedules/{schedule['id']}"
                self.server.ask(path, {"active": False}, "PATCH")

    def hasten(self, **fields: Any) -> None:
        """Change the triggers of the automations that retrain, as their `within`."""
        for one in self.server.ask("/automations/filter", {}):
            if one["name"].startswith("retrain on"):
                changed = {key: one[key] for key in ("name", "description", "enabled", "actions", "tags")}
                changed["trigger"] = {**one["trigger"], **fields}
                self.server.ask(f"/automations/{one['id']}", changed, "PUT")


@contextmanager
def scene(folder: Path, **variables: str) -> Iterator[Scene]:
    """Run a server to which `dev` is applied, with a use case whose first model serves since 2024-03-01."""
    workspace = make_use_case(
        folder,
        months=MONTHS,
        changes={
            "retraining": {"on": ["feature-drift"], "cooldown": "20d"},
            "training": {"candidates": {"xgboost": {"estimator": "xgboost", "params": {"rounds": 20}}}},
        },
    )
    for count, month in enumerate(MONTHS[2:], start=1):
        _inflate(workspace.use_case.folder / "deliveries" / f"orders-{month}.csv", 1.5**count)
    home = folder / "prefect"
    home.mkdir()
    beside = {
        "PERENNIAL_STORAGE_ROOT": workspace.settings.storage_root,
        "PERENNIAL_USE_CASES": workspace.settings.use_cases,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    with running_server(home, **beside, **variables) as server:
        server.run(PERENNIAL, "apply", "--env", "dev")
        _serve(workspace)
        found = Scene(server, workspace)
        found.pause_schedules()
        yield found


def _inflate(orders: Path, factor: float) -> None:
    table = pyarrow.csv.read_csv(orders)
    place = table.column_names.index("price")
    dearer = pc.multiply(table["price"], factor)
    pyarrow.csv.write_csv(table.set_column(place, "price", dearer), orders)


def _serve(workspace: Workspace) -> None:
    deliver(workspace, "2024-01", "2024-02")
    moment = Period.parse("2024-02").end
    trained = train(workspace, moment)
    register(workspace, trained, moment)
    release(workspace, judge_challenger(workspace, trained, moment), moment)
    project_aliases(workspace)


def is_done(stage: Scene, month: str) -> bool:
    """Say whether the one request that came of a month has ended with a verdict."""
    asked = [one for one in stage.workspace.state().requests.values() if one.decided.period == month and one.ended]
    return [one.ended.outcome for one in asked if one.ended] in ([Outcome.RELEASED], [Outcome.NOT_RELEASED])


def trainings(stage: Scene, month: str) -> list[str]:
    """Return the states of the runs of `train` for a month."""
    return [one.state_type for one in stage.runs("train") if one.parameters["period"] == month]


def storm(stage: Scene, month: str) -> None:
    """Emit a thousand alerts about a month from six processes, and see one training come of them."""
    at = stage.measure(month)
    burst = [at + timedelta(microseconds=count) for count in range(200)]
    spread = [at + timedelta(hours=count) for count in range(100)]
    senders = [stage.alert(month, burst) for _ in range(4)]
    senders += [stage.alert(month, spread, 0.1) for _ in range(2)]
    assert [one.wait(90) for one in senders] == [0] * 6
    until(300, lambda: stage.events("perennial.drift.detected") == 1000)
    until(300, lambda: is_done(stage, month))
    stage.quiet()
    assert trainings(stage, month) == ["COMPLETED"]
    names = [one.state_name for one in stage.runs("retrain")]
    assert names.count("Completed") == 1
    assert names.count("Suppressed") == len(names) - 1 >= 1
    assert stage.slots() == 0


def kill_tree(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that it started at once, as a machine that loses its power does."""
    root = psutil.Process(process.pid)
    root.suspend()  # so that it starts nothing more while this looks
    family = [root, *root.children(recursive=True)]
    for one in family:
        one.kill()
    psutil.wait_procs(family, timeout=10)


def emit(slug: str, month: str, pause: float, moments: list[str]) -> None:
    """Emit one drift event for each moment, each with an id of its own, and wait until they are sent."""
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    labels = {"prefect.resource.name": slug, "perennial.environment": "dev", "perennial.every": "month"}
    for moment in moments:
        told = {"period": month, "as_of": moment, "summary": "The score has drifted."}
        emit_event(
            "perennial.drift.detected", {"prefect.resource.id": f"perennial.use-case.{slug}", **labels}, payload=told
        )
        time.sleep(pause)
    EventsWorker.drain_all(timeout=20, at_exit=False)
    print(json.dumps({"emitted": len(moments)}))


if __name__ == "__main__":
    emit(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:])

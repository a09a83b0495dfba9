"""What ends unexpectedly is repaired by `perennial up`, and a run that `perennial down` interrupts goes on after it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.builders import make_use_case
from tests.deployments.stacks import Stack, stopping
from tests.servers import until

pytestmark = pytest.mark.long

WAITING = """
import time
from pathlib import Path

import pyarrow.csv

HERE = Path(__file__).parent


def shops(window):
    (HERE / "asked").touch()
    while not (HERE / "go").exists():
        time.sleep(0.1)
    return pyarrow.csv.read_csv(HERE / "deliveries" / "shops-whole.csv")
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A use case with a source that keeps whoever reads it waiting for a file named `go`."""
    folder = tmp_path_factory.mktemp("ends")
    make_use_case(folder)
    home = folder / "use_cases" / "shop-returns"
    (home / "source.py").write_text(WAITING)
    declaration = yaml.safe_load((home / "use_case.yaml").read_text())
    declaration["sources"]["shops"]["read"] = {"python": "shop-returns/source.py:shops"}
    (home / "use_case.yaml").write_text(yaml.safe_dump(declaration, sort_keys=False))
    return home


@pytest.fixture(scope="module")
def stack(home: Path) -> Iterator[Stack]:
    with stopping(Stack(home.parents[1] / "storage", str(home.parent))) as stack:
        stack.up()
        yield stack


def test_what_has_ended_is_told_and_started_again_where_it_was(stack: Stack) -> None:
    before = stack.services
    for name in ("mlflow", "worker"):
        kill(before[name].pid)
    ended = {one["service"] for one in stack.json("status")["services"] if not one["running"]}
    assert ended == {"mlflow", "worker"}
    found = {one["check"]: one for one in stack.json("doctor", expected=1)["findings"] if one["state"] == "problem"}
    assert "perennial up" in found["services"]["remedy"]
    assert stack.json("up")["started"] == ["mlflow", "worker"]
    assert stack.services["prefect"] == before["prefect"]
    assert stack.services["mlflow"].address == before["mlflow"].address
    assert {one["state"] for one in stack.json("doctor")["findings"]} == {"ok"}


def kill(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)


def test_an_interrupted_run_waits_for_the_next_worker_and_is_done_once(stack: Stack, home: Path) -> None:
    deployment = stack.ask("/deployments/name/pipeline/dev")
    parameters = {"use_case": "shop-returns", "period": "2024-01", "as_of": "2024-02-01T00:00:00Z"}
    run = stack.ask(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
    until(300, lambda: (home / "asked").exists())
    assert stack.json("down")["interrupted_runs"] == 1
    (home / "go").touch()
    stack.up()
    ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    done = until(180, lambda: [one for one in [stack.ask(f"/flow_runs/{run['id']}")] if one["state_type"] in ended])
    assert done[0]["state_type"] == "COMPLETED", done[0]["state"]
    assert done[0]["run_count"] == 2
    parts = stack.ask("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}})
    ends = {one["name"].split()[0]: one["state_type"] for one in parts}
    assert ends == {"ingest": "COMPLETED", "validate": "COMPLETED", "train": "FAILED"}, "a month is too few rows"
    received = [one["record"] for one in stack.json("history", "shop-returns")["entries"]]
    landed = [one["source"] for one in received if one["kind"] == "delivery.received"]
    assert sorted(landed) == ["orders", "outcomes", "shops"]

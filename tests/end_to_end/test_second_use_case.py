"""The second use case of the house, a regression, on two months of real flights: trained, judged, released, watched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perennial.records import Answer
from perennial.settings import Settings
from perennial.workspace import Workspace

ROOT = Path(__file__).parents[2]
PERENNIAL = Path(sys.executable).with_name("perennial")

pytestmark = pytest.mark.long


def test_flight_duration_serves_a_model_that_beats_its_baseline_and_is_measured(tmp_path: Path) -> None:
    environment = {**os.environ, "PERENNIAL_STORAGE_ROOT": str(tmp_path), "DO_NOT_TRACK": "1"}
    environment.pop("PREFECT_API_URL", None)
    command = [PERENNIAL, "backfill", "flight-duration", "--from", "2013-01", "--periods", "2", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    versions = json.loads(done.stdout)["flight-duration"]["versions"]
    assert "champion" in {one["role"] for one in versions}
    settings = Settings(environment="dev", storage_root=str(tmp_path), use_cases=str(ROOT / "use_cases"))
    state = Workspace.open("flight-duration", settings).state()
    first = state.judged[0]
    assert first.verdict.answer is Answer.PASS and first.verdict.numbers["value"] < 14
    assert state.training_of(first.model).candidate != "mean"
    assert [(one.period, one.release) for one in state.predicted] == [("2013-02", 1)]
    measured = state.measured[-1]
    assert (measured.period, measured.release) == ("2013-02", 1)
    assert measured.labels > 20_000 and measured.performance["mae"].value < 14

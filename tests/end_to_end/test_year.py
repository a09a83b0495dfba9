"""The year of real flights through `make demo`'s command: real promotions, real refusals, and nothing twice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PERENNIAL = Path(sys.executable).with_name("perennial")

pytestmark = pytest.mark.long


def live(storage: Path, periods: int) -> dict[str, Any]:
    environment = {**os.environ, "PERENNIAL_STORAGE_ROOT": str(storage), "DO_NOT_TRACK": "1"}
    environment.pop("PREFECT_API_URL", None)
    command = [PERENNIAL, "backfill", "--periods", str(periods), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(iter(json.loads(done.stdout).values()))


def journal(storage: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in storage.glob("journal/*/*.json")}


def tables(storage: Path) -> set[str]:
    return {str(path) for path in storage.glob("lake/**/*") if path.is_file()}


def test_the_year_has_promotions_and_refusals_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    versions = live(tmp_path, 12)["versions"]
    roles = [one["role"] for one in versions]
    assert roles.count("champion") == 1
    assert roles.count("retired") >= 1
    assert "refused" in roles
    assert all(one["gate"] == "PASS" for one in versions if one["role"] != "refused")
    before = journal(tmp_path), tables(tmp_path)
    assert live(tmp_path, 12)["versions"] == versions
    assert (journal(tmp_path), tables(tmp_path)) == before

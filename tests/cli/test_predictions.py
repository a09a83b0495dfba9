"""`perennial predictions`: what was written, what of it counts today, and the same as a file."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli.main import app
from perennial.records import Released
from perennial.release.corrections import correct
from perennial.workspace import Workspace
from tests.builders import moment
from tests.perennial.release.trials import collect, open_shop, record, released

APRIL, MAY, JUNE = moment("2024-04-03"), moment("2024-05-03"), moment("2024-06-03")


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    shop = open_shop(tmp_path)
    monkeypatch.setenv("PERENNIAL_STORAGE_ROOT", shop.settings.storage_root)
    monkeypatch.setenv("PERENNIAL_USE_CASES", shop.settings.use_cases)
    monkeypatch.setenv("COLUMNS", "80")
    return shop


@pytest.fixture
def answered(ws: Workspace) -> Workspace:
    """Release 1 answered three orders in April, release 2 two in May; it was taken back and they were corrected."""
    first = released(ws, 1, APRIL)
    asked = [{"order_id": f"o{number}", "features": {"price": 9.0}} for number in range(5)]
    collect(ws, "online.april", asked[:3], APRIL)
    released(ws, 2, MAY)
    collect(ws, "online.may", [{**one, "release": 2, "version": 2, "score": 0.9} for one in asked[3:]], MAY)
    record(ws, Released(number=3, model=first.model, version=1, replaces=2, reason="bad", withdraws=2), JUNE)
    correct(ws, JUNE)
    return ws


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["predictions", "shop-returns", *arguments])


def told(*arguments: str) -> dict[tuple[int, int], int]:
    """How many rows it counts by release and version."""
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return {(one["release"], one["version"]): one["rows"] for one in json.loads(done.stdout)["counts"]}


def test_every_row_is_told_and_corrected_only_what_counts(answered: Workspace) -> None:
    assert told() == {(1, 1): 3, (2, 2): 2, (3, 1): 2}
    assert told("--corrected") == {(1, 1): 3, (3, 1): 2}


def test_a_period_is_told_by_the_time_of_the_event(answered: Workspace) -> None:
    assert told("--period", "2024-04", "--corrected") == {(1, 1): 3}
    assert told("--period", "2024-05", "--corrected") == {(3, 1): 2}
    assert told("--period", "2024-03") == {}


def test_people_see_counts_and_the_first_rows_in_eighty_columns(answered: Workspace) -> None:
    lines = run("--corrected").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split() == ["online.april-00000/0", "2024-04-03", "00:00", "1", "0.5000"] for line in lines)
    assert "The first 5 of 5 rows; --out writes all." in lines


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_has_every_row_that_counts(answered: Workspace, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"it's mine.{ending}"
    file.write_text("of before")
    assert f"5 rows are in {file}" in " ".join(run("--corrected", "--out", str(file)).stdout.split())
    rows = pq.read_table(file).to_pylist() if ending == "parquet" else list(csv.DictReader(file.open()))
    assert sorted((int(one["release"]), float(one["score"])) for one in rows) == [(1, 0.5)] * 3 + [(3, 0.01)] * 2


def test_what_cannot_be_is_said(ws: Workspace, tmp_path: Path) -> None:
    for arguments, message in [
        ((), "predicted nothing yet"),
        (("--period", "2024-04"), "predicted nothing of `2024-04` yet"),
        (("--out", str(tmp_path / "scores.xlsx")), "expected a file that ends with .parquet or .csv"),
        (("--period", "2024"), "is no month"),
    ]:
        done = run(*arguments, "--json")
        assert done.exit_code == 1 and message in json.loads(done.stdout)["message"]

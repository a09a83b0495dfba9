"""The `perennial` command as a newcomer uses it, in real processes."""

import csv
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders import make_use_case

PERENNIAL = Path(sys.executable).with_name("perennial")


def perennial(folder: Path, *arguments: str, fails: bool = False) -> str:
    environment = {
        **os.environ,
        "PERENNIAL_STORAGE_ROOT": str(folder / "storage"),
        "PERENNIAL_USE_CASES": str(folder / "use_cases"),
        "COLUMNS": "80",
        "DO_NOT_TRACK": "1",
    }
    environment.pop("PREFECT_API_URL", None)
    done = subprocess.run([PERENNIAL, *arguments], env=environment, capture_output=True, text=True)
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr if fails else done.stdout


def write_shop(path: Path, rows: int = 3000) -> None:
    """A CSV of somebody's own: visits, and whether the visitor bought something."""
    draw = random.Random(7)
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["visit", "at", "channel", "pages", "minutes", "bought"])
        for number in range(rows):
            moment += timedelta(minutes=draw.randint(20, 90))
            channel, pages = draw.choice(["mail", "search", "direct"]), draw.randint(1, 30)
            minutes = round(draw.expovariate(1 / 8), 2)
            chance = 0.05 + 0.025 * pages + (0.15 if channel == "mail" else 0)
            writer.writerow([f"v{number}", moment.isoformat(), channel, pages, minutes, int(draw.random() < chance)])


@pytest.mark.long
def test_a_stranger_brings_a_csv_and_gets_a_released_and_measured_model(tmp_path: Path) -> None:
    (tmp_path / "use_cases").mkdir()
    write_shop(tmp_path / "visits.csv")
    columns = ("--key", "visit", "--event-time", "at", "--label", "bought")
    perennial(tmp_path, "new", "my-visits", "--csv", str(tmp_path / "visits.csv"), *columns)
    perennial(tmp_path, "check", "my-visits")
    summary = json.loads(perennial(tmp_path, "backfill", "my-visits", "--from", "2025-01", "--periods", "4", "--json"))
    assert "champion" in {one["role"] for one in summary["my-visits"]["versions"]}
    status = json.loads(perennial(tmp_path, "status", "my-visits", "--json"))["use_cases"][0]
    assert status["champion"] and status["measured"]
    assert "released" in perennial(tmp_path, "history", "my-visits")


def test_an_unknown_use_case_is_one_message_with_a_suggestion(tmp_path: Path) -> None:
    make_use_case(tmp_path)
    told = perennial(tmp_path, "train", "shop-return", fails=True)
    assert "`shop-return`" in told
    assert "did you mean `shop-returns`?" in " ".join(told.split())


def test_a_path_is_no_slug(tmp_path: Path) -> None:
    make_use_case(tmp_path)
    assert "../shop-returns" in perennial(tmp_path, "history", "../shop-returns", fails=True)


def test_errors_are_json_where_json_was_asked_for(tmp_path: Path) -> None:
    make_use_case(tmp_path)
    told = json.loads(perennial(tmp_path, "history", "shop-return", "--json", fails=True))
    assert "shop-returns" in told["message"]
    assert told["retry"] is False


@pytest.mark.parametrize("command", ["history", "status", "quarantine", "list", "check"])
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    assert "Usage: perennial" in perennial(tmp_path, command, "--help")


def test_a_validation_window_that_no_label_can_reach_is_told_before_any_training(tmp_path: Path) -> None:
    late = {"label": {"matures_after": "31d"}, "sources": {"outcomes": {"known_at": "ordered_at"}}}
    make_use_case(tmp_path, changes=late)
    (checked,) = json.loads(perennial(tmp_path, "check", "shop-returns", "--json"))
    assert checked["valid"] and len(checked["warnings"]) == 1
    assert "Make `training.validation` (14d) clearly longer" in checked["warnings"][0]


@pytest.mark.long
def test_a_period_that_fails_ends_the_backfill_with_what_was_reached_and_where(tmp_path: Path) -> None:
    (tmp_path / "use_cases").mkdir()
    write_shop(tmp_path / "visits.csv", rows=300)
    columns = ("--key", "visit", "--event-time", "at", "--label", "bought")
    perennial(tmp_path, "new", "my-visits", "--csv", str(tmp_path / "visits.csv"), *columns)
    (tmp_path / "visits.csv").unlink()
    (checked,) = json.loads(perennial(tmp_path, "check", "my-visits", "--json"))
    assert checked["valid"] and "No file matches" in checked["warnings"][0]
    told = perennial(tmp_path, "backfill", "my-visits", "--periods", "1", fails=True)
    assert "Registry of my-visits" in told
    assert "tells what served when" in told
    assert "No file matches" in " ".join(told.split())

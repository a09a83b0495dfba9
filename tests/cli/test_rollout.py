"""`perennial rollout` and `perennial corrections` as people see them; what they tell is decided elsewhere."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from perennial.records import Predicted, Released, ReleaseServed
from perennial.release.reports import Counts
from perennial.workspace import Workspace
from tests.perennial.release.trials import open_shop, record, released, replicas, tried

BASELINE = {"rollout/1/baseline": Counts(answers=60)}


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    shop = open_shop(tmp_path)
    monkeypatch.setenv("PERENNIAL_STORAGE_ROOT", shop.settings.storage_root)
    monkeypatch.setenv("PERENNIAL_USE_CASES", shop.settings.use_cases)
    monkeypatch.setenv("COLUMNS", "200")
    return shop


def perennial(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(*arguments: str) -> Any:
    return json.loads(perennial(*arguments, "--json"))


def test_before_anything_serves_it_says_how_to_begin(ws: Workspace) -> None:
    found = told("rollout", "shop-returns")
    assert found["champion"] is None and found["rollout"] is None and found["past"] == []


def test_a_trial_is_told_with_its_evidence_and_nothing_is_written(ws: Workspace) -> None:
    at = datetime.now(UTC)
    released(ws, 1, at)
    record(ws, ReleaseServed(release=1, answers=99, replicas=("a",)), at)
    tried(ws, 2, at)
    replicas(ws, datetime.now(UTC), {"rollout/1/canary": Counts(answers=60, errors=50), **BASELINE})
    head = ws.state().seq
    found = told("rollout", "shop-returns")
    assert (found["rollout"]["version"], found["rollout"]["steps"], found["replicas"]) == (2, [0.1, 0.5], 2)
    assert found["rollout"]["verdict"]["answer"] == "FAIL"
    assert "50 of its 60 answers failed" in found["rollout"]["verdict"]["reasons"][0]
    assert ws.state().seq == head
    text = perennial("rollout", "shop-returns")
    assert "on trial as canary 1 against version 1" in text and "FAIL" in text
    assert f"since {at:%Y-%m-%d %H:%M} until " in " ".join(text.split())


def test_reasons_are_told_below_each_other_where_they_began(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    at = datetime.now(UTC)
    released(ws, 1, at)
    tried(ws, 2, at)
    replicas(ws, datetime.now(UTC), {"rollout/1/canary": Counts(answers=60, errors=50), **BASELINE})
    _, _, reasons = perennial("rollout", "shop-returns").partition("verdict so far: FAIL\n")
    lines = reasons.partition("\n\n")[0].splitlines()
    assert len(lines) > 1 and all(line.startswith("  ") for line in lines)


def test_what_withdrawn_releases_wrote_is_listed(ws: Workspace) -> None:
    assert told("corrections", "shop-returns") == {"waiting": [], "made": []}
    first = released(ws, 1)
    second = released(ws, 2)
    scored = Predicted(
        period="2024-04", release=2, model=second.model, version=2, snapshot="2024-04.x", rows=1200, table_version=1
    )
    record(ws, scored)
    record(ws, Released(number=3, model=first.model, version=1, replaces=2, reason="bad", withdraws=2))
    [waiting] = told("corrections", "shop-returns")["waiting"]
    assert (waiting["withdrawn"], waiting["version"], waiting["rows"]) == (2, 2, 1200)
    assert "1,200" in perennial("corrections", "shop-returns")

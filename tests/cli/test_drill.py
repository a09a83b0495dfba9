"""A drill that shows anything else than what was promised says so and ends with 1; the rehearsal has its own tests."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli import drill
from cli.main import app
from deployments.drill import rehearsal
from deployments.drill.rehearsal import Moment
from deployments.drill.traffic import Sent
from perennial.records import PredictionsCorrected, Released, RolloutEnded, Verdict
from perennial.values import Answer
from perennial.workspace import Workspace
from tests.perennial.release.trials import after, open_shop, record, released, tried

SENT = Sent(answered=50, versions={1: 40, 2: 10})  # type: ignore[arg-type]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Version 1 serves, and so does version 2, the faulty one."""
    ws = open_shop(tmp_path)
    released(ws, 1)
    released(ws, 2, after(1))
    monkeypatch.setattr(drill, "open_workspace", lambda slug: ws)
    monkeypatch.setattr(drill, "choose_environment", lambda env: None)
    return ws


def back(ws: Workspace) -> None:
    """Take version 2 back, and score again what it answered."""
    first = ws.state().released[0]
    record(ws, first.model_copy(update={"number": 3, "withdraws": 2, "replaces": 2}), after(5))
    corrected = {"withdrawn": 2, "release": 3, "model": first.model, "version": 1, "batch": "c", "rows": 10}
    record(ws, PredictionsCorrected(**corrected, table_version=1), after(6))


def drilled(ws: Workspace, monkeypatch: pytest.MonkeyPatch, sent: Sent = SENT, *options: str) -> Result:
    """Run the command over a rehearsal of which the journal is what is there."""

    class Lived:
        copy = ws

        def __init__(self, *given: Any) -> None: ...

        def live_through(self) -> Iterator[Moment]:
            return (Moment(float(one.seq), one, sent) for one in ws.journal.entries())

    monkeypatch.setattr(rehearsal, "Rehearsal", Lived)
    return CliRunner().invoke(app, ["drill", "shop-returns", *options])


def test_all_that_was_promised_ends_with_0_and_with_the_registry(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    back(shop)
    found = drilled(shop, monkeypatch)
    assert found.exit_code == 0, found.output
    last = found.output[found.output.index("Taken back by itself") :]
    assert "Registry of shop-returns" in last and "no report yet" in last and "Prefect (runs, artifacts)" in last


def test_what_was_not_taken_back_ends_with_1(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = drilled(shop, monkeypatch)
    assert found.exit_code == 1
    assert "The faulty version 2 was not taken back." in found.output
    assert "None of the 10 answers of version 2 was scored again." in found.output
    assert "Taken back by itself" not in found.output


def test_requests_that_failed_end_with_1(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    back(shop)
    found = drilled(shop, monkeypatch, replace(SENT, failed=3), "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["broken"] == ["3 requests failed; none may, whatever is released."]


def test_a_service_that_nobody_asked_rehearses_nothing(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    back(shop)
    found = drilled(shop, monkeypatch, Sent())
    assert found.exit_code == 1 and "No request was answered" in found.output


@pytest.mark.parametrize(("answer", "code"), [(Answer.FAIL, 0), (Answer.INCONCLUSIVE, 1)])
def test_a_trial_that_ended_undecided_was_not_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, code: int
) -> None:
    ws = open_shop(tmp_path)
    released(ws, 1)
    tried(ws, 2)
    record(ws, RolloutEnded(number=1, verdict=Verdict(answer=answer, reasons=("It ended.",))), after(9))
    assert not any(isinstance(one.record, Released) and one.record.withdraws for one in ws.journal.entries())
    monkeypatch.setattr(drill, "open_workspace", lambda slug: ws)
    monkeypatch.setattr(drill, "choose_environment", lambda env: None)
    only_good = Sent(answered=50, versions={1: 50})  # type: ignore[arg-type]
    assert drilled(ws, monkeypatch, only_good).exit_code == code

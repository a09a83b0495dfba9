"""What `perennial up` starts retrains by itself when the real flights drift: events, an automation, and a worker."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from deployments.triggers import USUAL
from perennial.retraining import Outcome, Request
from perennial.settings import Settings
from perennial.workspace import Workspace
from tests.deployments.stacks import Stack, stopping
from tests.servers import ROOT, until

pytestmark = pytest.mark.long

SLUG, MONTH, MOMENT = "flight-delay", "2013-03", "2013-04-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A fresh clone's: brought up, with two months of flights and a model that serves."""
    with stopping(Stack(tmp_path_factory.mktemp("up"), str(ROOT / "use_cases"))) as stack:
        stack.up()
        stack.run("backfill", SLUG, "--from", "2013-01", "--periods", "2")
        yield stack


def test_the_drift_of_a_month_of_flights_starts_one_retraining_that_ends_with_a_verdict(stack: Stack) -> None:
    settings = Settings(environment="dev", storage_root=str(stack.storage), use_cases=str(ROOT / "use_cases"))
    ws = Workspace.open(SLUG, settings)
    for stage in ("ingest", "validate", "predict"):
        worked(stack, stage)
    until(2 * USUAL.quiet.total_seconds(), lambda: all(one + USUAL.quiet < datetime.now(UTC) for one in alerts(stack)))
    worked(stack, "monitor")
    measured = ws.state().measured[-1]
    assert measured.period == MONTH and any("drift" in one.category for one in measured.findings)
    [retrained] = until(150, lambda: runs(stack, "retrain"))
    assert retrained["created_by"]["type"] == "AUTOMATION"
    [request] = until(180, lambda: asked(ws))
    assert request.ended and request.ended.outcome in (Outcome.RELEASED, Outcome.NOT_RELEASED)
    until(150, lambda: runs(stack, "retrain")[0]["state_type"] == "COMPLETED")
    assert sum(one.at == datetime.fromisoformat(MOMENT) for one in ws.journal.entries() if is_training(one)) == 1


def worked(stack: Stack, stage: str) -> None:
    """Let the worker do a stage of the month, unless an automation had it done before."""
    deployment = stack.ask(f"/deployments/name/{stage}/dev")
    body = {"parameters": {"use_case": SLUG, "period": MONTH, "as_of": MOMENT}}
    run = stack.ask(f"/deployments/{deployment['id']}/create_flow_run", body)
    until(180, lambda: stack.ask(f"/flow_runs/{run['id']}")["state_type"] == "COMPLETED")


def alerts(stack: Stack) -> list[datetime]:
    """Return when the drift of earlier months was told: more of it starts no run within the quiet minute."""
    wanted = {"filter": {"event": {"name": ["perennial.drift.detected"]}}}
    return [datetime.fromisoformat(one["occurred"]) for one in stack.ask("/events/filter", wanted)["events"]]


def runs(stack: Stack, flow: str) -> list[dict[str, Any]]:
    """Return the runs of a flow for the month, oldest first."""
    wanted = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_ASC"}
    return [one for one in stack.ask("/flow_runs/filter", wanted) if one["parameters"]["period"] == MONTH]


def asked(ws: Workspace) -> list[Request]:
    """Return the retrainings that were asked for because of the month and have ended."""
    return [one for one in ws.state().requests.values() if one.decided.period == MONTH and one.ended]


def is_training(entry: Any) -> bool:
    return bool(entry.record.kind == "model.trained")

"""What follows from an event where there is no server: the code's automations, and the journal's answer."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deployments.event_log import UnknownEvent
from deployments.explaining import Answer, explain_event
from flows.arguments import parse_moment
from perennial.workspace import Workspace
from tests.builders import make_use_case


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return make_use_case(tmp_path, months=())


def explained(ws: Workspace, name: str, payload: dict[str, str] | None = None, **labels: str) -> Answer:
    resource = {"prefect.resource.id": "perennial.use-case.shop-returns", "prefect.resource.name": "shop-returns"}
    told = {"period": "2024-01", "summary": "`price` has drifted", "as_of": "2024-02-01T00:00:00+00:00"}
    event: dict[str, Any] = {"event": name, "resource": {**resource, **labels}, "occurred": "2024-02-03T04:05:00Z"}
    event["payload"] = told if payload is None else payload
    file = Path(ws.settings.use_cases).parent / "event.json"
    file.write_text(json.dumps(event))
    return explain_event(file, ws.settings)


def test_drift_asks_for_a_retraining_and_the_journal_says_what_comes_of_it(ws: Workspace) -> None:
    found = explained(ws, "perennial.drift.detected", **{"perennial.environment": "test"})
    assert "that the code declares for test" in found.source
    [fired] = [one for one in found.explanations if one.answer == "yes"]
    assert (fired.automation, fired.actions[0]["deployment"]) == ("retrain on drift (test)", "retrain/test")
    assert fired.actions[0]["parameters"]["reason"] == "perennial.drift.detected: `price` has drifted"
    assert found.journal == ("about 2024-01 as of 2024-02-01 00:00 the policy says retrain: Nothing serves yet.",)
    assert json.loads(json.dumps(found.plain()))["explanations"]


def test_an_announced_delivery_that_names_no_moment_is_decided_as_of_its_event(ws: Workspace) -> None:
    found = explained(ws, "perennial.delivery.announced", payload={}, **{"perennial.environment": "test"})
    [fired] = [one for one in found.explanations if one.answer == "yes"]
    parameters = dict(fired.actions[0]["parameters"])
    assert parse_moment(parameters.pop("as_of")) == datetime(2024, 2, 3, 4, 5, tzinfo=UTC)
    assert parameters == {"use_case": "shop-returns", "period": None}


def test_an_event_of_another_environment_starts_nothing(ws: Workspace) -> None:
    found = explained(ws, "perennial.drift.detected", **{"perennial.environment": "prod"})
    assert all(one.answer == "no" for one in found.explanations) and found.journal == ()
    assert "It is for the environment `test`, and the event is of `prod`." in {
        reason for one in found.explanations for reason in one.reasons
    }


def test_a_misspelt_event_gets_a_suggestion(ws: Workspace) -> None:
    assert "did you mean `perennial.drift.detected`" in str(explained(ws, "perennial.drift.detect").misspelt)


def test_neither_file_nor_id_is_said_to_be_neither(ws: Workspace) -> None:
    with pytest.raises(UnknownEvent, match="neither a file nor the id"):
        explain_event(Path("nothing.json"), ws.settings)

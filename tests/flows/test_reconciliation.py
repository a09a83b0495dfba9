"""Reconciling on a real server: what it starts, gives up and tells, and that one failure hides no other part."""

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Failed

from blocks.documents import using
from flows import reconciliation
from flows.reconciliation import NotReconciled, reconcile
from perennial.periods import Period
from perennial.records import Finding, Level, Measured, RetrainingDecided
from perennial.retraining import Outcome
from perennial.watch.claims import TRIES
from perennial.watch.reconciliation import REMEMBERED
from perennial.workspace import Workspace
from tasks.reconciliation import start_overdue, tell_again
from tests.builders import make_use_case
from tests.servers import until

SLUG = "shop-returns"
FEBRUARY = Period.parse("2024-02")
ASKED = RetrainingDecided(period=FEBRUARY.label, release=None, action="retrain", reasons=("The first.",))


@flow
def retrain(use_case: str, period: str, as_of: str, reason: str) -> None:
    """A deployment whose runs end before they take anything up, or wait for ever."""


@flow
def making_good(workspace: Workspace) -> list[str]:
    return start_overdue(workspace)


@pytest.fixture
def asked(server: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """An environment with a name of its own, in which a retraining was asked for."""
    made = make_use_case(tmp_path, rows=1, months=())
    name = request.node.name.replace("_", "-")[-40:]
    workspace = Workspace(made.use_case, made.settings.model_copy(update={"environment": name}))
    workspace.journal.decide(lambda _: ASKED, FEBRUARY.end)
    with get_client(sync_client=True) as client, using(workspace.settings):
        client.create_deployment(client.create_flow(retrain), name=name, tags=["perennial", name])
        yield workspace


def started(client: SyncPrefectClient, workspace: Workspace) -> list[FlowRun]:
    prefix = f"retrain/{workspace.settings.environment}/"
    return [one for one in client.read_flow_runs() if (one.idempotency_key or "").startswith(prefix)]


def test_a_retraining_that_waits_for_its_run_is_not_said_to_be_started_again(asked: Workspace) -> None:
    assert making_good(asked) == ["start the retraining of entry 1: Nobody has taken it up."]
    assert making_good(asked) == []
    with get_client(sync_client=True) as client:
        [run] = started(client, asked)
    assert run.parameters["period"] == "2024-02"


def test_one_whose_runs_all_end_before_they_take_it_up_is_given_up_and_told(asked: Workspace) -> None:
    with get_client(sync_client=True) as client:
        for count in range(TRIES):
            assert len(making_good(asked)) == 1
            assert len(started(client, asked)) == count + 1
            [run] = [one for one in started(client, asked) if one.state and not one.state.is_final()]
            client.set_flow_run_state(run.id, Failed(message="It does not even start."), force=True)
        [told] = making_good(asked)
        assert told.startswith("abandon the retraining of entry 1") and "5 runs" in told
        assert making_good(asked) == []
        assert len(started(client, asked)) == TRIES
    ended = asked.state().requests[1].ended
    assert ended and ended.outcome is Outcome.ABANDONED and "5 runs" in ended.reason


def test_a_part_that_fails_in_any_way_hides_no_other_and_is_told_at_the_end(
    asked: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("The machine at the other end hung up.")

    monkeypatch.setattr(reconciliation, "mend_runs", fail)
    monkeypatch.setattr(reconciliation, "guard_release", fail)
    with pytest.raises(NotReconciled) as told:
        reconcile(SLUG)
    assert "lost runs: OSError: The machine" in str(told.value)
    assert f"`{SLUG}`, what serves: OSError" in str(told.value)
    with get_client(sync_client=True) as client:
        assert len(started(client, asked)) == 1


def test_a_use_case_that_is_declared_wrong_leaves_the_others_alone(asked: Workspace) -> None:
    broken = Path(asked.settings.use_cases) / "a-broken-one"
    broken.mkdir()
    (broken / "use_case.yaml").write_text("title: nothing else\n")
    with pytest.raises(NotReconciled, match="`a-broken-one`"):
        reconcile()
    with get_client(sync_client=True) as client:
        assert len(started(client, asked)) == 1


@flow
def telling(workspace: Workspace) -> list[str]:
    return tell_again(workspace)


def test_lost_news_are_told_once_as_of_when_they_happened_and_old_ones_never(asked: Workspace) -> None:
    found = measured(60)
    asked.journal.decide(lambda _: found, FEBRUARY.end)
    assert len(telling(asked)) == 60
    until(30, lambda: len(told(asked)) == 60)
    entry = asked.journal.entries()[-1]
    written = asked.journal.written_at(entry)
    assert {datetime.fromisoformat(one["occurred"]) for one in told(asked)} == {written}
    assert telling(asked) == []
    file = Path(asked.store.uri(f"journal/{SLUG}/{entry.seq:09d}.json"))
    asked.journal.decide(lambda _: measured(1, labels=7), FEBRUARY.end)
    file = file.with_name(f"{entry.seq + 1:09d}.json")
    old = time.time() - REMEMBERED.total_seconds() - 60
    os.utime(file, (old, old))
    assert telling(asked) == []


def measured(findings: int, labels: int = 0) -> Measured:
    made = tuple(
        Finding(
            level=Level.ALERT,
            category="feature-drift",
            subject=f"column-{number}",
            summary="It has drifted.",
            detail="",
            resolution="",
        )
        for number in range(findings)
    )
    return Measured(
        period=FEBRUARY.label,
        release=1,
        version=1,
        rows=10,
        labels=labels,
        performance={},
        reference={},
        drift={},
        findings=made,
        report=None,
    )


def told(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the drifts that the server heard of in an environment, page by page."""
    wanted = {"event": {"name": ["perennial.drift.detected"]}, "occurred": {}, "order": "DESC"}
    mine = {"labels": {"perennial.environment": [workspace.settings.environment]}}
    with get_client(sync_client=True) as client:
        body = {"filter": {**wanted, "resource": mine}, "limit": 50}
        page = client.request("POST", "/events/filter", json=body).json()
        found = list(page["events"])
        while page["next_page"]:
            page = client.request("GET", page["next_page"].partition("/api")[2]).json()
            found += page["events"]
    return found

"""Reconciling on a real server: what it starts, gives up and tells, and that one failure hides no other part."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Failed, Pending, Scheduled

from blocks.documents import using
from flows import reconciliation
from flows.reconciliation import NotReconciled, reconcile
from perennial.periods import Period
from perennial.records import Entry, Finding, Level, Measured, Received, RetrainingDecided
from perennial.retraining import Outcome
from perennial.watch.claims import TRIES
from perennial.watch.lost_runs import Mending, RunSeen
from perennial.watch.reconciliation import REMEMBERED, SETTLED
from perennial.workspace import Workspace
from tasks import lost_runs
from tasks import server as asking
from tasks.lost_runs import NotMended, mend_runs
from tasks.reconciliation import start_overdue, start_validations
from tasks.retelling import tell_again
from tests.builders import make_use_case
from tests.servers import until

SLUG = "shop-returns"
FEBRUARY = Period.parse("2024-02")
ASKED = RetrainingDecided(period=FEBRUARY.label, release=None, action="retrain", reasons=("The first.",))


@flow
def retrain(use_case: str, period: str, as_of: str, reason: str) -> None:
    """A deployment whose runs end before they take anything up, or wait for ever."""


@flow
def validate(use_case: str, period: str, as_of: str) -> None:
    """Another."""


@flow
def making_good(workspace: Workspace) -> list[str]:
    return start_overdue(workspace)


@flow
def judging(workspace: Workspace) -> list[str]:
    return start_validations(workspace)


@flow
def mending(environment: str) -> list[str]:
    return mend_runs(environment, timedelta(0))


@pytest.fixture
def asked(server: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Workspace]:
    """An environment with a name of its own, in which a retraining was asked for."""
    made = make_use_case(tmp_path, rows=1, months=())
    name = request.node.name.replace("_", "-")[-40:]
    workspace = Workspace(made.use_case, made.settings.model_copy(update={"environment": name}))
    workspace.journal.decide(lambda _: ASKED, FEBRUARY.end)
    with get_client(sync_client=True) as client, using(workspace.settings):
        for one in (retrain, validate):
            client.create_deployment(client.create_flow(one), name=name, tags=["perennial", name])
        yield workspace


def started(client: SyncPrefectClient, workspace: Workspace, stage: str = "retrain") -> list[FlowRun]:
    """Return the runs that were started of a deployment of the environment, the newest last."""
    name = DeploymentFilter.model_validate({"name": {"any_": [workspace.settings.environment]}})
    of_stage = FlowFilter.model_validate({"name": {"any_": [stage]}})
    found = client.read_flow_runs(flow_filter=of_stage, deployment_filter=name)
    return sorted((one for one in found if one.idempotency_key), key=lambda one: str(one.idempotency_key))


def age(workspace: Workspace, entry: Entry, how: timedelta) -> None:
    """Let an entry of the journal be written longer ago."""
    moment = time.time() - how.total_seconds() - 60
    os.utime(workspace.store.uri(f"journal/{SLUG}/{entry.seq:09d}.json"), (moment, moment))


def deliver(workspace: Workspace, revision: int) -> None:
    """Let every source deliver February, long enough ago."""
    for source, period in {"orders": "2024-02", "outcomes": "2024-02", "shops": "whole"}.items():
        one = Received(source=source, period=period, revision=revision, digest=f"{revision}", rows=1, path="")
        entry = workspace.journal.decide(lambda _, one=one: one, FEBRUARY.end)  # type: ignore[misc]
        assert entry
        age(workspace, entry, SETTLED)


def test_a_delivery_that_nobody_judged_is_validated_once(asked: Workspace) -> None:
    deliver(asked, revision=1)
    assert judging(asked) == ["validate the delivery of 2024-02, which nobody judged"]
    assert judging(asked) == []
    with get_client(sync_client=True) as client:
        [run] = started(client, asked, "validate")
        assert (run.parameters["period"], run.parameters["as_of"]) == ("2024-02", FEBRUARY.end.isoformat())
        client.set_flow_run_state(run.id, Failed(message="It breaks its contract."), force=True)
        assert judging(asked) == []
        deliver(asked, revision=2)
        assert len(judging(asked)) == 1
        assert len(started(client, asked, "validate")) == 2


def test_what_a_pipeline_may_be_about_to_judge_or_to_ask_is_left_to_it(asked: Workspace) -> None:
    deliver(asked, revision=1)
    newest = asked.journal.entries()[-1]
    os.utime(asked.store.uri(f"journal/{SLUG}/{newest.seq:09d}.json"))
    assert judging(asked) == []
    entry = asked.journal.decide(lambda _: measured(1), FEBRUARY.next().end)
    assert entry
    making_good(asked)
    assert len(asked.state().decided) == 1
    age(asked, entry, SETTLED)
    making_good(asked)
    assert len(asked.state().decided) == 2


def lost(client: SyncPrefectClient, workspace: Workspace) -> FlowRun:
    """Make a run that was to begin three days ago, and that a worker took and never began."""
    deployment = client.read_deployment_by_name(f"retrain/{workspace.settings.environment}")
    due = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(days=3))
    run = client.create_flow_run_from_deployment(deployment.id, state=due, parameters={"use_case": SLUG})
    client.set_flow_run_state(run.id, Pending(), force=True)
    return run


def test_runs_are_given_up_however_old_and_however_many_they_are(
    asked: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAGE", 1)
    with get_client(sync_client=True) as client:
        runs = [lost(client, asked) for _ in range(3)]
        done = mending(asked.settings.environment)
        assert sorted(done) == sorted(
            f"crash `{one.name}`: A worker took it and it did not begin for 0s: its process is gone." for one in runs
        )
        assert {str(client.read_flow_run(one.id).state_name) for one in runs} == {"Crashed"}


def test_a_run_that_cannot_be_looked_after_keeps_no_other_from_it(
    asked: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with get_client(sync_client=True) as client:
        runs = [lost(client, asked) for _ in range(2)]
        mend = lost_runs.mend

        def failing(seen: RunSeen, *more: Any) -> Mending | None:
            if seen.run == str(max(one.id for one in runs)):  # the first to be looked after
                raise OSError("The run is gone.")
            return mend(seen, *more)

        monkeypatch.setattr(lost_runs, "mend", failing)
        with pytest.raises(NotMended, match=r"crash `.+: OSError: The run is gone"):
            mending(asked.settings.environment)
        assert sorted(str(client.read_flow_run(one.id).state_name) for one in runs) == ["Crashed", "Pending"]


def test_a_part_of_a_run_that_was_deleted_has_nobody_to_end_for(asked: Workspace) -> None:
    with get_client(sync_client=True) as client:
        part = lost(client, asked).model_copy(update={"parent_task_run_id": uuid4()})
        assert lost_runs._parent_ended(client, part) is True


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
    older = asked.journal.decide(lambda _: measured(1, labels=7), FEBRUARY.end)
    assert older
    age(asked, older, REMEMBERED)
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

"""The loop through real flows on a real Prefect server: what it does, shows, tells, tries again and finds done."""

from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client

from blocks.documents import using
from flows.deployment import deploy
from flows.pipeline import pipeline
from flows.registration import register
from flows.training import train
from perennial.errors import Permanent, Transient
from perennial.periods import Period
from perennial.workspace import Workspace
from tasks import policies
from tests.builders import make_use_case
from tests.flows.living import MONTHS, live


def ask(what: str, **filters: Any) -> list[Any]:
    with get_client(sync_client=True) as client:
        return list(getattr(client, what)(**filters))


def test_the_pipeline_ends_with_a_judged_released_and_measured_model(lived: Workspace) -> None:
    state = lived.state()
    assert state.champion is not None
    assert [one.version for one in state.judged] == [1, 2]
    assert state.judged[0].verdict.answer == "PASS"
    assert state.champion.version == 1
    assert [one.period for one in state.predicted] == ["2024-03"]
    assert [one.period for one in state.measured] == ["2024-03"]
    assert [one.period for one in state.decided] == list(MONTHS)


def test_living_through_it_again_changes_nothing(lived: Workspace) -> None:
    before = lived.journal.entries()
    live(lived)
    assert lived.journal.entries() == before


def test_a_repeated_moment_judges_the_model_of_that_moment(lived: Workspace) -> None:
    february = Period.parse("2024-02")
    before = lived.journal.entries()
    assert register("shop-returns", period=february.label, as_of=february.end).version == 1
    assert deploy("shop-returns", period=february.label, as_of=february.end).version == 1
    assert lived.journal.entries() == before


@pytest.mark.long
def test_a_mended_declaration_trains_at_the_same_moment(server: None, tmp_path: Path) -> None:
    workspace = make_use_case(tmp_path, rows=2000, changes={"training": {"min_rows": 999_999}})
    february = Period.parse("2024-02")
    with using(workspace.settings):
        for month in map(Period.parse, MONTHS[:2]):
            pipeline("shop-returns", period=month.label, as_of=month.end)
        assert workspace.state().champion is None
        before = workspace.journal.entries()
        pipeline("shop-returns", period=february.label, as_of=february.end)
        assert workspace.journal.entries() == before
        file = workspace.use_case.folder / "use_case.yaml"
        file.write_text(file.read_text().replace("999999", "100"))
        pipeline("shop-returns", period=february.label, as_of=february.end)
    champion = workspace.state().champion
    assert champion is not None
    assert champion.version == 1


def test_runs_are_named_and_tagged_for_people(lived: Workspace) -> None:
    runs = ask("read_flow_runs")
    assert "train shop-returns 2024-02" in {one.name for one in runs}
    assert all({"shop-returns", "test"} <= set(one.tags) for one in runs if one.name.startswith("train"))


def test_artifacts_tell_deliveries_candidates_verdict_and_measurement(lived: Workspace) -> None:
    artifacts = {one.key: one for one in ask("read_artifacts")}
    keys = {"deliveries", "candidates", "training", "gate", "model", "release", "measurement", "drift", "report"}
    assert {f"shop-returns-{key}" for key in keys} <= set(artifacts)
    assert "roc_auc" in str(artifacts["shop-returns-candidates"].data)


def test_every_run_shows_the_numbers_of_its_journal_entries(lived: Workspace) -> None:
    shown = {one.flow_run_id for one in ask("read_artifacts", limit=200) if one.key == "shop-returns-journal"}
    runs = [one for one in ask("read_flow_runs") if one.state_type == "COMPLETED" and "shop-returns" in one.tags]
    runs = [one for one in runs if one.name.partition(" ")[0] not in ("host", "roll-out")]  # as of the clock
    assert runs and {one.id for one in runs} <= shown


def test_an_expected_error_fails_the_run_with_its_own_text(server: None, tmp_path: Path) -> None:
    workspace = make_use_case(tmp_path)
    with using(workspace.settings), pytest.raises(Permanent) as failure:
        train("shop-returns", period="2024-01", as_of=Period.parse("2024-01").end)
    failed = [one for one in ask("read_flow_runs") if one.state_type == "FAILED"]
    assert any(str(failure.value)[:60] in (one.state.message or "") for one in failed)


@pytest.mark.parametrize(("kind", "tries"), [(Transient, 3), (Permanent, 1)])
def test_only_what_may_go_through_later_is_tried_again(server: None, kind: type[Exception], tries: int) -> None:
    calls: list[int] = []
    quick = {**policies.COMPUTING, "retries": 2, "retry_delay_seconds": 0.0, "retry_jitter_factor": None}

    @task(**quick)
    def fail() -> None:
        calls.append(1)
        raise kind("away")

    @flow
    def failing() -> None:
        fail()

    with pytest.raises(kind):
        failing()
    assert len(calls) == tries

"""The loop through real flows on a real Prefect server: what it does, shows, tells, tries again and finds done."""

from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter
from prefect.client.schemas.objects import Artifact, FlowRun

from blocks.documents import using
from flows.deployment import deploy
from flows.pipeline import pipeline
from flows.registration import register
from flows.training import train
from perennial.errors import Permanent, Transient
from perennial.periods import Period
from perennial.workspace import Workspace
from tasks import policies
from tasks.server import all_runs
from tests.builders import make_use_case
from tests.flows.living import MONTHS, live


def ask_runs(**wanted: Any) -> list[FlowRun]:
    """Return all runs that a filter chooses, however many others the tests of this server made."""
    with get_client(sync_client=True) as client:
        return all_runs(client, wanted)


def ask_artifacts(*keys: str, **wanted: Any) -> list[Artifact]:
    """Return artifacts of the use case, by their keys."""
    chosen = ArtifactFilter.model_validate({"key": {"any_": [f"shop-returns-{key}" for key in keys]}, **wanted})
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=chosen, limit=200)


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
    runs = ask_runs(name={"any_": ["train shop-returns 2024-02"]})
    assert runs and all({"shop-returns", "test"} <= set(one.tags) for one in runs)


def test_artifacts_tell_deliveries_candidates_verdict_and_measurement(lived: Workspace) -> None:
    keys = ("deliveries", "candidates", "training", "gate", "model", "release", "measurement", "drift", "report")
    found = {key: ask_artifacts(key) for key in keys}
    assert [key for key, shown in found.items() if not shown] == []
    assert "roc_auc" in str(found["candidates"][0].data)
    assert all(f"[{lived.settings.storage_root}/reports/" in str(one.data) for one in found["report"])


def test_every_run_shows_the_numbers_of_its_journal_entries(lived: Workspace) -> None:
    runs = ask_runs(state={"type": {"any_": ["COMPLETED"]}}, tags={"all_": ["shop-returns", "test"]})
    ids = {str(one.id) for one in runs if one.name.partition(" ")[0] not in ("host", "roll-out")}  # as of the clock
    shown = [one for some in batched(ids) for one in ask_artifacts("journal", flow_run_id={"any_": some})]
    assert ids and {str(one.flow_run_id) for one in shown} == ids


def batched(ids: set[str], size: int = 50) -> list[list[str]]:
    ordered = sorted(ids)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def test_an_expected_error_fails_the_run_with_its_own_text(server: None, tmp_path: Path) -> None:
    workspace = make_use_case(tmp_path)
    with using(workspace.settings), pytest.raises(Permanent) as failure:
        train("shop-returns", period="2024-01", as_of=Period.parse("2024-01").end)
    failed = ask_runs(state={"type": {"any_": ["FAILED"]}}, name={"any_": ["train shop-returns 2024-01"]})
    assert any(one.state and str(failure.value)[:60] in (one.state.message or "") for one in failed)


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

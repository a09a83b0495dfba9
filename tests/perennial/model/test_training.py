"""A training sees what was known, refuses what cannot be learnt, keeps the best, and comes out the same again."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perennial.data.engine import Engine
from perennial.errors import Permanent
from perennial.model.artifact import load_golden, load_model, load_reference
from perennial.model.estimators import UnknownParameter
from perennial.model.metrics import UnknownMetric, metric
from perennial.model.plan import PAST, RECENT, open_rows, training_windows
from perennial.model.probe import ask
from perennial.model.requirements import InvalidLabels, NotEnoughRows, UnknownSlice
from perennial.model.training import (
    FeatureGone,
    LeakageFound,
    NoUsableCandidate,
    UnknownCandidate,
    fit_candidate,
    holdout_scores,
    keep_best,
    plan_training,
    train,
)
from perennial.records import Answer, Trained, TrainingRefused
from perennial.workspace import Workspace
from tests.builders import MONTHS, deliver, features_sql, make_use_case, moment

AS_OF = moment("2024-05-01")


def delivered(folder: Path, **options: Any) -> Workspace:
    workspace = make_use_case(folder, **options)
    deliver(workspace, *MONTHS)
    return workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return delivered(tmp_path_factory.mktemp("binary"))


@pytest.fixture(scope="module")
def trained(workspace: Workspace) -> Trained:
    return train(workspace, AS_OF)


def refusals(workspace: Workspace) -> list[str]:
    records = (one.record for one in workspace.journal.entries())
    return [one.reason for one in records if isinstance(one, TrainingRefused)]


def test_windows_are_counted_back_from_the_newest_mature_labels(workspace: Workspace) -> None:
    fit, validation, holdout = training_windows(workspace.use_case, moment("2024-01-01"), AS_OF)
    assert holdout.end == AS_OF - workspace.use_case.label.matures_after
    assert holdout.end - holdout.start == timedelta(days=21)
    assert (validation.end, fit.end) == (holdout.start, validation.start)
    assert validation.end - validation.start == timedelta(days=14)
    assert fit.start == moment("2024-01-01")


def test_declared_history_bounds_the_fit_window(tmp_path: Path) -> None:
    workspace = make_use_case(tmp_path, changes={"training": {"history": "30d"}})
    fit, _, _ = training_windows(workspace.use_case, moment("2024-01-01"), AS_OF)
    assert fit.end - fit.start == timedelta(days=30)


def test_every_candidate_is_fitted_and_the_best_is_no_baseline(workspace: Workspace, trained: Trained) -> None:
    assert [one.name for one in trained.candidates] == list(workspace.use_case.training.candidates)
    by_name = {one.name: one for one in trained.candidates}
    assert trained.model == by_name[trained.candidate].model
    assert trained.baseline == by_name["majority"].model != trained.model
    assert by_name["majority"].metrics["roc_auc"].value == 0.5
    found = by_name[trained.candidate].metrics["roc_auc"]
    assert found.low is not None and 0.65 < found.low < found.value < found.high
    assert found.rows == trained.holdout_rows
    assert trained.audit.answer is Answer.PASS
    assert (trained.spec, trained.query) == (workspace.use_case.spec_digest, workspace.use_case.features_digest)


def test_the_best_is_chosen_on_the_validation_window_and_not_on_the_holdout(
    workspace: Workspace, trained: Trained
) -> None:
    best = max(trained.candidates, key=lambda one: one.validation or 0)
    assert trained.candidate == best.name
    other = next(one for one in trained.candidates if one.name not in ("majority", best.name))
    perfect = other.metrics["roc_auc"].model_copy(update={"value": 1.0})
    flattered = other.model_copy(update={"metrics": {**other.metrics, "roc_auc": perfect}})
    plan = plan_training(workspace, AS_OF).model_copy(update={"key": "another"})
    fits = [flattered if one.name == other.name else one for one in trained.candidates]
    assert keep_best(workspace, plan, fits, AS_OF).candidate == best.name


def test_training_again_finds_the_record_and_changes_nothing(workspace: Workspace, trained: Trained) -> None:
    before, models = workspace.journal.entries(), workspace.store.list("models")
    assert train(workspace, AS_OF) == trained
    plan = plan_training(workspace, AS_OF)
    assert plan.key == trained.key
    assert keep_best(workspace, plan, trained.candidates, AS_OF) == trained
    assert (workspace.journal.entries(), workspace.store.list("models")) == (before, models)


def test_another_moment_is_another_training(workspace: Workspace, trained: Trained) -> None:
    assert plan_training(workspace, AS_OF + timedelta(hours=1)).key != trained.key


def test_no_label_that_became_known_in_the_holdout_is_learnt_from(workspace: Workspace, trained: Trained) -> None:
    plan = plan_training(workspace, AS_OF)
    with Engine(workspace.settings) as engine:
        open_rows(engine, workspace, plan)
        newest = engine.scalar(f"SELECT max(l.known_at) FROM {PAST} JOIN labels l USING (order_id)")
        latest = engine.scalar(f"SELECT max(event_time) FROM {PAST}")
        recent = engine.table(f"SELECT min(event_time) AS low, max(event_time) AS high FROM {RECENT}").to_pylist()[0]
    assert newest < plan.holdout.start
    assert latest < plan.holdout.start - timedelta(days=6)
    assert plan.holdout.start <= recent["low"] <= recent["high"] < plan.holdout.end


def test_the_artifact_answers_its_questions_and_knows_what_it_saw(workspace: Workspace, trained: Trained) -> None:
    for one in trained.candidates:
        assert ask(workspace.store, one.model).answer is Answer.PASS
        golden = load_golden(workspace.store, one.model)
        assert len(golden.rows) == 21
        assert set(golden.rows[-1].values()) == {None}
        reference = load_reference(workspace.store, one.model)
        assert reference.rows == trained.fit_rows
        assert sum(reference.score.all_counts) == trained.holdout_rows
        assert all(sum(bins.all_counts) == trained.fit_rows for bins in reference.features.values())
    assert load_model(workspace.store, trained.model).encoder.categories["channel"] == ("app", "store", "web")


def test_holdout_scores_are_those_that_the_metrics_were_computed_on(workspace: Workspace, trained: Trained) -> None:
    digests = set()
    for one in trained.candidates:
        found = holdout_scores(workspace, trained, one.model, AS_OF)
        digests.add(found.rows)
        assert found.y.dtype == found.score.dtype == np.float64
        assert metric("roc_auc").value(found.y, found.score) == one.metrics["roc_auc"].value
        assert set(found.slices["channel"]) == {"app", "store", "web"}
        assert len(found.slices["channel"]) == len(found.y) == trained.holdout_rows
    assert len(digests) == 1
    earlier = holdout_scores(workspace, trained, trained.model, trained.holdout.end)
    assert len(earlier.y) < trained.holdout_rows
    assert earlier.rows not in digests


SCRIPT = """
import json, sys
from tests.builders import moment
from perennial.model.training import train
from perennial.settings import Settings
from perennial.workspace import Workspace
opened = [Workspace.open("shop-returns", Settings.model_validate_json(one)) for one in sys.argv[1:]]
print(json.dumps([{one.name: one.model for one in train(ws, moment("2024-05-01")).candidates} for ws in opened]))
"""


def test_two_processes_with_other_threads_write_the_same_models(tmp_path: Path) -> None:
    workspaces = [delivered(tmp_path / task, task=task, rows=200) for task in ("binary", "regression")]
    keys = [plan_training(one, AS_OF).key for one in workspaces]  # so that both train on one snapshot
    before = [one.journal.head for one in workspaces]
    found = []
    for threads in (1, 2):
        settings = [one.settings.model_copy(update={"threads": threads}).model_dump_json() for one in workspaces]
        command = [sys.executable, "-c", SCRIPT, *settings]
        done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
        for one, head in zip(workspaces, before, strict=True):
            forget_entries_after(one, head)
    assert found[0] == found[1]
    assert all(len(set(models.values())) == 3 for models in found[0])
    assert [plan_training(one, AS_OF).key for one in workspaces] == keys


def forget_entries_after(workspace: Workspace, head: int) -> None:
    for path in workspace.store.list(f"journal/{workspace.use_case.slug}")[head:]:
        (Path(workspace.settings.storage_root) / path).unlink()


def test_regression_trains_as_well(tmp_path: Path) -> None:
    workspace = delivered(tmp_path, task="regression")
    trained = train(workspace, AS_OF)
    by_name = {one.name: one for one in trained.candidates}
    assert by_name[trained.candidate].metrics["rmse"].high < by_name["mean"].metrics["rmse"].low
    assert by_name[trained.candidate].validation < by_name["mean"].validation


def test_too_few_rows_are_refused_with_the_numbers_and_written_down_once(tmp_path: Path) -> None:
    workspace = delivered(tmp_path, rows=60)
    for _ in range(2):
        with pytest.raises(NotEnoughRows, match=r"has \d+ labelled rows in the fit window .* expected at least 500"):
            train(with_training(workspace, min_rows=500), AS_OF)
    assert len(refusals(workspace)) == 1
    assert workspace.state().trained == []


def with_training(workspace: Workspace, **training: Any) -> Workspace:
    use_case = workspace.use_case
    changed = use_case.model_copy(update={"training": use_case.training.model_copy(update=training)})
    changed._slug, changed._folder = use_case.slug, use_case.folder
    return Workspace(changed, workspace.settings)


def test_without_any_delivery_there_are_no_rows_to_train_on(tmp_path: Path) -> None:
    workspace = make_use_case(tmp_path)
    with pytest.raises(NotEnoughRows, match="has 0 labelled rows"):
        train(workspace, AS_OF)
    assert len(refusals(workspace)) == 1


def test_before_labels_are_known_there_is_nothing_to_train_on(workspace: Workspace) -> None:
    with pytest.raises(NotEnoughRows):
        plan_training(workspace, moment("2024-01-20"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", "the label is 0 in all"),
        ("CASE WHEN ordered_at < TIMESTAMPTZ '2024-04-03 00:00+00' THEN returned ELSE 1 END", "in the holdout window"),
        ("returned + 1", "the label is not 0 or 1 in"),
        ("returned * 'inf'::DOUBLE", "the label is not 0 or 1 in"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(tmp_path: Path, value: str, message: str) -> None:
    workspace = delivered(tmp_path, changes={"label": {"value": value}})
    with pytest.raises(InvalidLabels, match=message):
        train(workspace, AS_OF)
    assert message in refusals(workspace)[0]


def test_a_leak_is_found_and_no_model_is_kept(tmp_path: Path) -> None:
    workspace = delivered(tmp_path, rows=200, leak=True)
    for _ in range(2):
        with pytest.raises(LeakageFound, match="known_rate"):
            train(workspace, AS_OF)
    assert workspace.state().trained == []
    assert len(refusals(workspace)) == 1
    assert "known_rate" in refusals(workspace)[0]


def test_without_a_finite_metric_nothing_is_kept(workspace: Workspace, trained: Trained) -> None:
    plan = plan_training(workspace, AS_OF).model_copy(update={"key": "hopeless"})
    hopeless = [one.model_copy(update={"validation": None}) for one in trained.candidates]
    with pytest.raises(NoUsableCandidate, match="`roc_auc` is undefined for every candidate"):
        keep_best(workspace, plan, hopeless, AS_OF)
    assert "hopeless" in workspace.state().training_refused_at


def test_a_search_finds_better_parameters_within_its_trials_and_the_same_ones_again(tmp_path: Path) -> None:
    space = {"learning_rate": {"low": 0.02, "high": 0.5, "log": True}, "max_depth": {"low": 2, "high": 5}}
    poor = {"rounds": 2, "learning_rate": 0.001, "max_depth": 1}
    search = {"trials": 6, "space": {**space, "rounds": [20, 40]}}
    changes = {"training": {"candidates": {"xgboost": {"estimator": "xgboost", "params": poor, "search": search}}}}
    workspace = delivered(tmp_path, changes=changes)
    plan = plan_training(workspace, AS_OF)
    found, again = (fit_candidate(workspace, plan, "xgboost") for _ in range(2))
    assert found == again
    assert found.trials == 6
    assert found.parameters["rounds"] in (20, 40)
    assert isinstance(found.parameters["max_depth"], int)
    assert 0.02 <= found.parameters["learning_rate"] <= 0.5


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"training": {"candidates": {"xgboost": {"params": {"max_dept": 3}}}}}, UnknownParameter, "`max_depth`"),
        ({"gate": {"slices": {"columns": ["chanel"]}}}, UnknownSlice, "did you mean `channel`"),
        ({"gate": {"slices": {"columns": ["price"]}}}, UnknownSlice, "no categorical feature"),
    ],
)
def test_a_name_that_does_not_exist_stops_the_training_at_once(
    tmp_path: Path, changes: dict[str, Any], error: type[Permanent], message: str
) -> None:
    workspace = delivered(tmp_path, rows=200, changes=changes)
    with pytest.raises(error, match=message):
        train(workspace, AS_OF)
    assert workspace.store.list("models") == []


def test_an_unknown_candidate_and_a_metric_of_another_task_are_refused(workspace: Workspace) -> None:
    with pytest.raises(UnknownCandidate, match="did you mean `xgboost`"):
        fit_candidate(workspace, plan_training(workspace, AS_OF), "xgbost")
    with pytest.raises(UnknownMetric, match="no `binary` metric"):
        metric("rmse", "binary")


def test_a_model_whose_feature_is_gone_cannot_be_scored_on_new_snapshots(tmp_path: Path) -> None:
    workspace = delivered(tmp_path, rows=200)
    before = train(workspace, AS_OF)
    query = features_sql().replace("s.size AS shop_size,", "")
    (workspace.use_case.folder / "features.sql").write_text(query)
    after = train(workspace, AS_OF)
    assert after.key != before.key
    assert holdout_scores(workspace, after, after.model, AS_OF).rows
    with pytest.raises(FeatureGone, match="needs the feature `shop_size`"):
        holdout_scores(workspace, after, before.model, AS_OF)


def test_a_correction_of_labels_counts_from_the_moment_it_was_accepted(tmp_path: Path) -> None:
    workspace = delivered(tmp_path, rows=200)
    first = plan_training(workspace, AS_OF)
    path = workspace.use_case.folder / "deliveries" / "outcomes-2024-02.csv"
    lines = path.read_text().splitlines()
    header = lines[0].replace('"', "").split(",")
    place = header.index("returned")
    cells = lines[1].split(",")
    cells[place] = "0" if cells[place] == "1" else "1"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    deliver(workspace, "2024-02", as_of=AS_OF + timedelta(days=1))
    assert plan_training(workspace, AS_OF).labels == first.labels
    later = plan_training(workspace, AS_OF + timedelta(days=1))
    assert later.deliveries != first.deliveries

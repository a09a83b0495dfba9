"""Every estimator fits, scores, explains itself, and comes back from its bytes the same."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perennial.model.constant import Constant
from perennial.model.estimators import ESTIMATORS, FitFailed, UnknownEstimator, UnknownParameter, estimator
from perennial.model.fitted import UnreadableModel
from perennial.model.linear import Linear
from perennial.model.metrics import metric
from perennial.model.skops_file import UntrustedFile, dump_skops
from perennial.model.trees import Boosted
from perennial.use_case_checks import ESTIMATOR_NAMES
from tests.model_builders import FEATURES, make_model, make_sample

EVERY = sorted(ESTIMATORS)


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_a_model_scores_the_same_after_it_was_saved(name: str, task: str) -> None:
    kind, sample = estimator(name, task), make_sample(task=task)
    fitted = make_model(name, task).fitted
    again = kind.load(fitted.save())
    assert again.save() == fitted.save()
    scores = fitted.scores(sample.x_validation)
    assert (scores.dtype, scores.shape) == (np.float64, sample.y_validation.shape)
    assert np.array_equal(again.scores(sample.x_validation), scores)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_a_score_of_a_row_does_not_depend_on_its_neighbours(name: str, task: str) -> None:
    fitted, x = make_model(name, task).fitted, make_sample(task=task).x_validation
    assert fitted.scores(x[3:4])[0] == pytest.approx(fitted.scores(x)[3], rel=1e-6)


@pytest.mark.parametrize(("name", "task"), [one for one in EVERY if one[0] not in ("majority", "mean")])
def test_a_model_beats_the_baseline_and_says_what_counts(name: str, task: str) -> None:
    sample, fitted = make_sample(task=task), make_model(name, task).fitted
    scores = fitted.scores(sample.x_validation)
    quality = metric("roc_auc" if task == "binary" else "r2").value(sample.y_validation, scores)
    assert quality is not None
    assert quality > 0.5
    assert task == "regression" or quality > 0.7
    shares = fitted.importance(FEATURES)
    assert list(shares) == list(FEATURES)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda one: shares[one]) == "size"


def test_a_baseline_gives_every_row_the_mean_of_the_labels() -> None:
    sample, fitted = make_sample(), make_model("majority").fitted
    assert np.unique(fitted.scores(sample.x_validation)).tolist() == [sample.y.mean()]
    assert fitted.importance(FEATURES) == dict.fromkeys(FEATURES, 0.0)


@pytest.mark.parametrize(("name", "task"), [one for one in EVERY if one[0] not in ("majority", "mean")])
def test_a_missing_category_is_scored_as_missing_and_everything_missing_is_scored_too(name: str, task: str) -> None:
    fitted, row = make_model(name, task).fitted, np.array([[0.1, np.nan, 40.0]], dtype=np.float32)
    coded = [np.array([[0.1, code, 40.0]], dtype=np.float32) for code in (0, 1, 2)]
    assert fitted.scores(row)[0] != fitted.scores(coded[0])[0]
    assert np.isfinite(fitted.scores(np.full((1, 3), np.nan, dtype=np.float32))).all()


def test_a_column_that_is_missing_throughout_or_has_no_category_does_not_stop_a_linear_model() -> None:
    sample = make_sample()
    sample.x[:, :2] = np.nan
    assert np.isfinite(estimator("logistic_regression", "binary").fit(sample, {}, 0, 1).scores(sample.x)).all()


@pytest.mark.parametrize("only", [(False, False, False), (True, True, True)])
def test_a_linear_model_of_numbers_alone_or_categories_alone_explains_itself(only: tuple[bool, ...]) -> None:
    sample = make_sample()
    alone = type(sample)(np.nan_to_num(sample.x), sample.y, sample.x_validation, sample.y_validation, only)
    fitted = estimator("logistic_regression", "binary").fit(alone, {}, 0, 1)
    assert sum(fitted.importance(FEATURES).values()) == pytest.approx(1)


SCRIPT = """
import hashlib, json, sys
from tests.model_builders import make_sample
from perennial.model.estimators import ESTIMATORS
threads = int(sys.argv[1])
print(json.dumps({f"{name}/{task}": hashlib.sha256(
    kind.fit(make_sample(6000, task), {"subsample": 0.7, "rounds": 20} if name == "xgboost" else {}, 3, threads).save()
).hexdigest() for (name, task), kind in ESTIMATORS.items()}))
"""


def test_two_processes_with_other_threads_and_hashes_write_the_same_bytes() -> None:
    found = []
    for threads in ("1", "2"):
        seeded = os.environ | {"PYTHONHASHSEED": threads, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        command = [sys.executable, "-c", SCRIPT, threads]
        done = subprocess.run(
            command, env=seeded, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
        )
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    assert len(set(found[0].values())) == len(ESTIMATORS)


def test_the_seed_of_a_sampled_fit_counts() -> None:
    kind, sample = estimator("logistic_regression", "binary"), make_sample()
    drawn = [hashlib.sha256(kind.fit(sample, {"sample_rows": 100}, seed, 1).save()).digest() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_early_stopping_keeps_the_best_round() -> None:
    kind, sample = estimator("xgboost", "binary"), make_sample()
    many = {"rounds": 300, "learning_rate": 0.5}
    stopped = kind.fit(sample, {**many, "early_stopping_rounds": 5}, 0, 1)
    full = kind.fit(sample, {**many, "early_stopping_rounds": 0}, 0, 1)
    assert isinstance(stopped, Boosted)
    assert isinstance(full, Boosted)
    assert stopped.booster.num_boosted_rounds() < full.booster.num_boosted_rounds() == 300
    kept, loss = stopped.booster.num_boosted_rounds(), metric("log_loss")
    shorter = [Boosted(full.booster[:rounds]) for rounds in range(1, kept + 6)]
    losses = [loss.value(sample.y_validation, one.scores(sample.x_validation)) for one in shorter]
    assert kept == 1 + losses.index(min(losses))


def test_unknown_names_are_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownEstimator, match=r"`xgbost` is no estimator for a `binary` task; did you mean `xgboost`"):
        estimator("xgbost", "binary")
    with pytest.raises(UnknownEstimator, match="is no estimator for a `regression` task"):
        estimator("majority", "regression")
    with pytest.raises(UnknownParameter, match=r"`xgboost` has no parameter `max_dept`; did you mean `max_depth`"):
        estimator("xgboost", "binary").complete({"max_dept": 3})
    with pytest.raises(UnknownParameter, match=r"`majority` has no parameter `depth`\. It has none"):
        estimator("majority", "binary").complete({"depth": 3})


@pytest.mark.parametrize(
    ("name", "params"),
    [("xgboost", {"max_depth": "deep"}), ("xgboost", {"subsample": -1}), ("logistic_regression", {"C": -1.0})],
)
def test_a_value_that_the_library_refuses_names_the_candidate_and_its_parameters(name: str, params: dict) -> None:
    with pytest.raises(FitFailed, match=f"`{name}` could not be fitted on 200 rows"):
        estimator(name, "binary").fit(make_sample(), params, 0, 1)


def test_a_declaration_may_name_exactly_the_estimators_that_there_are() -> None:
    assert {(name, task) for task, names in ESTIMATOR_NAMES.items() for name in names} == set(ESTIMATORS)


@pytest.mark.parametrize("data", [b"", b"null", b'{"value": null}', b"[1]", b"\x80\x04N."])
def test_a_broken_constant_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableModel):
        Constant.load(data)


@pytest.mark.parametrize("data", [b"", b"{}", b"\x80\x04N.", b"not a model"])
def test_what_is_no_ubj_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableModel):
        Boosted.load(data)


def test_a_trusted_file_that_is_no_pipeline_of_ours_is_refused() -> None:
    with pytest.raises(UnreadableModel, match="no pipeline"):
        Linear.load(dump_skops({"columns": 1}))
    with pytest.raises(UntrustedFile):
        Linear.load(b"\x80\x04N.")

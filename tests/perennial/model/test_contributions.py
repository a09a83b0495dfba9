import numpy as np
import pytest

from perennial.model.artifact import Model
from perennial.model.contributions import contributions
from perennial.model.estimators import estimator
from tests.model_builders import ENCODER, FEATURES, make_model, make_rows, make_sample

ROWS = [{**one, "unused": 1.0} for one in make_rows(40, seed=3).to_pylist()]


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("xgboost", "binary"),
        ("xgboost", "regression"),
        ("logistic_regression", "binary"),
        ("ridge", "regression"),
        ("mean", "regression"),
        ("majority", "binary"),
    ],
)
def test_base_and_features_sum_to_the_score(name: str, task: str):
    model = make_model(name, task)
    found = contributions(model, ROWS)
    total = np.array([one.base + sum(one.features.values()) for one in found])
    scores = model.score(make_rows(40, seed=3))
    odds = name in ("xgboost", "logistic_regression") and task == "binary"
    assert {one.unit for one in found} == {"log odds" if odds else "score"}
    np.testing.assert_allclose(1 / (1 + np.exp(-total)) if odds else total, scores, rtol=1e-4, atol=1e-6)
    assert [*found[0].features] == [*FEATURES]


@pytest.mark.parametrize("name", ["xgboost", "ridge"])
def test_a_column_that_the_label_does_not_know_adds_little(name: str):
    sample = make_sample(2000, "regression")
    kind = estimator(name, "regression")
    y, later = 3 * np.nan_to_num(sample.x[:, 0]), 3 * np.nan_to_num(sample.x_validation[:, 0])
    fitted = kind.fit(type(sample)(sample.x, y, sample.x_validation, later, sample.categorical), {}, 0, 1)
    found = contributions(Model(kind, ENCODER, fitted), ROWS)
    size = {feature: np.mean([abs(one.features[feature]) for one in found]) for feature in FEATURES}
    assert size["size"] > 20 * max(size["colour"], size["age"])


def test_a_feature_that_was_not_logged_is_named():
    with pytest.raises(KeyError, match="colour"):
        contributions(make_model("ridge", "regression"), [{"size": 1.0, "age": 3.0}])


def test_a_category_that_the_model_does_not_know_counts_as_missing_and_is_named():
    row = {"size": 1.0, "age": 3.0, "colour": "never seen"}
    unseen, missing, known = contributions(make_model("xgboost", "regression"), [row, {**row, "colour": None}, ROWS[0]])
    assert unseen.unseen == ("colour",)
    assert unseen.features == missing.features
    assert missing.unseen == known.unseen == ()

"""A model that crashes, hangs, swells or answers wrongly is found out in a child, and the parent lives."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from perennial.model.encoding import Encoder, Matrix
from perennial.model.probe import NotProbed, ask, probe_model
from perennial.records import Answer
from perennial.store import Store
from tests.model_builders import ENCODER, forge, make_artifact


def with_tree(data: bytes, **changes: Any) -> bytes:
    booster = xgboost.Booster(model_file=bytearray(data))
    tree = json.loads(bytes(booster.save_raw("json")))
    tree["learner"]["gradient_booster"]["model"]["trees"][0].update(
        {
            name: [value if old >= 0 else old for old in tree["learner"]["gradient_booster"]["model"]["trees"][0][name]]
            for name, value in changes.items()
        }
    )
    changed = xgboost.Booster(model_file=bytearray(json.dumps(tree).encode()))
    return bytes(changed.save_raw("ubj"))


@pytest.mark.parametrize("name", ["majority", "logistic_regression", "xgboost"])
def test_a_model_as_it_was_trained_passes(tmp_path: Path, name: str) -> None:
    store, digest = make_artifact(tmp_path, name)
    verdict = probe_model(store, digest)
    assert verdict.answer is Answer.PASS
    assert verdict.numbers == {"rows": 20.0, "largest_difference": 0.0}


def test_a_model_that_crashes_its_process_fails_and_the_parent_lives(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    forged = forge(store, digest, {"model.ubj": lambda data: with_tree(data, left_children=2**30)})
    verdict = probe_model(store, forged)
    assert verdict.answer is Answer.FAIL
    assert "SIG" in verdict.reasons[0]


def test_fuzzed_models_never_pass_with_other_answers_and_never_end_the_parent(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    random = np.random.default_rng(4)

    def fuzzed(data: bytes) -> bytes:
        broken = np.frombuffer(data, dtype=np.uint8).copy()
        broken[random.integers(0, len(broken), 30)] = random.integers(0, 256, 30)
        return broken.tobytes()

    for _ in range(2):
        verdict = probe_model(store, forge(store, digest, {"model.ubj": fuzzed}))
        assert verdict.answer is Answer.FAIL
        assert verdict.reasons[0]


def test_a_model_that_answers_otherwise_fails_with_the_count(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path, "majority")
    changed = forge(store, digest, {"model.json": lambda _: b'{"value":0.25}'})
    verdict = probe_model(store, changed)
    assert verdict.answer is Answer.FAIL
    assert "20 of 20 golden questions" in verdict.reasons[0]
    assert verdict.numbers["largest_difference"] > 0.05


@pytest.mark.parametrize(
    ("name", "task", "shift", "answer"),
    [
        ("ridge", "regression", 5e-5, Answer.PASS),
        ("ridge", "regression", 5e-4, Answer.FAIL),
        ("logistic_regression", "binary", 5e-5, Answer.FAIL),
    ],
)
def test_how_far_answers_may_lie_apart_follows_from_the_spread_of_what_a_regression_answers(
    tmp_path: Path, name: str, task: str, shift: float, answer: Answer
) -> None:
    def shifted(data: bytes) -> bytes:
        golden = json.loads(data)
        return json.dumps(
            golden | {"scores": [one + shift * np.std(golden["scores"]) for one in golden["scores"]]}
        ).encode()

    store, digest = make_artifact(tmp_path, name, task)
    assert ask(store, forge(store, digest, {"golden.json": shifted})).answer is answer


def test_a_model_whose_answers_are_not_finite_fails(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path, "majority")
    assert "not finite" in ask(store, forge(store, digest, {"model.json": lambda _: b'{"value":NaN}'})).reasons[0]


@pytest.mark.parametrize("blind", [0, 1])
def test_features_of_requests_that_are_coded_otherwise_fail_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blind: int
) -> None:
    def encode(encoder: Encoder, rows: Sequence[Sequence[Any]]) -> Matrix:
        matrix = encode_plainly(encoder, rows)
        matrix[:, blind] = np.nan_to_num(matrix[:, blind])
        return matrix

    encode_plainly = Encoder.encode
    store, digest = make_artifact(tmp_path)
    assert ask(store, digest).answer is Answer.PASS
    monkeypatch.setattr(Encoder, "encode", encode)
    verdict = ask(store, digest)
    assert verdict.answer is Answer.FAIL
    assert verdict.reasons[0].startswith(f"Of requests `{ENCODER.features[blind]}` is coded otherwise")


def test_a_model_without_questions_fails(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path, "majority")
    forged = forge(store, digest, {"golden.json": lambda _: b'{"rows":[],"scores":[]}'})
    assert ask(store, forged).answer is Answer.FAIL


def test_a_changed_model_fails_with_the_reason_of_the_check(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    store.put(f"models/{digest}/model.ubj", store.get(f"models/{digest}/model.ubj")[:-1] + b"!")
    verdict = probe_model(store, digest)
    assert verdict.answer is Answer.FAIL
    assert "`model.ubj` was changed after the training" in verdict.reasons[0]


def test_a_model_that_takes_too_long_does_not_pass(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path, "majority")
    verdict = probe_model(store, digest, timeout=0.001)
    assert verdict.answer is Answer.INCONCLUSIVE
    assert "within 0.001 s" in verdict.reasons[0]


def test_a_model_that_takes_too_much_memory_fails(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path, "majority")
    verdict = probe_model(store, digest, memory=60 * 2**20)
    assert verdict.answer is Answer.FAIL


def test_a_store_that_cannot_be_read_says_nothing_of_the_model(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    (tmp_path / "store").rmdir()
    (tmp_path / "store").write_text("a file where a folder belongs")
    with pytest.raises(NotProbed, match="OSError"):
        probe_model(store, "0" * 64)

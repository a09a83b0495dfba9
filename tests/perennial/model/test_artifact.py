"""A model is its digest: written once, the same everywhere, and refused when a byte is not what was written."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from perennial.data.engine import QueryFailed
from perennial.errors import Permanent
from perennial.model.artifact import InvalidModel, load_golden, load_model, load_reference
from perennial.store import Store
from tests.model_builders import FEATURES, forge, make_artifact, make_engine, make_model, make_rows

FILES = ("manifest.json", "encoder.json", "golden.json", "reference.json", "model.ubj")
EVERY = [("majority", "binary"), ("logistic_regression", "binary"), ("xgboost", "binary"), ("ridge", "regression")]


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_a_loaded_model_scores_as_the_fitted_one(tmp_path: Path, name: str, task: str) -> None:
    store, digest = make_artifact(tmp_path, name, task)
    loaded, rows = load_model(store, digest), make_rows(seed=9)
    assert np.array_equal(loaded.score(rows), make_model(name, task).score(rows))
    assert (loaded.estimator.name, loaded.estimator.task, loaded.encoder.features) == (name, task, FEATURES)
    assert list(loaded.importance()) == list(FEATURES)


def test_the_same_model_has_the_same_digest_and_is_written_once(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    manifest = tmp_path / "models" / digest / "manifest.json"
    before = manifest.stat().st_mtime_ns, manifest.stat().st_ino
    assert make_artifact(tmp_path)[1] == digest
    assert (manifest.stat().st_mtime_ns, manifest.stat().st_ino) == before
    assert store.list("models") == sorted(f"models/{digest}/{name}" for name in FILES)
    assert make_artifact(tmp_path, "majority")[1] != digest


def test_a_save_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    for name in ("manifest.json", "golden.json"):
        (tmp_path / "models" / digest / name).unlink()
    assert make_artifact(tmp_path)[1] == digest
    assert load_golden(store, digest).scores


def test_scores_come_in_the_order_of_the_rows_with_the_columns_asked_for(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    model, rows = load_model(store, digest), make_rows(200)
    rows = rows.append_column("id", pa.array(range(200)))
    with make_engine() as engine:
        engine.arrow("batch", rows)
        reader = model.score_query(engine, "(SELECT * FROM batch WHERE id % 2 = 0)", ["id", "colour"])
        assert reader.schema.names == ["id", "colour", "score"]
        scored = reader.read_all()
    assert scored["id"].to_pylist() == list(range(0, 200, 2))
    assert scored["colour"] == rows["colour"].take(list(range(0, 200, 2)))
    assert np.array_equal(scored["score"].to_numpy(), model.score(rows)[::2])


def test_many_batches_are_scored_as_one(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    model = load_model(store, digest)
    with make_engine() as engine:
        engine.keep(
            "many", "SELECT i AS id, i % 7 - 3.5 AS size, 'red' AS colour, i % 90 AS age FROM range(300000) t(i)"
        )
        batches = list(model.score_query(engine, "many", ["id"]))
        assert len(batches) > 1
        assert max(batch.num_rows for batch in batches) <= 131_072
        scored = pa.Table.from_batches(batches)
        assert np.array_equal(scored["id"].to_numpy(), np.arange(300_000))
        assert np.array_equal(scored["score"].to_numpy(), model.score(engine.table("SELECT * FROM many"), engine))


def test_a_missing_feature_is_an_error_and_no_score(tmp_path: Path) -> None:
    model = load_model(*make_artifact(tmp_path))
    with pytest.raises(QueryFailed, match="age"):
        model.score(make_rows().drop_columns(["age"]))


def test_golden_questions_hold_rows_with_missing_values(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    golden = load_golden(store, digest)
    assert len(golden.rows) == len(golden.scores) == 20
    assert any(row["colour"] is None or row["size"] is None for row in golden.rows)
    assert load_model(store, digest).score(golden.table(load_model(store, digest).encoder)).tolist() == list(
        golden.scores
    )


def test_the_reference_counts_every_row_in_every_column(tmp_path: Path) -> None:
    reference = load_reference(*make_artifact(tmp_path))
    assert reference.rows == 300
    assert set(reference.features) == set(FEATURES)
    assert all(sum(bins.all_counts) == 300 for bins in [*reference.features.values(), reference.score])
    size, colour = reference.features["size"], reference.features["colour"]
    assert size.kind == "numeric"
    assert len(size.edges) == 9
    assert max(size.counts) - min(size.counts) <= 1
    assert size.missing > 0
    assert colour.kind == "categorical"
    assert colour.other > 0
    assert len(reference.score.counts) == len(reference.score.edges) + 1


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_refused_before_the_file_is_parsed(tmp_path: Path, name: str) -> None:
    store, digest = make_artifact(tmp_path)
    path = tmp_path / "models" / digest / name
    data = path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 10)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(InvalidModel, match=r"digest|changed"):
            load_model(store, digest)
            load_golden(store, digest)
            load_reference(store, digest)


@pytest.mark.parametrize("name", ["manifest.json", "encoder.json", "model.ubj"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    store, digest = make_artifact(tmp_path)
    (tmp_path / "models" / digest / name).unlink()
    with pytest.raises(InvalidModel, match=f"`{name}` does not exist"):
        load_model(store, digest)


@pytest.mark.parametrize("name", ["manifest.json", "model.ubj"])
def test_a_file_larger_than_it_may_be_is_not_read(tmp_path: Path, name: str) -> None:
    store, digest = make_artifact(tmp_path)
    with (tmp_path / "models" / digest / name).open("ab") as file:
        file.truncate(2**30)
    with pytest.raises(InvalidModel, match=f"`{name}` has {2**30} bytes"):
        load_model(store, digest)


@pytest.mark.parametrize("name", ["manifest.json", "model.ubj"])
def test_a_link_is_refused_even_to_the_right_bytes(tmp_path: Path, name: str) -> None:
    store, digest = make_artifact(tmp_path)
    path = tmp_path / "models" / digest / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidModel, match="link or a device"):
        load_model(store, digest)


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    folder = tmp_path / "models" / digest
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(InvalidModel, match="link"):
        load_model(store, digest)


def test_a_pipe_does_not_hang_the_reader(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    path = tmp_path / "models" / digest / "model.ubj"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidModel, match="device"):
        load_model(store, digest)


@pytest.mark.parametrize("digest", ["", "..", "../../etc", "a" * 63, "A" * 64, "latest"])
def test_what_is_no_digest_names_no_model(tmp_path: Path, digest: str) -> None:
    with pytest.raises(InvalidModel, match="names no model"):
        load_model(Store(str(tmp_path)), digest)


def test_a_manifest_cannot_bring_files_or_formats_of_its_own(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    added = forge(store, digest, {"model.pkl": lambda _: pickle.dumps({})})
    with pytest.raises(InvalidModel, match=r"lists the files .*model\.pkl"):
        load_model(store, added)
    below = forge(store, digest, {"more/model.ubj": lambda data: data})
    with pytest.raises(InvalidModel, match="lists the files"):
        load_model(store, below)


@pytest.mark.parametrize("name", ["xgboost", "logistic_regression", "majority"])
def test_a_pickle_under_another_name_is_refused(tmp_path: Path, name: str) -> None:
    store, digest = make_artifact(tmp_path, name)
    file = load_model(store, digest).estimator.file
    forged = forge(store, digest, {file: lambda _: pickle.dumps({"a": 1})})
    with pytest.raises(Permanent, match="not used"):
        load_model(store, forged)


def test_an_encoder_of_other_features_is_refused(tmp_path: Path) -> None:
    store, digest = make_artifact(tmp_path)
    forged = forge(store, digest, {"encoder.json": lambda data: data.replace(b'"age"', b'"rage"')})
    with pytest.raises(InvalidModel, match="different features"):
        load_model(store, forged)


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b"\xff", json.dumps({"features": [], "categories": {}, "code": 1}).encode()]
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: bytes) -> None:
    store, digest = make_artifact(tmp_path)
    with pytest.raises(InvalidModel, match="another form"):
        load_model(store, forge(store, digest, {"encoder.json": lambda _: content}))

"""A skops file holds what we write and nothing else, and equal content gives equal bytes."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from perennial.model.skops_file import UntrustedFile, dump_skops, load_skops
from tests.model_builders import make_model, make_sample


@pytest.fixture(scope="module")
def data() -> bytes:
    return make_model("logistic_regression").fitted.save()


def rewritten(data: bytes, change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def with_schema(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    def changed(members: dict[str, bytes]) -> None:
        schema = json.loads(members["schema.json"])
        change(schema)
        members["schema.json"] = json.dumps(schema).encode()

    return rewritten(data, changed)


def nodes(schema: Any, loader: str) -> list[dict[str, Any]]:
    children = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    found = [one for child in children for one in nodes(child, loader)]
    return [schema, *found] if isinstance(schema, dict) and schema.get("__loader__") == loader else found


def test_the_same_fit_gives_the_same_bytes_although_its_objects_lie_elsewhere(data: bytes) -> None:
    elsewhere = [object() for _ in range(1000)]
    assert make_model("logistic_regression").fitted.save() == data
    assert make_model("logistic_regression", rows=303).fitted.save() != data
    del elsewhere


def test_a_loaded_file_is_the_pipeline_and_dumps_to_the_same_bytes(data: bytes) -> None:
    loaded = load_skops(data)
    x = make_sample().x_validation
    expected = make_model("logistic_regression").fitted.scores(x)
    assert np.array_equal(loaded.predict_proba(x)[:, 1], expected)
    assert dump_skops(loaded) == data


def test_equal_values_in_one_or_two_objects_are_the_same_content() -> None:
    array, text = np.arange(5.0), "".join(["a", "b"])
    assert dump_skops([array, array, text, text]) == dump_skops([array, array.copy(), "ab", "".join(["a", "b"])])


def test_there_is_no_clock_and_no_address_in_a_file(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert {one.date_time for one in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        ids = [
            one["__id__"]
            for kind in ("ObjectNode", "JsonNode")
            for one in nodes(json.loads(file.read("schema.json")), kind)
        ]
    assert max(ids) < 10_000


def hostile_member(members: dict[str, bytes]) -> None:
    members["../../outside.npy"] = b""


def hostile_pickle_member(members: dict[str, bytes]) -> None:
    members["model.pkl"] = pickle.dumps({})


def no_schema(members: dict[str, bytes]) -> None:
    del members["schema.json"]


def many_members(members: dict[str, bytes]) -> None:
    members.update({f"{number:016x}.npy": b"" for number in range(1001)})


@pytest.mark.parametrize("change", [hostile_member, hostile_pickle_member, no_schema, many_members])
def test_members_that_we_never_write_are_refused(data: bytes, change: Callable[[dict[str, bytes]], None]) -> None:
    with pytest.raises(UntrustedFile):
        load_skops(rewritten(data, change))


def test_a_zip_bomb_is_refused_before_it_swells(data: bytes) -> None:
    def swollen(members: dict[str, bytes]) -> None:
        members["0123456789abcdef.npy"] = bytes(50_000_000)

    bomb = rewritten(data, swollen, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 200_000
    with pytest.raises(UntrustedFile, match="compressed"):
        load_skops(bomb)


def test_a_link_among_the_members_is_refused(data: bytes) -> None:
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as file:
        link = zipfile.ZipInfo("0123456789abcdef.npy")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(UntrustedFile, match="plain arrays"):
        load_skops(buffer.getvalue())


def test_a_member_given_twice_is_refused(data: bytes) -> None:
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("schema.json", "{}")
    with pytest.raises(UntrustedFile, match="each once"):
        load_skops(buffer.getvalue())


def rename_type(module: str, name: str, loader: str | None = None) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        node = nodes(schema, "ObjectNode")[-1]
        node["__module__"], node["__class__"] = module, name
        if loader:
            node["__loader__"] = loader

    return change


@pytest.mark.parametrize(
    "change",
    [
        rename_type("os", "system", "FunctionNode"),
        rename_type("builtins", "eval", "TypeNode"),
        rename_type("operator", "methodcaller", "OperatorFuncNode"),
        rename_type("functools", "partial", "PartialNode"),
        rename_type("subprocess", "Popen"),
        rename_type("sklearn.tree._classes", "DecisionTreeClassifier"),
        lambda schema: schema.update(protocol=0),
        lambda schema: schema.update(protocol=True),
        lambda schema: schema.update(__loader__=["ObjectNode"]),
    ],
)
def test_types_and_loaders_outside_our_list_are_refused(data: bytes, change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(UntrustedFile):
        load_skops(with_schema(data, change))


def test_an_array_of_pickled_objects_is_refused(data: bytes) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([object], dtype=object), allow_pickle=True)

    def pickled(members: dict[str, bytes]) -> None:
        members.update({name: buffer.getvalue() for name in members if name.endswith(".npy")})

    with pytest.raises(UntrustedFile):
        load_skops(rewritten(data, pickled))


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps({"a": 1}), b"[" * 5000])
def test_what_is_no_zip_is_refused(content: bytes) -> None:
    with pytest.raises(UntrustedFile):
        load_skops(content)


def test_a_schema_nested_without_end_is_refused(data: bytes) -> None:
    def deep(members: dict[str, bytes]) -> None:
        members["schema.json"] = b'{"protocol": 2, "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    with pytest.raises(UntrustedFile):
        load_skops(rewritten(data, deep))


def test_truncated_files_are_refused(data: bytes) -> None:
    for cut in range(0, len(data), len(data) // 7):
        with pytest.raises(UntrustedFile):
            load_skops(data[:cut])


def test_skops_is_imported_without_all_of_scikit_learn() -> None:
    script = """
import sys
from sklearn.preprocessing import StandardScaler
from sklearn import utils
from perennial.model.skops_file import dump_skops
before = utils.all_estimators
dump_skops(StandardScaler())
assert utils.all_estimators is before
assert not {"pytest", "sklearn.datasets"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)

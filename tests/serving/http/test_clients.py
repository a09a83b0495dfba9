"""Existing clients of the Open Inference Protocol and of MLflow, unchanged, against a real model."""

import tracemalloc
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from serving.messages import Request
from serving.problems import Refused
from serving.protocols import mlflow
from serving.request_contract import RequestContract
from tests.serving.http.conftest import Running, order
from tests.serving.http.small_replica import SmallReplica

ROWS = [order(number, channel="web" if number % 2 else "app") for number in range(1, 5)]
DATATYPES = {"price": "FP64"}


@pytest.fixture(scope="module")
def expected(service: Running) -> list[float]:
    predictions = service.client.post("/predict", json={"rows": ROWS}).json()["predictions"]
    return [one["score"] for one in predictions]


@pytest.fixture
def triton(service: Running) -> Any:
    from tritonclient.http import InferenceServerClient

    client = InferenceServerClient(f"127.0.0.1:{service.port}")
    yield client
    client.close()


def inputs(*, binary: bool, rows: list[dict[str, Any]] = ROWS) -> list[Any]:
    from tritonclient.http import InferInput

    made = []
    for name in rows[0]:
        datatype = DATATYPES.get(name, "BYTES")
        values = np.array([one[name] for one in rows], dtype=object if datatype == "BYTES" else np.float64)
        one = InferInput(name, [len(rows)], datatype)
        one.set_data_from_numpy(values, binary_data=binary)
        made.append(one)
    return made


def test_triton_finds_the_server_and_its_model(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("shop-returns")
    assert triton.is_model_ready("shop-returns", "1")
    assert not triton.is_model_ready("shop-returns", "2")
    assert not triton.is_model_ready("other")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = triton.get_model_metadata("shop-returns")
    assert metadata["versions"] == ["1"]
    assert {"name": "price", "datatype": "FP64", "shape": [-1]} in metadata["inputs"]


@pytest.mark.parametrize("binary", [True, False])
def test_triton_gets_the_same_scores(triton: Any, expected: list[float], binary: bool) -> None:
    result = triton.infer("shop-returns", inputs(binary=binary), request_id="mine")
    assert result.as_numpy("score").tolist() == expected
    assert result.as_numpy("version").tolist() == [1] * 4
    assert len(set(result.as_numpy("id").tolist())) == 4
    assert (result.get_response()["id"], result.get_response()["model_version"]) == ("mine", "1")


@pytest.mark.parametrize("binary", [True, False])
def test_triton_gets_the_outputs_that_it_names(triton: Any, expected: list[float], binary: bool) -> None:
    from tritonclient.http import InferRequestedOutput

    wanted = [InferRequestedOutput("score", binary_data=binary)]
    result = triton.infer("shop-returns", inputs(binary=True), outputs=wanted, model_version="1")
    assert result.as_numpy("score").tolist() == expected
    assert result.as_numpy("release") is None


def test_triton_is_told_which_field_is_wrong(triton: Any) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException, match=r"row 0: `price` is -1.0, expected a number from 0") as caught:
        triton.infer("shop-returns", inputs(binary=True, rows=[order(price=-1.0)]))
    assert caught.value.status() == "422"
    with pytest.raises(InferenceServerException, match="`price` is null"):
        triton.infer("shop-returns", inputs(binary=True, rows=[order(price=np.nan)]))


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": []},
        {"inputs": [{"name": "price"}]},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [2], "data": [1.0]}]},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [-1], "data": []}]},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [10**9], "data": [1]}]},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}]},
        {"inputs": [{"name": "price", "datatype": "BYTES", "shape": [1], "data": ["1"]}]},
        {"inputs": [{"name": "price", "datatype": [], "shape": [1], "data": ["1"]}]},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [1], "data": [1]}] * 2},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [1], "data": [1]}], "outputs": [7]},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [1], "data": [1]}], "outputs": [{"name": []}]},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [1], "data": [1]}], "outputs": [{"name": {}}]},
        {"inputs": [{"name": "price", "datatype": "FP64", "shape": [0], "data": []}]},
        {"inputs": 7},
        {},
    ],
)
def test_tensors_that_do_not_fit_are_refused(service: Running, changes: dict[str, Any]) -> None:
    response = service.client.post("/v2/models/shop-returns/infer", json=changes)
    assert response.status_code in {400, 413, 422}
    assert response.json()["error"]


def test_a_null_in_a_tensor_is_a_missing_value(service: Running) -> None:
    tensors = [
        {"name": name, "datatype": DATATYPES.get(name, "BYTES"), "shape": [1, 1], "data": [[None]]} for name in order()
    ]
    response = service.client.post("/v2/models/shop-returns/infer", json={"inputs": tensors})
    assert [one["given"] for one in response.json()["errors"]] == ["null"] * 5


@pytest.mark.parametrize("header", ["x", "-1", "999999", "1e3", "9" * 5000])
def test_a_header_length_that_is_none_is_refused(service: Running, header: str) -> None:
    given = {"Inference-Header-Content-Length": header, "Content-Type": "application/octet-stream"}
    response = service.client.post("/v2/models/shop-returns/infer", content=b"{}", headers=given)
    assert response.status_code == 400


@pytest.mark.parametrize(
    "rest", [b"", b"\x01", b"\xff\xff\xff\xff", b"\x01\x00\x00\x00\xff", b"\x01\x00\x00\x00aa", b"\x00" * 8]
)
def test_binary_data_that_is_cut_or_no_text_is_refused(service: Running, rest: bytes) -> None:
    tensor = f'{{"name":"shop","datatype":"BYTES","shape":[1],"parameters":{{"binary_data_size":{len(rest)}}}}}'
    header = f'{{"inputs":[{tensor}]}}'.encode()
    given = {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"}
    response = service.client.post("/v2/models/shop-returns/infer", content=header + rest, headers=given)
    assert response.json()["reason"] == "malformed"


def test_mlflow_s_own_client_gets_the_same_scores(service: Running, expected: list[float]) -> None:
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", service.port)
    client.ping()
    assert "shop-returns" in client.get_version()
    assert client.invoke(pd.DataFrame(ROWS))["predictions"] == expected
    missing = pd.DataFrame([*ROWS, order(price=np.nan)])
    with pytest.raises(Exception, match="row 4: `price` is null"):
        client.invoke(missing)


BY_COLUMN = {name: [one[name] for one in ROWS] for name in ROWS[0]}


@pytest.mark.parametrize(
    "body",
    [
        {
            "dataframe_split": {
                "index": [0, 1, 2, 3],
                "columns": list(ROWS[0]),
                "data": [[*one.values()] for one in ROWS],
            }
        },
        {"dataframe_records": ROWS},
        {"instances": ROWS, "params": {}},
        {"instances": BY_COLUMN},
        {"inputs": BY_COLUMN},
        {"inputs": ROWS},
    ],
)
def test_every_form_of_mlflow_gives_the_same_scores(service: Running, expected: list[float], body: Any) -> None:
    assert service.client.post("/invocations", json=body).json() == {"predictions": expected}


def test_csv_gives_the_same_scores(service: Running, expected: list[float]) -> None:
    lines = [",".join(ROWS[0]), *(",".join(str(value) for value in one.values()) for one in ROWS)]
    response = send_csv(service, "\r\n".join(lines).encode("utf-8-sig"))
    assert response.json() == {"predictions": expected}


def send_csv(service: Running, content: bytes) -> httpx.Response:
    return service.client.post("/invocations", content=content, headers={"Content-Type": "text/csv; charset=utf-8"})


@pytest.mark.parametrize(
    "content",
    [b"", b"a,a\n1,1", b"a,b\n1", b'a\n"x', b"\xff\xfea", b"a\n" + b"x" * 200_000, b"order_id\n" + b"a\n" * 60],
)
def test_csv_that_is_none_is_refused(service: Running, content: bytes) -> None:
    assert send_csv(service, content).status_code in {400, 413, 422}


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"dataframe_records": ROWS, "instances": ROWS},
        {"dataframe_split": []},
        {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 1]]}},
        {"dataframe_split": {"columns": ["price"], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": ["price"], "data": [7]}},
        {"inputs": 7},
        {"inputs": {"price": [1, 2], "shop": ["a"]}},
        {"inputs": {"price": [1], "shop": "a"}},
        {"instances": [[1, 2]]},
        {"dataframe_records": ROWS, "more": 1},
    ],
)
def test_other_forms_are_refused(service: Running, body: Any) -> None:
    assert service.client.post("/invocations", json=body).json()["reason"] == "malformed"


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": NaN',
        b'{"inputs": [Infinity, NaN]}',
        b"NaN" + b"[" * 100_000,
        b'{"inputs": [{"order_id": "\\ud800", "price": NaN}]}',
    ],
)
def test_nan_opens_no_other_door(service: Running, body: bytes) -> None:
    response = service.client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("inputs", {"price": [0] * 400_000}),
        ("dataframe_split", {"columns": [], "data": [[]] * 400_000}),
        ("inputs", {f"c{place}": [0] * 1000 for place in range(1000)}),
    ],
)
def test_a_body_of_many_rows_or_columns_takes_little_more_memory_than_its_values(
    replica: SmallReplica, form: str, content: Any
) -> None:
    contract = RequestContract(replica.ws.use_case, 1000)
    body = orjson.dumps({form: content})
    request = Request("POST", "/invocations", {b"content-type": b"application/json"}, "", "", b"", body)
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as caught:
            mlflow.read(request, contract)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.status == 422

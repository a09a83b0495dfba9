"""The Open Inference Protocol v2 over REST: one tensor per field, with the binary extension that Triton's client uses.

A missing value is `null`, a NaN in binary data, or a tensor left out; neither protocol nor JSON has another.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import orjson

from serving.answers import Answer
from serving.fields import Field
from serving.messages import Asked, Request, Response
from serving.problems import Problem, Refused, invalid, malformed
from serving.protocols import tensors
from serving.protocols.plain import require_json
from serving.request_contract import RequestContract, parse_json

HEADER_LENGTH = b"inference-header-content-length"
OCTETS = b"application/octet-stream"
OUTPUTS = {"score": "FP64", "version": "INT64", "release": "INT64", "id": "BYTES"}
EXTENSIONS = ["binary_tensor_data"]


def server_metadata(version: str) -> Response:
    """Answer `GET /v2`."""
    return Response(orjson.dumps({"name": "perennial", "version": version, "extensions": EXTENSIONS}))


def model_metadata(name: str, version: int | None, contract: RequestContract) -> Response:
    """Answer `GET /v2/models/{name}`."""
    inputs = [
        {"name": name, "datatype": tensors.DATATYPES[one.column.type], "shape": [-1]}
        for name, one in contract.fields.items()
    ]
    outputs = [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in OUTPUTS.items()]
    versions = [] if version is None else [str(version)]
    content = {"name": name, "versions": versions, "platform": "perennial", "inputs": inputs, "outputs": outputs}
    return Response(orjson.dumps(content))


def read(request: Request, contract: RequestContract, model: str) -> Asked:
    """Read `POST /v2/models/{name}/infer`."""
    require_json(request, OCTETS, b"")
    header, rest = _split(request)
    content = parse_json(header)
    given = content.get("inputs") if isinstance(content, dict) else None
    if not isinstance(given, list) or not given:
        raise malformed("The body has no `inputs`, expected a list with one tensor per field.")
    columns = _columns(given, rest, contract)
    wanted = _wanted(content)
    identity = content["id"] if isinstance(content.get("id"), str) else request.id
    return Asked(contract.read_columns(columns), lambda answers: _reply(model, identity[:128], wanted, answers))


def _split(request: Request) -> tuple[bytes, memoryview]:
    stated = request.headers.get(HEADER_LENGTH)
    if stated is None:
        return request.body, memoryview(b"")
    if not stated.isdigit() or len(stated) > 12 or int(stated) > len(request.body):
        raise malformed(f"`Inference-Header-Content-Length` is no length within a body of {len(request.body)} bytes.")
    return request.body[: int(stated)], memoryview(request.body)[int(stated) :]


def _columns(given: Sequence[Any], rest: memoryview, contract: RequestContract) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    lengths: dict[str, int] = {}
    for tensor in given:
        name, datatype = _named(tensor)
        if name in columns:
            raise malformed(f"Input `{name}` comes twice, expected one tensor per field.")
        if name in contract.fields:
            _require_datatype(contract.fields[name], datatype)
        lengths[name] = length = tensors.length_of(name, tensor.get("shape"))
        if length > contract.max_rows:
            raise Refused(422, "rows", f"Input `{name}` has {length} rows, expected at most {contract.max_rows}.")
        columns[name], rest = _values(name, datatype, tensor, rest, length)
    if len(set(lengths.values())) > 1:
        raise malformed("The inputs have different numbers of rows, expected the same for all.")
    if rest.nbytes:
        raise malformed(f"{rest.nbytes} bytes follow the last binary input, expected none.")
    return columns


def _named(tensor: Any) -> tuple[str, str]:
    name = tensor.get("name") if isinstance(tensor, dict) else None
    if not isinstance(name, str):
        raise malformed("An input has no `name`, expected the name of a field.")
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in tensors.NUMPY):
        raise malformed(f"Input `{name[:80]}` has no known `datatype`, expected such as `FP64`, `INT64` or `BYTES`.")
    return name, datatype


def _require_datatype(one: Field, datatype: str) -> None:
    accepted = tensors.ACCEPTED[one.column.type]
    if datatype not in accepted:
        raise invalid([Problem(0, one.name, f"of datatype {datatype}", f"the datatype {_listed(accepted)}")])


def _listed(accepted: Set[str]) -> str:
    return " or ".join(sorted(accepted)) if len(accepted) == 1 else "of a number, such as INT64 or FP64"


def _values(
    name: str, datatype: str, tensor: Mapping[str, Any], rest: memoryview, length: int
) -> tuple[list[Any], memoryview]:
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return tensors.plain_values(name, tensor.get("data"), length), rest
    if type(size) is not int or not 0 <= size <= rest.nbytes:
        raise malformed(f"Input `{name}` states {size!s:.40} binary bytes, {rest.nbytes} are left.")
    return tensors.binary_values(name, datatype, bytes(rest[:size]), length), rest[size:]


def _wanted(content: Mapping[str, Any]) -> dict[str, bool]:
    """Return the wanted outputs, each with whether it is wanted as bytes."""
    parameters = content.get("parameters")
    all_binary = bool(isinstance(parameters, dict) and parameters.get("binary_data_output"))
    outputs = content.get("outputs")
    if not outputs:
        return dict.fromkeys(OUTPUTS, all_binary)
    if not isinstance(outputs, list) or not all(_is_output(one) for one in outputs):
        raise malformed(f"`outputs` names no output, expected of {', '.join(f'`{one}`' for one in OUTPUTS)}.")
    return {
        one["name"]: bool(isinstance(own := one.get("parameters"), dict) and own.get("binary_data", all_binary))
        if "parameters" in one
        else all_binary
        for one in outputs
    }


def _is_output(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("name"), str) and one["name"] in OUTPUTS


def _reply(model: str, identity: str, wanted: Mapping[str, bool], answers: Sequence[Answer]) -> Response:
    columns: dict[str, list[Any]] = {
        "score": [one.score for one in answers],
        "version": [one.version for one in answers],
        "release": [one.release for one in answers],
        "id": [one.question.id for one in answers],
    }
    outputs, binary = [], []
    for name, is_binary in wanted.items():
        tensor: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(answers)]}
        if is_binary:
            binary.append(tensors.binary(OUTPUTS[name], columns[name]))
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = columns[name]
        outputs.append(tensor)
    versions = set(columns["version"])
    content = {"model_name": model, "id": identity, "outputs": outputs}
    if len(versions) == 1:
        content["model_version"] = str(versions.pop())
    header = orjson.dumps(content)
    if not binary:
        return Response(header)
    return Response(header + b"".join(binary), OCTETS, 200, ((HEADER_LENGTH, str(len(header)).encode()),))

"""The service described as OpenAPI 3.1, made of the request's contract; it is not served in prod."""

from typing import Any

from perennial.use_case import UseCase
from serving.fields import MAX_TEXT, TIME_PATTERN, Field
from serving.protocols import tensors
from serving.protocols.kserve import OUTPUTS
from serving.request_contract import RequestContract

Schema = dict[str, Any]
_PROBLEMS = {
    "400": "The body is not what is expected",
    "401": "No valid token",
    "413": "Too large",
    "415": "Another media type",
    "422": "A field breaks its contract, or there are too many rows",
    "429": "Too many requests",
    "500": "The rows could not be scored",
    "503": "Not ready, or overloaded",
    "504": "No answer in time",
}


def document(
    use_case: UseCase, contract: RequestContract, example: dict[str, Any], version: int | None, *, is_guarded: bool
) -> Schema:
    """Describe all routes of a use case.

    Args:
        use_case: Whose service.
        contract: What its requests hold.
        example: A row as a request writes it.
        version: The one that answers now, and the only one that can be asked.
        is_guarded: Whether a token is needed.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": use_case.title, "description": use_case.description, "version": "1"},
        "paths": {
            **_predicting(contract, example),
            **_inferring(use_case.slug, contract, example, version),
            **_invoking(contract, example),
            **_telling(),
        },
        "components": {
            "schemas": {"Row": row_schema(contract), "Problem": _PROBLEM, "Answer": _ANSWER, "Tensor": _TENSOR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}] if is_guarded else [],
    }


def row_schema(contract: RequestContract) -> Schema:
    """Return the JSON schema of one row."""
    return {
        "type": "object",
        "properties": {name: _field(one) for name, one in contract.fields.items()},
        "required": [name for name, one in contract.fields.items() if not one.is_nullable],
        "additionalProperties": not contract.is_closed,
    }


def _field(one: Field) -> Schema:
    column = one.column
    schema: Schema = {"type": "string" if column.type == "timestamp" else column.type}
    if column.type in ("integer", "number"):
        schema |= {"minimum": one.low, "maximum": one.high}
    if column.type == "string":
        schema |= {"maxLength": MAX_TEXT}
        schema |= {"pattern": f"^(?:{column.pattern})$"} if column.pattern else {}
        schema |= {"examples": list(column.values)} if column.values else {}
    if column.type == "timestamp":
        schema |= {"format": "date-time", "pattern": TIME_PATTERN}
    if one.is_nullable:
        schema["type"] = [schema["type"], "null"]
    return schema | ({"description": column.description} if column.description else {})


def _predicting(contract: RequestContract, example: dict[str, Any]) -> Schema:
    many = _object(rows=_rows(contract)) | {"additionalProperties": False}
    answers = _object(predictions={"type": "array", "items": _ref("Answer")})
    return {
        "/predict": {
            "post": _operation(
                "Score one row, or several below `rows`",
                {"anyOf": [_ref("Row"), many]},
                {"one row": example, "several rows": {"rows": [example, example]}},
                {"anyOf": [_ref("Answer"), answers]},
            )
        }
    }


def _inferring(slug: str, contract: RequestContract, example: dict[str, Any], version: int | None) -> Schema:
    body = _object(
        inputs={
            "type": "array",
            "items": {"oneOf": [_tensor(name, one, contract.max_rows) for name, one in contract.fields.items()]},
            "minItems": sum(not one.is_nullable for one in contract.fields.values()),
            "maxItems": len(contract.fields),
            "description": "One tensor per field, all of them with the same number of rows.",
        }
    )
    shown = {
        "inputs": [
            {"name": name, "shape": [1], "datatype": tensors.DATATYPES[one.column.type], "data": [example[name]]}
            for name, one in contract.fields.items()
        ]
    }
    reply = _object(model_name={"type": "string"}, outputs={"type": "array", "items": _ref("Tensor")})
    post = _operation("Score by the Open Inference Protocol v2", body, {"one row": shown}, reply)
    metadata = _object(name={"type": "string"}, versions={"type": "array", "items": {"type": "string"}})
    model = f"/v2/models/{slug}"
    return {
        "/v2": {"get": _told("Metadata of the server", _object(name={"type": "string"}))},
        "/v2/health/live": {"get": _told("Whether the process lives", {"type": "object"}, is_open=True)},
        "/v2/health/ready": {"get": _told("Whether it may be asked", {"type": "object"}, is_open=True)},
        model: {"get": _told("Metadata of the model", metadata)},
        f"{model}/ready": {"get": _told("Whether the model may be asked", {"type": "object"})},
        f"{model}/infer": {"post": post},
        f"{model}/versions/{{version}}": {"get": _versioned(_told("Metadata of one version", metadata), version)},
        f"{model}/versions/{{version}}/ready": {
            "get": _versioned(_told("Whether that version answers", {"type": "object"}), version)
        },
        f"{model}/versions/{{version}}/infer": {"post": _versioned(post, version)},
    }


def _invoking(contract: RequestContract, example: dict[str, Any]) -> Schema:
    rows = _rows(contract)
    values = {
        "type": "array",
        "prefixItems": [_field(one) for one in contract.fields.values()],
        "items": False,
        "minItems": len(contract.fields),
    }
    columns = {"const": list(contract.fields), "description": "In any order; `data` follows it."}
    split = _object(columns=columns, data={**rows, "items": values})
    forms = {"dataframe_split": split, "dataframe_records": rows, "instances": rows, "inputs": rows}
    body = {"oneOf": [_form(name, one) for name, one in forms.items()]}
    shown = {
        "by row": {"dataframe_records": [example]},
        "by column": {"dataframe_split": {"columns": list(example), "data": [list(example.values())]}},
    }
    reply = _object(predictions={"type": "array", "items": {"type": "number"}})
    return {"/invocations": {"post": _operation("Score in the forms of MLflow", body, shown, reply)}}


def _telling() -> Schema:
    version = _object(release={"type": ["integer", "null"]}, version={"type": ["integer", "null"]})
    plain = {"type": "object"}
    text = {"200": {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    return {
        "/version": {"get": _told("Release, model and rollout that answer", version)},
        "/livez": {"get": _told("Whether the process lives", plain, is_open=True)},
        "/readyz": {"get": _told("Whether it may be asked", plain, is_open=True)},
        "/ping": {"get": _told("Whether it may be asked, as MLflow asks", plain, is_open=True)},
        "/metrics": {
            "get": {**_told("Metrics for Prometheus", plain), "responses": {**text, **_refusals("401", "429")}}
        },
    }


def _operation(summary: str, body: Schema, examples: dict[str, Any], reply: Schema) -> Schema:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body, "examples": shown}}},
        "responses": {"200": _response("The answers", reply), **_refusals(*_PROBLEMS)},
    }


def _told(summary: str, reply: Schema, *, is_open: bool = False) -> Schema:
    refused = _refusals("503") if is_open else _refusals("401", "429", "503")
    security: Schema = {"security": []} if is_open else {}
    return {"summary": summary, "responses": {"200": _response(summary, reply), **refused}, **security}


def _versioned(operation: Schema, version: int | None) -> Schema:
    known: Schema = {"pattern": "^[0-9]{1,9}$"} if version is None else {"enum": [str(version)]}
    named = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", **known}}
    missing = {"404": _response("Another version answers", _ref("Problem"), "application/problem+json")}
    return {**operation, "parameters": [named], "responses": {**operation["responses"], **missing}}


def _refusals(*codes: str) -> Schema:
    return {code: _response(_PROBLEMS[code], _ref("Problem"), "application/problem+json") for code in codes}


def _response(description: str, schema: Schema, kind: str = "application/json") -> Schema:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _rows(contract: RequestContract) -> Schema:
    return {"type": "array", "items": _ref("Row"), "minItems": 1, "maxItems": contract.max_rows}


def _form(name: str, schema: Schema) -> Schema:
    form = _object(**{name: schema}) | {"additionalProperties": False}
    form["properties"]["params"] = {"description": "Is ignored."}
    return form


def _tensor(name: str, one: Field, max_rows: int) -> Schema:
    """A tensor of one field in JSON; that `data` has as many values as `shape` says, no schema can."""
    return _object(
        name={"const": name},
        shape={
            "type": "array",
            "prefixItems": [{"type": "integer", "minimum": 1, "maximum": max_rows}],
            "items": False,
            "minItems": 1,
        },
        datatype={"enum": sorted(tensors.ACCEPTED[one.column.type])},
        data={"type": "array", "items": _field(one), "minItems": 1, "maxItems": max_rows},
    )


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_ANSWER = _object(
    id={"type": "string"}, score={"type": "number"}, version={"type": "integer"}, release={"type": "integer"}
)
_TENSOR = _object(
    name={"type": "string"},
    shape={"type": "array", "items": {"type": "integer", "minimum": 0}},
    datatype={"enum": sorted(set(OUTPUTS.values()))},
) | {"description": f"Of the output {', '.join(OUTPUTS)}."}
_PROBLEM = {
    **_object(title={"type": "string"}, status={"type": "integer"}, detail={"type": "string"}),
    "description": "RFC 9457",
}

"""MLflow's `/invocations`: frames by column or by row, TensorFlow's `instances` and `inputs`, and CSV.

Python writes a missing number as `NaN`, which is no JSON; from these clients it is read as missing.
"""

import csv
import json
from collections.abc import Sequence
from typing import Any

import orjson

from serving.answers import Answer
from serving.messages import Asked, Request, Response, Row
from serving.problems import Refused, malformed
from serving.protocols.plain import require_json
from serving.request_contract import RequestContract, parse_json

CSV = b"text/csv"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_IGNORED = {"params"}


def read(request: Request, contract: RequestContract) -> Asked:
    """Read `POST /invocations`."""
    require_json(request, CSV)
    if request.content_type == CSV:
        return Asked(contract.read_texts(_csv(request.body, contract.max_rows)), _reply)
    content = _json(request.body)
    forms = [one for one in FORMS if one in content] if isinstance(content, dict) else []
    if len(forms) != 1 or content.keys() - {*forms, *_IGNORED}:
        raise malformed(f"The body is no JSON object with just one of {', '.join(f'`{one}`' for one in FORMS)}.")
    return Asked(_rows(forms[0], content[forms[0]], contract), _reply)


def _json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except Refused:
        if b"NaN" not in body:
            raise
    try:
        content = json.loads(body, parse_constant=_constant)
        if rb"\u" in body:
            json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no text
        return content
    except (ValueError, RecursionError):
        raise malformed("The body is no JSON in UTF-8, also when `NaN` is read as missing.") from None


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(name)


def _rows(form: str, content: Any, contract: RequestContract) -> list[Row]:
    if form == "dataframe_split":
        return contract.read_columns(_split(content, contract))
    if isinstance(content, dict):
        return _by_column(content, contract)
    if not isinstance(content, list):
        raise malformed(f"`{form}` is no list of objects and no object of lists.")
    return contract.read(content)


def _split(content: Any, contract: RequestContract) -> dict[str, Sequence[Any]]:
    columns, data = (content.get(one) for one in ("columns", "data")) if isinstance(content, dict) else (None, None)
    if not isinstance(columns, list) or not isinstance(data, list) or not all(isinstance(one, str) for one in columns):
        raise malformed("`dataframe_split` has no `columns` with names and `data` with one list per row.")
    if len(set(columns)) < len(columns):
        raise malformed("`dataframe_split` names a column twice.")
    contract.require_count(data)
    if not all(isinstance(one, list) and len(one) == len(columns) for one in data):
        raise malformed(f"A row of `dataframe_split` is no list of {len(columns)} values, one per column.")
    return dict(zip(columns, zip(*data, strict=True), strict=True))


def _by_column(content: dict[str, Any], contract: RequestContract) -> list[Row]:
    lengths = {len(one) for one in content.values() if isinstance(one, list)}
    if not lengths:
        return contract.read([content])
    if len(lengths) > 1 or not all(isinstance(one, list) for one in content.values()):
        raise malformed("The columns have different lengths, expected one value per row in each.")
    return contract.read_columns(content)


def _csv(body: bytes, max_rows: int) -> list[dict[str, str]]:
    try:
        lines = body.decode("utf-8-sig").splitlines()
        reader = csv.reader(lines, strict=True)
        columns = next(reader, [])
        data = [one for one, _ in zip(reader, range(max_rows + 1), strict=False) if one]
    except (UnicodeDecodeError, csv.Error) as error:
        raise malformed(f"The body is no CSV in UTF-8: {error}.") from None
    if len(set(columns)) < len(columns) or not all(len(one) == len(columns) for one in data):
        raise malformed("The CSV names a column twice, or a line has another number of values than the first.")
    return [dict(zip(columns, one, strict=True)) for one in data]


def _reply(answers: Sequence[Answer]) -> Response:
    return Response(orjson.dumps({"predictions": [one.score for one in answers]}))

"""The contract of requests: what is accepted, as which value, and that ingestion would accept it as the same."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.data.contract import RowContract
from perennial.source_spec import Source
from serving.openapi import row_schema
from serving.problems import Refused
from serving.request_contract import MOST_PER_KEY, RequestContract
from tests.builders import make_use_case

COLUMNS = {
    "seats": {"type": "integer", "min": 1, "max": 9, "nullable": True},
    "gift": {"type": "boolean", "nullable": True},
    "due": {"type": "timestamp", "nullable": True},
    "class": {"type": "string", "pattern": "[A-Z]{2}|\\d", "nullable": True},
}
NO_KEYS = ("price", "channel", "shop")
ROW = {"order_id": "x", "ordered_at": "2024-05-01T12:00:00Z", "price": 2.5, "channel": "app", "shop": "bonn"}
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Any:
    changes = {"sources": {"orders": {"columns": COLUMNS}}}
    return make_use_case(tmp_path_factory.mktemp("contract"), rows=5, months=["2024-01"], changes=changes).use_case


@pytest.fixture(scope="module")
def contract(source: Any) -> RequestContract:
    return RequestContract(source, max_rows=10)


def read(contract: RequestContract, **changes: Any) -> Any:
    """Read one row that is right but for some changes, as JSON."""
    return contract.decode(orjson.dumps(ROW | changes))[0][0]


def refused(contract: RequestContract, body: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        contract.decode(body)
    return caught.value


@pytest.mark.parametrize(
    ("field", "given_value", "expected"),
    [
        ("seats", 3, 3),
        ("seats", 3.0, 3),
        ("seats", None, None),
        ("price", 3, 3.0),
        ("price", 1e300, 1e300),
        ("gift", False, False),
        ("class", "AB", "AB"),
        ("channel", "pigeon", "pigeon"),
        ("due", "2024-05-01T12:00:00Z", NOON),
        ("due", "2024-05-01T12:00:00", NOON),
        ("due", "2024-05-01 12:00", NOON),
        ("due", "2024-05-01T14:00:00+02:00", NOON),
        ("due", "2024-05-01T12:00:00.1234567Z", NOON + timedelta(microseconds=123456)),
        ("due", "2024-05-01", datetime(2024, 5, 1, tzinfo=UTC)),
    ],
)
def test_a_value_is_read_as_declared(contract: RequestContract, field: str, given_value: Any, expected: Any) -> None:
    value = read(contract, **{field: given_value})[field]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("field", "given_value"),
    [
        *(("seats", one) for one in (0, 10, 3.5, "3", True, 2**63, 1e300, [], {})),
        *(("price", one) for one in (-0.01, None, "2", True, [1])),
        *(("gift", one) for one in (0, 1, "true")),
        *(("class", one) for one in ("AB\n", "ABC", "", 7)),
        *(("shop", one) for one in (None, 7, "x" * 4001)),
        *(("order_id", one) for one in (None,)),
        *(("due", one) for one in ("2024-02-30", "0000-01-01", "0001-01-01T00:00:00+14:00", "noon", 1714564800, "")),
        *(("due", one) for one in ("2024-05-01T23:59:60Z", "2024-W18-3", "20240501", "٢٠٢٤-05-01")),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(contract: RequestContract, field: str, given_value: Any) -> None:
    error = refused(contract, orjson.dumps(ROW | {field: given_value}))
    assert (error.status, [one.field for one in error.problems]) == (422, [field])


def test_there_is_no_negative_zero(contract: RequestContract) -> None:
    assert str(read(contract, price=-0.0)["price"]) == "0.0"
    assert str(contract.read([ROW | {"price": -0.0}])[0]["price"]) == "0.0"


def test_what_is_absent_and_nullable_is_none(contract: RequestContract) -> None:
    assert read(contract)["seats"] is None
    assert refused(contract, b"{}").problems[0].given == "nothing"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b""),
        (400, b"[]"),
        (400, b"7"),
        (400, b'{"rows": []}'),
        (400, b'{"rows": [7]}'),
        (400, b'{"rows": [{}], "more": 1}'),
        (400, b"[" * 100_000),
        (400, b'{"rows":' + b"[" * 100_000),
        (400, b'{"a":' * 100_000),
        (400, orjson.dumps(ROW).decode().encode("utf-16")),
        (400, orjson.dumps(ROW) + b"x"),
        (400, orjson.dumps(ROW).replace(b"2.5", b"NaN")),
        (400, orjson.dumps(ROW).replace(b"2.5", b"1" * 400)),
        (400, orjson.dumps(ROW).replace(b"2.5", b"1e999")),
        (400, orjson.dumps(ROW).replace(b"bonn", b"\\ud800")),
        (400, orjson.dumps(ROW).replace(b"bonn", b"\xff")),
        (422, orjson.dumps({"rows": [ROW] * 11})),
        (422, orjson.dumps(ROW).replace(b"2.5", b'"Infinity"')),
    ],
)
def test_hostile_bodies_are_refused(contract: RequestContract, status: int, body: bytes) -> None:
    assert refused(contract, body).status in {status, 422 if b"111" in body or b"1e999" in body else status}


def test_of_very_many_wrong_names_a_few_are_looked_at(contract: RequestContract) -> None:
    body = orjson.dumps({f"k{number}": 1 for number in range(1000)})
    assert "(24 more below" in refused(contract, body).detail
    assert len(refused(contract, b'{"' + b"k" * 100_000 + b'": 1}').problems[0].field) == 80


def test_a_byte_order_mark_is_no_part_of_the_body_and_of_a_doubled_name_the_last_counts(
    contract: RequestContract,
) -> None:
    assert contract.decode(b"\xef\xbb\xbf" + orjson.dumps(ROW))[0][0]["price"] == 2.5
    doubled = orjson.dumps(ROW)[:-1] + b',"price":4}'
    assert contract.decode(doubled)[0][0]["price"] == 4.0


def test_texts_of_csv_are_read_as_declared(contract: RequestContract) -> None:
    row = contract.read_texts([ROW | {"price": " 2.5 ", "seats": "3.0", "gift": "TRUE", "due": "NA", "class": ""}])[0]
    assert (row["price"], row["seats"], row["gift"], row["due"], row["class"]) == (2.5, 3, True, None, None)
    for text in ("nan", "inf", "x", "1e999", "0x1", "1_0", "٣", "1" * 401, "+", ".", "1e"):
        with pytest.raises(Refused):
            contract.read_texts([ROW | {"price": text}])


def test_unknown_categories_are_counted(contract: RequestContract) -> None:
    rows = [read(contract, channel="pigeon"), read(contract, channel="fax"), read(contract)]
    assert contract.unknown_categories(rows) == {"channel": 2}


def test_the_key_is_canonical(contract: RequestContract) -> None:
    assert contract.canonical_key(read(contract)) == '{"order_id":"x"}'


def test_different_rows_of_one_key_are_bounded_equal_ones_are_not(contract: RequestContract) -> None:
    rows = [read(contract, price=price) for price in range(MOST_PER_KEY + 1)]
    others = [read(contract, order_id=str(number)) for number in range(MOST_PER_KEY)]
    for some in (rows[1:] + others, rows[:1] * 1000, others):
        contract.require_few_per_key(some, [contract.canonical_key(one) for one in some])
    with pytest.raises(
        Refused, match=r'51 different rows with the key {"order_id":"x"}, expected at most 50'
    ) as caught:
        contract.require_few_per_key(rows + others, [contract.canonical_key(one) for one in rows + others])
    assert (caught.value.status, caught.value.reason) == (422, "rows")


def test_what_is_not_declared_is_ignored_where_deliveries_may_have_it(tmp_path: Path, source: Any) -> None:
    changes = {"sources": {"orders": {"columns": COLUMNS, "unexpected_columns": "ignore"}}}
    contract = RequestContract(make_use_case(tmp_path, rows=5, months=["2024-01"], changes=changes).use_case, 10)
    closed = RequestContract(source, 10)
    more = ROW | {"coupon": [1], "größe": None}
    assert read(contract, coupon=[1], seats=3.0) == read(closed, seats=3.0)
    assert contract.decode(orjson.dumps({"rows": [more]})) == closed.decode(orjson.dumps({"rows": [ROW]}))
    assert contract.read([more]) == closed.read([ROW])
    assert contract.read_columns({name: [value] for name, value in more.items()}) == closed.read([ROW])
    assert contract.read_texts([ROW | {"price": "2.5", "coupon": "1"}]) == closed.read([ROW])
    assert [one.field for one in refused(contract, orjson.dumps(more | {"price": -1})).problems] == ["price"]
    assert [one.field for one in refused(closed, orjson.dumps(more)).problems] == ["coupon", "größe"]
    assert [row_schema(one)["additionalProperties"] for one in (contract, closed)] == [True, False]


def test_columns_that_the_label_is_made_of_are_not_asked_for(tmp_path: Path) -> None:
    label = {"label": {"source": "orders", "value": "price > 50"}}
    use_case = make_use_case(tmp_path, rows=5, months=["2024-01"], changes=label).use_case
    assert set(RequestContract(use_case, 10).fields) == ROW.keys() - {"price"}


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 12), st.sampled_from([2**53, 2**63, -(2**70)]),
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([3.0, -0.0, 1e17]),
    st.text(max_size=4), st.sampled_from(["AB", "7", "٣", "2024-05-01", "2024-05-01T12:00:00.1234567+02:00"]),
    st.datetimes().map(datetime.isoformat),
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from([*COLUMNS, *ROW]), ANY, min_size=1, max_size=3))
def test_the_fast_way_reads_nothing_that_the_slow_way_reads_otherwise(
    contract: RequestContract, changes: dict[str, Any]
) -> None:
    row = ROW | changes
    try:
        slow: Any = contract._read_each([row], is_text=False)
    except Refused:
        slow = None
    for fast in (lambda: contract.decode(_json(row))[0], lambda: contract.read([row])):
        try:
            assert fast() == slow
        except Refused:
            assert slow is None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.dictionaries(st.sampled_from([*COLUMNS, *NO_KEYS]), ANY), min_size=20, max_size=40))
def test_ingestion_reads_accepted_rows_as_the_same_values(
    contract: RequestContract, source: Any, changes: list[dict[str, Any]]
) -> None:
    given_rows, accepted = [], []
    for one in changes:
        try:
            accepted += contract.read([ROW | one])
            given_rows.append({**dict.fromkeys(COLUMNS), **ROW, **one})
        except Refused:
            continue
    if accepted:
        judged = _ingested(source.sources["orders"], given_rows)
        unknown = contract.unknown_categories(accepted)
        told = {f"`{name}` is none of its values": rows for name, rows in unknown.items()}
        assert Counter(judged.complaints["row reason"]) == told
        assert judged.typed.select(list(contract.fields)).to_dicts() == accepted


def _ingested(source: Source, rows: list[dict[str, Any]]) -> Any:
    """Apply the contract of deliveries to the same values, each column as the type that its values have."""
    columns = {name: pl.Series(name, [one[name] for one in rows], strict=False) for name in source.columns}
    return RowContract(source, None).judge(pl.DataFrame(list(columns.values())), 0)


def _json(row: dict[str, Any]) -> bytes:
    import json

    return json.dumps(row).encode()

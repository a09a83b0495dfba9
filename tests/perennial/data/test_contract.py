from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from perennial.data.contract import REASON, ROW, InvalidContract, RowContract, difference_table, differences
from perennial.source_spec import Source
from tests.perennial.data.parcels import COLUMNS, JANUARY, SCHEMA, good_rows, with_values


def parcels(**changes: Any) -> Source:
    declared = {"read": {"csv": "x"}, "key": ["id"], "event_time": "sent_at", "columns": COLUMNS, **changes}
    return Source.model_validate(declared)


def problems(schema: pa.Schema, *, is_text: bool = False, **changes: Any) -> list[str]:
    return [str(one) for one in differences(parcels(**changes), schema, is_text=is_text)]


def reasons(rows: pa.Table, source: Source | None = None) -> dict[int, list[str]]:
    judged = RowContract(source or parcels(), JANUARY.end).judge(pl.DataFrame(rows), 1)
    found: dict[int, list[str]] = {}
    for row, reason in judged.complaints.select(ROW, REASON).iter_rows():
        found.setdefault(row, []).append(reason)
    return found


def test_columns_as_declared_differ_in_nothing() -> None:
    assert problems(SCHEMA) == []
    assert problems(pa.schema(list(SCHEMA)[::-1])) == []


def test_text_may_mean_any_type_where_the_source_gives_only_text() -> None:
    text = pa.schema([(name, pa.string()) for name in COLUMNS])
    assert problems(text, is_text=True) == []
    assert len(problems(text)) == 4


@pytest.mark.parametrize(
    ("column", "arrow", "fits"),
    [
        ("pieces", pa.int8(), True),
        ("pieces", pa.float64(), True),
        ("pieces", pa.null(), True),
        ("pieces", pa.string(), False),
        ("weight", pa.decimal128(9, 2), True),
        ("weight", pa.bool_(), False),
        ("sent_at", pa.timestamp("ns"), True),
        ("sent_at", pa.date32(), True),
        ("sent_at", pa.int64(), False),
        ("id", pa.int64(), False),
        ("fragile", pa.int64(), False),
        ("kind", pa.list_(pa.string()), False),
    ],
)
def test_a_type_fits_when_its_values_can_be_read_without_loss(column: str, arrow: pa.DataType, fits: bool) -> None:
    schema = SCHEMA.set(SCHEMA.get_field_index(column), pa.field(column, arrow))
    expected = [] if fits else [f"column `{column}` holds `{arrow}`, expected `{COLUMNS[column]['type']}`"]
    assert problems(schema) == expected


def test_a_missing_column_is_named() -> None:
    assert problems(SCHEMA.remove(2)) == ["column `weight` is missing"]


@pytest.mark.parametrize("name", ["Weight", "weight_kg", "w8", "mass"])
def test_a_renamed_column_gets_a_suggestion(name: str) -> None:
    renamed = SCHEMA.set(2, SCHEMA.field("weight").with_name(name))
    assert problems(renamed)[0] == f"column `weight` is missing (renamed to `{name}`?)"
    assert problems(renamed)[1:] == [f"column `{name}` is not declared"]
    assert len(problems(renamed, unexpected_columns="ignore")) == 1


def test_a_column_that_comes_twice_is_refused() -> None:
    assert problems(SCHEMA.append(SCHEMA.field("kind"))) == ["column `kind` comes 2 times"]


def test_an_unexpected_column_is_refused_unless_ignored() -> None:
    more = SCHEMA.append(pa.field("colour", pa.list_(pa.string())))
    assert problems(more) == ["column `colour` is not declared"]
    assert problems(more, unexpected_columns="ignore") == []


def test_differences_are_shown_as_a_table() -> None:
    changed = SCHEMA.set(2, pa.field("mass", pa.float32())).set(0, pa.field("id", pa.int64()))
    assert difference_table(differences(parcels(), changed, is_text=False)).splitlines() == [
        "column  declared  received",
        "id      string    int64",
        "weight  number",
        "mass              float",
    ]


def test_good_rows_have_no_reasons() -> None:
    assert reasons(good_rows(100)) == {}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("id", None, "`id` is null"),
        ("sent_at", None, "`sent_at` is null"),
        ("sent_at", JANUARY.end, "`sent_at` after the end of its period"),
        ("weight", None, "`weight` is null"),
        ("weight", -0.01, "`weight` below 0"),
        ("weight", 100.5, "`weight` above 100"),
        ("weight", float("nan"), "`weight` is not finite"),
        ("weight", float("-inf"), "`weight` is not finite"),
        ("kind", "BOX", "`kind` is none of its values"),
        ("kind", "", "`kind` is none of its values"),
    ],
)
def test_each_fault_of_a_row_has_its_reason(column: str, value: Any, reason: str) -> None:
    found = reasons(with_values(good_rows(9), column, {4: value}))
    assert list(found) == [5]
    assert reason in found[5]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("weight", 0.0),
        ("weight", 100.0),
        ("pieces", None),
        ("fragile", None),
        ("sent_at", datetime(2023, 1, 1, tzinfo=UTC)),
        ("sent_at", JANUARY.end - timedelta(microseconds=1)),
    ],
)
def test_values_at_the_bounds_and_late_rows_are_good(column: str, value: Any) -> None:
    assert reasons(with_values(good_rows(9), column, {4: value})) == {}


def test_a_value_that_cannot_be_read_is_not_called_null() -> None:
    text = pa.table({name: ["?"] for name in COLUMNS})
    assert reasons(text) == {
        1: [
            "`sent_at` is not a timestamp",
            "`weight` is not a number",
            "`pieces` is not an integer",
            "`kind` is none of its values",
            "`fragile` is not a boolean",
        ]
    }


def test_keys_and_times_are_never_null_whatever_is_declared() -> None:
    nullable = {name: {**column, "nullable": True} for name, column in COLUMNS.items()}
    empty = pa.table({name: pa.nulls(1, field.type) for name, field in zip(SCHEMA.names, SCHEMA, strict=True)})
    assert reasons(empty, parcels(columns=nullable)) == {1: ["`id` is null", "`sent_at` is null"]}


@pytest.mark.parametrize(
    ("value", "fits"), [("p12", True), ("p1", True), ("p1x", False), ("xp1", False), ("p1\n", False)]
)
def test_a_pattern_is_of_the_whole_text(value: str, fits: bool) -> None:
    source = parcels(columns=COLUMNS | {"id": {"type": "string", "pattern": r"p\d|p\d\d"}})
    found = reasons(with_values(good_rows(1), "id", {0: value}), source)
    assert found == ({} if fits else {1: ["`id` does not match its pattern"]})


def test_a_pattern_that_the_engine_cannot_match_is_an_error_and_not_a_verdict() -> None:
    source = parcels(columns=COLUMNS | {"id": {"type": "string", "pattern": r"(?!p)."}})
    with pytest.raises(InvalidContract, match="could not be carried out on `id`"):
        reasons(good_rows(1), source)


def test_a_row_is_known_when_declared_or_after_its_delay_or_always() -> None:
    rows = pl.DataFrame(good_rows(1))
    late = RowContract(parcels(known_after="2d"), JANUARY.end).judge(rows, 1).typed
    assert late["known_at"][0] - late["event_time"][0] == timedelta(days=2)
    columns = COLUMNS | {"told_at": {"type": "timestamp"}}
    before = rows.with_columns(told_at=pl.col("sent_at") - timedelta(days=1))
    told = RowContract(parcels(columns=columns, known_at="told_at"), JANUARY.end).judge(before, 1)
    assert told.typed["known_at"].equals(before["told_at"].alias("known_at"))
    assert told.complaints.is_empty()
    always = RowContract(parcels(event_time=None), None).judge(rows, 1).typed
    assert always.select("event_time", "known_at").row(0) == (None, datetime(1970, 1, 1, tzinfo=UTC))


def test_a_column_may_itself_be_called_event_time() -> None:
    columns = {"id": {"type": "string"}, "event_time": {"type": "timestamp"}}
    source = parcels(columns=columns, event_time="event_time")
    rows = pl.DataFrame(good_rows(2)).select("id", pl.col("sent_at").alias("event_time"))
    assert RowContract(source, JANUARY.end).judge(rows, 1).typed.columns == [ROW, "id", "event_time", "known_at"]

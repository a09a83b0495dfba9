import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from perennial.data.casting import TYPES, cast


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        (" -3 ", -3),
        ("3.0", 3),
        ("1e3", 1000),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("3.5", None),
        ("inf", None),
        ("1_000", None),
        ("three", None),
        ("", None),
    ],
)
def test_whole_numbers_are_read_exactly_or_not_at_all(text: str, value: int | None) -> None:
    assert cast(pl.Series([text, "7"]), "integer").to_list() == [value, 7]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2013-02-28", datetime(2013, 2, 28, tzinfo=UTC)),
        ("2013-02-28 05:06", datetime(2013, 2, 28, 5, 6, tzinfo=UTC)),
        ("2013-02-28T05:06:07", datetime(2013, 2, 28, 5, 6, 7, tzinfo=UTC)),
        ("2013-02-28 05:06:07.25Z", datetime(2013, 2, 28, 5, 6, 7, 250_000, tzinfo=UTC)),
        ("2013-02-28T05:06:07+02:00", datetime(2013, 2, 28, 3, 6, 7, tzinfo=UTC)),
        ("2013-02-28 05:06:07-0330", datetime(2013, 2, 28, 8, 36, 7, tzinfo=UTC)),
        ("2013-02-28 05:06:07+02", datetime(2013, 2, 28, 3, 6, 7, tzinfo=UTC)),
        ("2013-02-30", None),
        ("28.02.2013", None),
        ("0000-01-01", None),
        ("1362027967", None),
    ],
)
def test_times_are_read_as_iso_8601_in_utc(text: str, value: datetime | None) -> None:
    assert cast(pl.Series([text]), "timestamp").to_list() == [value]


@pytest.mark.parametrize("kind", [pl.Datetime("ns"), pl.Datetime("ms"), pl.Datetime("us", "Europe/Berlin"), pl.Date])
def test_times_of_any_unit_and_zone_become_microseconds_in_utc(kind: Any) -> None:
    read = cast(pl.Series([datetime(2013, 2, 28)]).cast(pl.Datetime("us")).cast(kind), "timestamp")  # noqa: DTZ001
    assert read.dtype == TYPES["timestamp"]
    assert read[0] == datetime(2013, 2, 28, tzinfo=UTC)


def test_times_outside_the_calendar_are_not_times() -> None:
    assert cast(pl.Series([2**62, -(2**62), 0]).cast(pl.Datetime("ms")), "timestamp").null_count() == 2
    assert cast(pl.Series([2**62]).cast(pl.Datetime("us")), "timestamp").null_count() == 1


def test_numbers_may_be_infinite_but_have_no_negative_zero() -> None:
    read = cast(pl.Series(["-0.0", "inf", "nan", "x", "1e400"]), "number").to_list()
    assert math.copysign(1, read[0]) == 1
    assert read[1] == math.inf
    assert math.isnan(read[2])
    assert read[3:] == [None, math.inf]


@pytest.mark.parametrize(
    ("values", "declared", "read"),
    [
        ([1.0, 2.5, math.nan, math.inf, None], "integer", [1, None, None, None, None]),
        ([Decimal("2.00"), Decimal("2.50")], "integer", [2, None]),
        ([Decimal("2.50")], "number", [2.5]),
        ([1, None], "number", [1.0, None]),
        (["TRUE", "0", "yes", None], "boolean", [True, False, None, None]),
        ([True, None], "boolean", [True, None]),
        ([None], "timestamp", [None]),
        (["  kept "], "string", ["  kept "]),
        ([date(9999, 12, 30)], "timestamp", [datetime(9999, 12, 30, tzinfo=UTC)]),
    ],
)
def test_values_are_read_as_declared(values: list[Any], declared: str, read: list[Any]) -> None:
    assert cast(pl.Series(values), declared).to_list() == read


@pytest.mark.parametrize("declared", TYPES)
def test_the_type_is_as_declared_even_without_values(declared: str) -> None:
    for empty in (pl.Series([], dtype=pl.String), pl.Series([None, None])):
        assert cast(empty, declared).dtype == TYPES[declared]

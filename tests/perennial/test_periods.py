"""The calendar of deliveries and the durations of declarations."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.periods import Every, InvalidPeriod, Period, format_duration, parse_duration, periods_between

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
lengths = st.sampled_from(Every)


@pytest.mark.parametrize(
    ("label", "start", "end", "every"),
    [
        ("2013", datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC), Every.YEAR),
        ("2013-12", datetime(2013, 12, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC), Every.MONTH),
        ("2012-02", datetime(2012, 2, 1, tzinfo=UTC), datetime(2012, 3, 1, tzinfo=UTC), Every.MONTH),
        ("2012-02-29", datetime(2012, 2, 29, tzinfo=UTC), datetime(2012, 3, 1, tzinfo=UTC), Every.DAY),
        ("2013-03-31", datetime(2013, 3, 31, tzinfo=UTC), datetime(2013, 4, 1, tzinfo=UTC), Every.DAY),
    ],
)
def test_a_label_names_a_span_of_utc(label: str, start: datetime, end: datetime, every: Every) -> None:
    period = Period.parse(label)
    assert (period.start, period.end, period.every, str(period)) == (start, end, every, label)


@pytest.mark.parametrize(
    "label", ["", "13", "2013-13", "2013-02-29", "2013-2-1", "2013/02", "2013-02 ", "whole", "2013-0b"]
)
def test_another_text_is_no_period(label: str) -> None:
    with pytest.raises(InvalidPeriod, match="expected a year `2013`, a month `2013-02` or a day `2013-02-28`"):
        Period.parse(label)


@given(moments, lengths)
def test_every_moment_lies_in_exactly_one_period(moment: datetime, every: Every) -> None:
    period = Period.containing(moment, every)
    assert period.start <= moment < period.end
    assert Period.containing(period.end, every) == period.next()
    assert period.next().previous() == period
    assert period.next().start == period.end


def test_a_moment_is_taken_in_utc_wherever_it_was_written() -> None:
    late_in_new_york = datetime(2013, 1, 31, 20, tzinfo=timezone(timedelta(hours=-5)))
    assert str(Period.containing(late_in_new_york, Every.MONTH)) == "2013-02"


def test_periods_between_touch_the_span_and_no_more() -> None:
    start, end = datetime(2013, 11, 15, tzinfo=UTC), datetime(2014, 2, 1, tzinfo=UTC)
    assert [str(one) for one in periods_between(start, end, Every.MONTH)] == ["2013-11", "2013-12", "2014-01"]
    assert periods_between(start, start, Every.MONTH) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", timedelta(seconds=90)), ("15m", timedelta(minutes=15)), ("36h", timedelta(hours=36)),
     ("30d", timedelta(days=30)), ("8w", timedelta(weeks=8)), ("0s", timedelta())],
)  # fmt: skip
def test_durations_are_whole_numbers_with_a_unit(text: str, value: timedelta) -> None:
    assert parse_duration(text) == value
    assert parse_duration(value) is value


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "30 d", "1y", 30, None, "1d2h"])
def test_another_value_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@given(st.integers(0, 10**7).map(lambda seconds: timedelta(seconds=seconds)))
def test_a_written_duration_is_read_as_it_was(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == value

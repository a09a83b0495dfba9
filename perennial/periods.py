"""Periods and durations: the calendar of deliveries, always in UTC; it never reads the clock.

A period is written as people write it: `2013`, `2013-02`, `2013-02-28`. Its end is exclusive.
"""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from perennial.errors import Permanent


class Every(StrEnum):
    """How long a period is."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class InvalidPeriod(Permanent):
    """The text is no period."""


class Window(BaseModel):
    """A span of event time, UTC, from `start` up to but not including `end`."""

    model_config = ConfigDict(frozen=True)
    start: datetime
    end: datetime


_FORMS = {Every.YEAR: "%Y", Every.MONTH: "%Y-%m", Every.DAY: "%Y-%m-%d"}
_LENGTHS = {4: Every.YEAR, 7: Every.MONTH, 10: Every.DAY}


class Period(Window):
    """One calendar day, month or year in UTC, known by its label."""

    label: str

    def __str__(self) -> str:
        return self.label

    @classmethod
    def parse(cls, label: str) -> "Period":
        """Read `2013`, `2013-02` or `2013-02-28`.

        Raises:
            InvalidPeriod: The label has another form or names no date.
        """
        every = _LENGTHS.get(len(label))
        try:
            start = datetime.strptime(label, _FORMS[every]).replace(tzinfo=UTC)  # type: ignore[index]
        except (KeyError, ValueError):
            raise InvalidPeriod(
                f"`{label}` is no period: expected a year `2013`, a month `2013-02` or a day `2013-02-28`."
            ) from None
        return cls(label=label, start=start, end=_start_of_next(start, _LENGTHS[len(label)]))

    @classmethod
    def containing(cls, moment: datetime, every: Every) -> "Period":
        """Return the period of that length in which a moment lies."""
        return cls.parse(moment.astimezone(UTC).strftime(_FORMS[every]))

    @property
    def every(self) -> Every:
        return _LENGTHS[len(self.label)]

    def next(self) -> "Period":
        """Return the period that begins where this one ends."""
        return Period.containing(self.end, self.every)

    def previous(self) -> "Period":
        """Return the period that ends where this one begins."""
        return Period.containing(self.start - timedelta(microseconds=1), self.every)


def periods_between(start: datetime, end: datetime, every: Every) -> list[Period]:
    """Return the periods that touch [start, end), oldest first."""
    periods: list[Period] = []
    period = Period.containing(start, every)
    while start < end and period.start < end:
        periods.append(period)
        period = period.next()
    return periods


def _start_of_next(start: datetime, every: Every) -> datetime:
    if every is Every.DAY:
        return start + timedelta(days=1)
    if every is Every.MONTH:
        return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return start.replace(year=start.year + 1)


_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: object) -> timedelta:
    """Read `50ms`, `90s`, `15m`, `6h`, `30d` or `8w`; a timedelta passes unchanged.

    Raises:
        ValueError: Anything else (pydantic turns it into an error with its place).
    """
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"(\d+)(ms|[smhdw])", value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"`{value}` is no duration: write a whole number and a unit, as in `90s`, `6h`, `30d`")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def format_duration(value: timedelta) -> str:
    """Write a duration in the largest unit that holds it exactly: `30d`, `36h`, `90s`."""
    seconds, rest = divmod(value, timedelta(seconds=1))
    if rest:
        return f"{value // timedelta(milliseconds=1)}ms"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration, json_schema_input_type=str),
    PlainSerializer(format_duration, return_type=str),
]

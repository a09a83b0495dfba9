"""How one value of a request is read as its declared type; whole rows are the business of `request_contract`.

What it accepts is a part of what ingestion accepts, read as the same value, so that a row means the same online and
in a delivery. Texts that stand for numbers are read only where everything is text, as in CSV.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from perennial.source_spec import Column

MAX_TEXT = 4000
"""Characters of a text; more is no category, key or time, and patterns take long on it."""
MAX_DIGITS = 400
"""Characters of a number that is written as text."""
NULL_TEXTS = ("", "NA")
"""What is missing where everything is text, as ingestion has it by default."""
TIME_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$"
)
_TIME = re.compile(TIME_PATTERN.removeprefix("^").removesuffix("$"))
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "1": True, "0": False}
_INTEGERS = (-(2**63), 2**63 - 1)
_NUMBERS = (-1.7976931348623157e308, 1.7976931348623157e308)


class Unreadable(ValueError):
    """The value is not what the field expects."""


class Field:
    """One declared column as a field of requests."""

    def __init__(self, name: str, column: Column, *, is_nullable: bool) -> None:
        self.name = name
        self.column = column
        self.is_nullable = is_nullable
        self.low, self.high = _bounds(column)
        self.pattern = re.compile(rf"\A(?:{column.pattern})\Z") if column.pattern else None
        self.expected = _described(column) + (", or null" if is_nullable else "")
        self._read: Callable[[Any], Any] = getattr(self, f"_{column.type}")

    def read(self, value: Any) -> Any:
        """Return a value of JSON as the declared type.

        Raises:
            Unreadable: It is none.
        """
        if value is None:
            if not self.is_nullable:
                raise Unreadable
            return None
        return self._read(value)

    def read_text(self, text: str) -> Any:
        """Return a text of CSV as the declared type; an empty one and `NA` are missing."""
        if text in NULL_TEXTS:
            return self.read(None)
        kind, bare = self.column.type, text.strip()
        try:
            if kind == "boolean":
                return _WORDS[bare.lower()]
            if kind in ("integer", "number"):
                return self._read(_number(bare, kind))
            return self._read(bare if kind == "timestamp" else text)
        except (KeyError, ValueError) as error:
            raise Unreadable from error

    @property
    def type(self) -> Any:
        """The type that msgspec checks by, at least as strict as `read`; a time stays text for `read_time`."""
        match self.column.type:
            case "integer":
                kind: Any = Annotated[int, msgspec.Meta(ge=int(self.low), le=int(self.high))]
            case "number":
                kind = Annotated[float, msgspec.Meta(ge=self.low, le=self.high)]
            case "boolean":
                kind = bool
            case _:
                pattern = self.pattern.pattern if self.pattern else None
                kind = Annotated[str, msgspec.Meta(max_length=MAX_TEXT, pattern=pattern)]
        return kind | None if self.is_nullable else kind

    def _string(self, value: Any) -> str:
        if not isinstance(value, str) or len(value) > MAX_TEXT or (self.pattern and not self.pattern.match(value)):
            raise Unreadable
        return value

    def _integer(self, value: Any) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if type(value) is not int or not self.low <= value <= self.high:
            raise Unreadable
        return value

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise Unreadable
        return float(value) + 0.0  # no -0.0

    def _boolean(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise Unreadable
        return value

    def _timestamp(self, value: Any) -> datetime:
        if not isinstance(value, str):
            raise Unreadable
        return read_time(value)


def read_time(text: str) -> datetime:
    """Read a time of ISO 8601 as UTC; one without a zone is UTC, digits beyond microseconds are dropped.

    Raises:
        Unreadable: It is no such time, or lies before year 1 in UTC.
    """
    if not _TIME.fullmatch(text):
        raise Unreadable
    try:
        read = datetime.fromisoformat(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Unreadable from error


def _number(text: str, kind: str) -> float:
    """Python alone would also read `1_0`, other scripts' digits and thousands of them."""
    if len(text) > MAX_DIGITS or not _NUMBER.fullmatch(text):
        raise Unreadable
    is_whole = kind == "integer" and text.lstrip("+-").isdigit()
    return int(text) if is_whole else float(text)


def _bounds(column: Column) -> tuple[float, float]:
    low, high = (-math.inf if column.min is None else column.min), (math.inf if column.max is None else column.max)
    if column.type == "integer":
        return (
            max(_INTEGERS[0], math.ceil(low) if math.isfinite(low) else _INTEGERS[0]),
            min(_INTEGERS[1], math.floor(high) if math.isfinite(high) else _INTEGERS[1]),
        )
    return max(_NUMBERS[0], low), min(_NUMBERS[1], high)


def _described(column: Column) -> str:
    match column.type:
        case "integer" | "number":
            limits = [
                f"{word} {limit:.15g}"
                for word, limit in (("from", column.min), ("to", column.max))
                if limit is not None
            ]
            return " ".join([f"{'an' if column.type == 'integer' else 'a'} {column.type}", *limits])
        case "boolean":
            return "true or false"
        case "timestamp":
            return "a time such as 2024-05-01T16:30:00Z"
        case _:
            matching = f" that matches `{column.pattern}`" if column.pattern else ""
            return f"a text{matching} of at most {MAX_TEXT} characters"

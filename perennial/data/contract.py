"""What is wrong with the columns and the rows of a delivery, by the declaration of its source.

This is the only module that imports pandera, and it sees one chunk of rows at a time: what concerns
a whole delivery, such as a key that comes twice, is the business of `inspection`.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from perennial.data.casting import TIME, TYPES, cast
from perennial.errors import Permanent
from perennial.source_spec import Column, Source, whole

ROW = "row number"
REASON = "row reason"
EXAMPLES = 3
ALWAYS_KNOWN = datetime(1970, 1, 1, tzinfo=UTC)
"""`known_at` of the rows of a reference source."""

_UNREAD = " cannot be read"
_UNREADABLE = {name: f"is not {'an' if name == 'integer' else 'a'} {name}" for name in TYPES}
_PLACE = ("column", "check", "index")
_CASES = {"column": pl.String, "check": pl.String, "index": pl.Int64}


class InvalidContract(Permanent):
    """The declaration of a source asks for a check that cannot be carried out."""


@dataclass(frozen=True)
class Difference:
    """One column that is not as declared."""

    column: str
    declared: str
    received: str
    problem: str

    def __str__(self) -> str:
        return f"column `{self.column}` {self.problem}"


def differences(source: Source, schema: pa.Schema, *, is_text: bool) -> list[Difference]:
    """Return what a contract says against the columns of a delivery, declared columns first.

    The order of columns does not matter, and neither does a type that can be read without loss, such as whole
    numbers where numbers are declared.

    Args:
        source: What is declared.
        schema: What came.
        is_text: Whether the source gives every value as text, so that types say nothing.
    """
    counts = Counter(schema.names)
    found = []
    for name, column in source.columns.items():
        if counts[name] == 0:
            found.append(Difference(name, column.type, "", "is missing" + _renamed(name, source, schema.names)))
        elif counts[name] > 1:
            found.append(Difference(name, column.type, f"{counts[name]} times", f"comes {counts[name]} times"))
        elif not _can_be(schema.field(name).type, column.type, is_text):
            kind = str(schema.field(name).type)
            found.append(Difference(name, column.type, kind, f"holds `{kind}`, expected `{column.type}`"))
    if source.unexpected_columns == "refuse":
        unexpected = [name for name in counts if name not in source.columns]
        found += [
            Difference(name, "", str(schema.types[schema.names.index(name)]), "is not declared") for name in unexpected
        ]
    return found


def difference_table(found: Sequence[Difference]) -> str:
    """Write differences as a table of text, one line each."""
    rows = [("column", "declared", "received"), *((one.column, one.declared, one.received) for one in found)]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


@dataclass(frozen=True)
class JudgedRows:
    """A chunk of rows after its contract was applied."""

    typed: pl.DataFrame
    """`row number`, the declared columns as declared types (null where unreadable), `event_time`, `known_at`."""
    complaints: pl.DataFrame
    """`row number` and `row reason`: no line for a good row, several for a bad one that has several reasons."""

    examples: dict[str, list[str]]
    """A few of the offending values as they came, by reason."""


class RowContract:
    """The contract of single rows: a pandera schema built once and applied to chunk after chunk."""

    def __init__(self, source: Source, end: datetime | None) -> None:
        """Build the schema.

        Args:
            source: What is declared.
            end: End of the delivery's period, before which its rows must have happened.
        """
        from pandera.polars import Column as Checked
        from pandera.polars import DataFrameSchema

        self._source = source
        self._schema = DataFrameSchema(
            {
                name: Checked(TYPES[column.type], nullable=True, checks=_checks(source, name, column, end))
                for name, column in source.columns.items()
            }
        )

    def judge(self, rows: pl.DataFrame, first: int) -> JudgedRows:
        """Apply the contract to rows, of which the first has a number in the delivery.

        Raises:
            InvalidContract: A check of the declaration could not be carried out.
        """
        numbers = pl.int_range(first, first + rows.height, dtype=pl.Int64, eager=True).alias(ROW)
        typed = pl.DataFrame([cast(rows[name], column.type) for name, column in self._source.columns.items()])
        unread = [(rows[one.name].is_not_null() & one.is_null()).alias(one.name + _UNREAD) for one in typed]
        cases = self._cases(typed.with_columns(unread))
        complaints = cases.select((pl.col("index") + first).alias(ROW), pl.col("check").alias(REASON))
        return JudgedRows(
            typed.insert_column(0, numbers).with_columns(self._times(typed)), complaints, _examples(cases, rows)
        )

    def _cases(self, frame: pl.DataFrame) -> pl.DataFrame:
        from pandera.errors import SchemaErrors

        try:
            self._schema.validate(frame, lazy=True)
            return pl.DataFrame(schema=_CASES)
        except SchemaErrors as errors:
            cases: pl.DataFrame = errors.failure_cases
        broken = cases.filter(pl.col("index").is_null())
        if broken.height:
            column, check, problem = broken.select("column", "check", "failure_case").row(0)
            raise InvalidContract(
                f"The check of {check} could not be carried out on `{column}`: {problem}. Correct it."
            )
        return cases.select(pl.col(name).cast(kind) for name, kind in _CASES.items())

    def _times(self, frame: pl.DataFrame) -> list[pl.Series]:
        source = self._source
        if source.event_time is None:
            return [
                pl.Series("event_time", [None] * frame.height, dtype=TIME),
                pl.Series("known_at", [ALWAYS_KNOWN] * frame.height, dtype=TIME),
            ]
        event_time = frame[source.event_time]
        known_at = frame[source.known_at] if source.known_at else event_time + source.known_after
        return [event_time.alias("event_time"), known_at.alias("known_at")]


def _checks(source: Source, name: str, column: Column, end: datetime | None) -> list[Any]:
    from pandera.polars import Check

    def check(reason: str, holds: Callable[[pl.Expr], pl.Expr]) -> Any:
        return Check(lambda data: data.lazyframe.select(holds(pl.col(data.key))), error=f"`{name}` {reason}")

    unread = pl.col(name + _UNREAD)
    checks = [check(_UNREADABLE[column.type], lambda value: ~unread)]
    if not column.nullable or name in {*source.key, source.event_time, source.known_at}:
        checks.append(check("is null", lambda value: value.is_not_null() | unread))
    if column.type == "number":
        checks.append(check("is not finite", lambda value: value.is_finite()))
    if column.type in ("integer", "number"):
        if column.min is not None:
            checks.append(Check.ge(column.min, error=f"`{name}` below {column.min:.15g}"))
        if column.max is not None:
            checks.append(Check.le(column.max, error=f"`{name}` above {column.max:.15g}"))
    if column.values is not None:
        allowed = list(column.values)
        checks.append(check("is none of its values", lambda value: value.is_in(allowed)))
    if column.pattern is not None:
        pattern = whole(column.pattern)
        checks.append(check("does not match its pattern", lambda value: value.str.contains(pattern)))
    if end is not None and name == source.event_time:
        checks.append(check("after the end of its period", lambda value: value < pl.lit(end)))
    return checks


def _examples(cases: pl.DataFrame, rows: pl.DataFrame) -> dict[str, list[str]]:
    """Return by reason some of the values as they came."""
    found: dict[str, list[str]] = {}
    for column, reason, index in (
        cases.group_by("check", maintain_order=True).head(EXAMPLES).select(*_PLACE).iter_rows()
    ):
        value = rows[column][index]
        if value is not None and str(value) not in found.setdefault(reason, []):
            found[reason].append(str(value))
    return found


def _renamed(name: str, source: Source, received: list[str]) -> str:
    missing = [one for one in source.columns if one not in received]
    unexpected = {one.lower(): one for one in received if one not in source.columns}
    close = difflib.get_close_matches(name.lower(), list(unexpected), n=1, cutoff=0.6)
    if not close and len(missing) == len(unexpected) == 1:
        close = list(unexpected)
    return f" (renamed to `{unexpected[close[0]]}`?)" if close else ""


def _can_be(kind: pa.DataType, declared: str, is_text: bool) -> bool:
    types = pa.types
    if types.is_null(kind) or (is_text and types.is_string(kind)):
        return True
    match declared:
        case "string":
            return bool(types.is_string(kind))
        case "integer" | "number":
            return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))
        case "boolean":
            return bool(types.is_boolean(kind))
        case _:
            return bool(types.is_timestamp(kind) or types.is_date(kind))

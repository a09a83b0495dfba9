"""What `use_case.yaml` may say of a source: how it is read, its key, its times and its contract.

`use_case` says the rest. Durations are written `30d`, `6h`; paths are relative to the folder `use_cases/`.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator

from perennial.digests import digest_json
from perennial.periods import Duration, parse_duration

_COLUMN = r"^[A-Za-z_][A-Za-z0-9_]*$"
Name = Annotated[str, StringConstraints(pattern=_COLUMN, max_length=63)]
Share = Annotated[float, Field(ge=0, le=1)]
Scalar = bool | int | float | str


class Section(BaseModel):
    """A closed, frozen part of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Column(Section):
    """What one column of a source must hold."""

    type: Literal["string", "integer", "number", "boolean", "timestamp"]
    nullable: bool = False
    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] | None = None
    """The only strings allowed."""
    pattern: str | None = None
    """Regular expression that the whole string must match."""
    description: str = ""


def whole(pattern: str) -> str:
    """Write a pattern so that the whole text must match it."""
    return f"^(?:{pattern})$"


class Volume(Section):
    """How many rows a delivery may have."""

    min_rows: int = Field(1, ge=0)
    max_rows: int | None = Field(None, ge=1)


class PythonRead(Section):
    """Rows from a Python adapter: `file.py:function` below `use_cases/`, called with a window, giving Arrow data."""

    python: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*\.py:[A-Za-z_]\w*$")


class CsvRead(Section):
    """Rows of CSV files: a path, glob or object store URL; `{period}` stands for the period."""

    csv: str
    delimiter: str = ","
    null_values: tuple[str, ...] = ("", "NA")


class ParquetRead(Section):
    """Rows of Parquet files: a path, glob or object store URL; `{period}` stands for the period."""

    parquet: str


class SqlRead(Section):
    """Rows of a database query; the URL may name environment variables as `${NAME}`."""

    sql: str
    """SQLAlchemy URL."""
    query: str
    """A SELECT that may use `:start` and `:end`, the bounds of the period. Times without a zone are UTC, whatever zone
    the database's sessions begin in."""


READERS = {"python": PythonRead, "csv": CsvRead, "parquet": ParquetRead, "sql": SqlRead}


def _way_to_read(value: object) -> str | None:
    if isinstance(value, dict):
        return next((kind.__name__ for key, kind in READERS.items() if key in value), None)
    return type(value).__name__


Read = Annotated[
    Annotated[PythonRead, Tag("PythonRead")]
    | Annotated[CsvRead, Tag("CsvRead")]
    | Annotated[ParquetRead, Tag("ParquetRead")]
    | Annotated[SqlRead, Tag("SqlRead")],
    Discriminator(
        _way_to_read,
        custom_error_type="read",
        custom_error_message="must have one of the keys `python`, `csv`, `parquet`, `sql`",
    ),
]


class Source(Section):
    """Where rows come from, what identifies them, when they happened and when they became known."""

    read: Read
    key: tuple[Name, ...] = Field(min_length=1)
    event_time: Name | None = None
    """Column with the time a row happened; without it the source is a reference table, delivered whole."""
    known_at: Name | None = None
    """Column with the time a row became known; by default its event time plus `known_after`."""
    known_after: Duration = parse_duration("0s")
    columns: dict[Name, Column] = Field(min_length=1)
    unexpected_columns: Literal["refuse", "ignore"] = "refuse"
    volume: Volume = Volume()
    tolerance: Share = 0.01
    """Share of rows that may be quarantined; above it the delivery is refused whole."""
    freshness: Duration | None = None
    """How far before the end of its period the newest row of a delivery may lie."""

    @property
    def is_reference(self) -> bool:
        """True for a table without time, such as one of airports."""
        return self.event_time is None

    @property
    def contract_digest(self) -> str:
        """Digest of all that decides whether a row is accepted."""
        return digest_json(self.model_dump(mode="json", exclude={"read"}))

    @model_validator(mode="after")
    def _names_its_columns(self) -> Self:
        named = [*self.key, *filter(None, (self.event_time, self.known_at))]
        missing = [name for name in named if name not in self.columns]
        if missing:
            raise ValueError(f"`{missing[0]}` is used as key or time but is not declared under `columns`")
        for name in filter(None, (self.event_time, self.known_at)):
            if self.columns[name].type != "timestamp":
                raise ValueError(f"`{name}` is used as a time, so its type must be `timestamp`")
        if self.is_reference and self.known_at:
            raise ValueError("`known_at` needs `event_time`")
        return self

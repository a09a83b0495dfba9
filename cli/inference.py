"""What the columns of a CSV file hold: the types that ingestion will read them as, and the values that do not fit.

It guesses types and nothing else; what becomes key, time or feature is for `scaffold`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from perennial.data.casting import TIME, cast
from perennial.settings import Settings
from perennial.source_spec import CsvRead

_TYPES = ("integer", "number", "boolean", "timestamp")
_MISFITS = 0.01
"""Share of values that may miss the type of their column; ingestion puts such rows into quarantine."""


@dataclass(frozen=True)
class Found:
    """What one column of the CSV holds."""

    name: str
    type: str
    nullable: bool
    distinct: int
    low: float | None
    high: float | None
    """Of its finite numbers."""
    misfits: int = 0
    """How many values are there but not of its type."""
    first_misfit: str = ""
    """The first of them with its row: "row 2,001 has `many`"."""


def read_texts(csv: Path, settings: Settings) -> pl.DataFrame:
    """Read a CSV file with every column as text, strictly, as ingestion reads it."""
    from perennial.data.source_files import read_csv

    return pl.DataFrame(read_csv(settings, CsvRead(csv=str(csv)), [str(csv)]).read_all())


def infer(texts: pl.DataFrame, exact: Collection[str]) -> tuple[pl.DataFrame, tuple[Found, ...]]:
    """Read each column as the type that fits it best, misfits as null.

    The type with the fewest misfits is taken, if they are at most one value in a hundred; else it stays text.

    Args:
        texts: All columns as text.
        exact: Columns that must fit wholly, because a row of them in quarantine would be another row's.
    """
    columns = [_best(texts[name], 0.0 if name in exact else _MISFITS) for name in texts.columns]
    frame = pl.DataFrame([values for _, values in columns])
    return frame, tuple(_found(texts[values.name], kind, values) for kind, values in columns)


def first_misfit(texts: pl.Series, values: pl.Series) -> str:
    """Name the first row whose text could not be read as the type of the values."""
    rows = (texts.is_not_null() & values.is_null()).arg_true()
    return f"row {rows[0] + 1:,} has `{str(texts[rows[0]])[:60]}`" if len(rows) else ""


def _best(texts: pl.Series, tolerated: float) -> tuple[str, pl.Series]:
    allowed = int(tolerated * (len(texts) - texts.null_count()))
    readings = [(kind, _finite(cast(texts, kind))) for kind in _TYPES if texts.null_count() < len(texts)]
    fitting = [one for one in readings if _misfits(texts, one[1]) <= allowed]
    return min(fitting, key=lambda one: _misfits(texts, one[1]), default=("string", texts))


def _finite(values: pl.Series) -> pl.Series:
    return values.set(~values.is_finite(), None) if values.dtype == pl.Float64 else values


def _misfits(texts: pl.Series, values: pl.Series) -> int:
    return values.null_count() - texts.null_count()


def _found(texts: pl.Series, kind: str, values: pl.Series) -> Found:
    numeric = values.dtype.is_numeric()
    return Found(
        name=values.name,
        type=kind,
        nullable=texts.null_count() > 0,
        distinct=values.n_unique(),
        low=values.min() if numeric else None,  # type: ignore[arg-type]
        high=values.max() if numeric else None,  # type: ignore[arg-type]
        misfits=_misfits(texts, values),
        first_misfit=first_misfit(texts, values),
    )


def not_times(texts: pl.Series) -> str:
    """Name the first value of a column that is no time, and how many there are."""
    values = cast(texts, "timestamp")
    return f"{first_misfit(texts, values)}, as one of {_misfits(texts, values):,} of {len(texts):,} rows"


def is_time(values: pl.Series) -> bool:
    """Say whether a column holds times."""
    return values.dtype == TIME

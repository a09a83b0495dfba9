from datetime import datetime, timedelta
from pathlib import Path
from shutil import copytree
from typing import Any

import polars as pl
import pytest

from perennial.data.acceptance import accept
from perennial.data.engine import Engine
from perennial.data.features import build_features, snapshot_view
from perennial.data.landing import receive
from perennial.data.leakage import audit
from perennial.data.views import open_views
from perennial.periods import Period
from perennial.records import Answer
from perennial.settings import Settings
from perennial.workspace import Workspace

JANUARY = Period.parse("2013-01")


class Flights:
    """January of one use case in a lake of its own, with its rows at hand."""

    def __init__(self, slug: str, folder: Path) -> None:
        self.home = folder / "use_cases"
        copytree(Path(__file__).parents[2] / "use_cases", self.home)
        settings = Settings(environment="test", storage_root=str(folder / "storage"), use_cases=str(self.home))
        self.ws = Workspace.open(slug, settings)
        self.accepted = {
            name: accept(self.ws, receive(self.ws, name, JANUARY, JANUARY.end), JANUARY.end)
            for name in self.ws.use_case.sources
        }
        self.built = build_features(self.ws, JANUARY, JANUARY.end)
        with Engine(settings) as engine:
            open_views(engine, self.ws, Period.parse("2013-02").end)
            snapshot_view(engine, self.ws, [self.built.partition], "snapshot")
            self.features = rows(engine, "snapshot").sort("flight_id")
            self.flights, self.outcomes, self.weather = (
                rows(engine, name) for name in ("flights", "arrivals", "weather")
            )
            self.labels = rows(engine, "labels").join(self.flights.drop("event_time", "known_at"), on="flight_id")

    def sample(self, day: int) -> list[dict[str, Any]]:
        late = self.features.filter(pl.col("event_time").dt.day() >= day)
        return late.sample(40, seed=3).to_dicts()

    def flight(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.flights.row(by_predicate=pl.col("flight_id") == row["flight_id"], named=True)


def rows(engine: Engine, view: str) -> pl.DataFrame:
    found = pl.from_arrow(engine.table(f"SELECT * FROM {view}"))
    assert isinstance(found, pl.DataFrame)
    return found


@pytest.fixture(scope="module")
def delay(tmp_path_factory: pytest.TempPathFactory) -> Flights:
    return Flights("flight-delay", tmp_path_factory.mktemp("delay"))


@pytest.fixture(scope="module")
def duration(tmp_path_factory: pytest.TempPathFactory) -> Flights:
    return Flights("flight-duration", tmp_path_factory.mktemp("duration"))


def known_since(table: pl.DataFrame, row: dict[str, Any], days: int = 28) -> pl.DataFrame:
    midnight = start_of_day(row["event_time"])
    return table.filter((pl.col("known_at") < midnight) & (pl.col("known_at") >= midnight - timedelta(days=days)))


def start_of_day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0)


@pytest.mark.parametrize("name", ["delay", "duration"])
def test_features_rest_on_what_was_known(name: str, request: pytest.FixtureRequest):
    case: Flights = request.getfixturevalue(name)
    verdict = audit(case.ws, [JANUARY], JANUARY.end)
    assert verdict.answer is Answer.PASS
    assert case.built.rows == case.accepted["flights"].accepted == 26_865


def test_the_contract_holds_and_names_the_airports_that_lie_elsewhere(delay: Flights):
    quarantined = {name: one.quarantined for name, one in delay.accepted.items()}
    assert quarantined == {"flights": 0, "arrivals": 0, "weather": 0, "planes": 0, "airports": 3}


def test_only_flights_that_arrived_have_a_label(delay: Flights):
    arrived = delay.outcomes.filter(~pl.col("cancelled") & ~pl.col("diverted"))
    assert delay.labels.height == arrived.height < delay.outcomes.height
    late = arrived.filter(pl.col("arr_delay") >= 15)["flight_id"]
    assert {*delay.labels.filter(pl.col("label") == 1)["flight_id"]} == {*late}


def test_trailing_rates_count_the_labels_known_before_the_day(delay: Flights):
    for row in delay.sample(day=10):
        known, flight = known_since(delay.labels, row), delay.flight(row)
        route = known.filter((pl.col("origin") == flight["origin"]) & (pl.col("dest") == flight["dest"]))
        assert row["route_late_28d"] == pytest.approx(route["label"].mean())
        assert row["route_arrived_28d"] == (route.height or None)
        assert row["carrier_late_28d"] == known.filter(pl.col("carrier") == flight["carrier"])["label"].mean()


def test_the_previous_leg_is_the_newest_known_arrival_of_the_aircraft(delay: Flights):
    outcomes = delay.outcomes.drop_nulls("arr_delay").join(delay.flights.select("flight_id", "tailnum"), on="flight_id")
    found = 0
    for row in delay.sample(day=3):
        since = start_of_day(row["event_time"]) - timedelta(days=1)
        before = outcomes.filter(
            (pl.col("tailnum") == delay.flight(row)["tailnum"])
            & (pl.col("known_at") < row["event_time"])
            & (pl.col("known_at") >= since)
        ).sort("known_at")
        assert row["legs_2d"] == before.height
        assert row["leg_arr_delay"] == (before["arr_delay"][-1] if before.height else None)
        found += before.height > 0
    assert found > 10


def test_weather_is_of_the_last_full_hour(delay: Flights):
    for row in delay.sample(day=2):
        before = delay.weather.filter(
            (pl.col("origin") == row["origin"]) & (pl.col("known_at") < row["event_time"])
        ).sort("known_at")
        assert row["event_time"] - before["known_at"][-1] <= timedelta(hours=1)
        assert (row["temp"], row["visib"]) == (before["temp"][-1], before["visib"][-1])


def test_the_mean_air_time_of_a_route_counts_flights_known_before_the_day(duration: Flights):
    for row in duration.sample(day=10):
        flight = duration.flight(row)
        for days, name in ((28, "route_minutes_28d"), (2, "route_minutes_2d")):
            route = known_since(duration.labels, row, days).filter(
                (pl.col("origin") == flight["origin"]) & (pl.col("dest") == flight["dest"])
            )
            assert row[name] == (pytest.approx(route["label"].mean()) if route.height else None)


@pytest.mark.parametrize("name", ["delay", "duration"])
def test_a_query_that_forgets_when_things_became_known_is_caught(name: str, request: pytest.FixtureRequest):
    case: Flights = request.getfixturevalue(name)
    path = case.home / case.ws.use_case.slug / "features.sql"
    honest = path.read_text()
    path.write_text(honest.replace("known_day + ahead AS for_day", "known_day AS for_day"))
    verdict = audit(case.ws, [JANUARY], JANUARY.end)
    path.write_text(honest)
    assert verdict.answer is Answer.FAIL
    assert any("carrier" in reason for reason in verdict.reasons)

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from shutil import copytree
from typing import Any

import polars as pl
import pytest

from perennial.data.acceptance import accept
from perennial.data.engine import Engine
from perennial.data.features import build_features, snapshot_view
from perennial.data.landing import receive
from perennial.data.leakage import audit
from perennial.data.online import OnlineFeatures
from perennial.data.recomputing import recomputed
from perennial.data.views import open_views
from perennial.model.encoding import Encoder
from perennial.periods import Period
from perennial.records import Answer
from perennial.settings import Settings
from perennial.source_spec import Column
from perennial.workspace import Workspace

JANUARY, MARCH = Period.parse("2013-01"), Period.parse("2013-03")


class Flights:
    """Some months of one use case, by default January, in a lake of its own; features of the last, rows of all."""

    def __init__(self, slug: str, folder: Path, months: Sequence[Period] = (JANUARY,)) -> None:
        self.home = folder / "use_cases"
        copytree(Path(__file__).parents[2] / "use_cases", self.home)
        settings = Settings(environment="test", storage_root=str(folder / "storage"), use_cases=str(self.home))
        self.ws = Workspace.open(slug, settings)
        for month in months:
            self.accepted = {
                name: accept(self.ws, receive(self.ws, name, month, month.end), month.end)
                for name in self.ws.use_case.sources
            }
        self.built = build_features(self.ws, months[-1], months[-1].end)
        with Engine(settings) as engine:
            open_views(engine, self.ws, months[-1].next().end)
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


def encoder(case: Flights) -> Encoder:
    texts = {name for name, kind in case.features.schema.items() if kind == pl.String} - {"flight_id"}
    features = [name for name in case.features.columns if name not in ("flight_id", "event_time")]
    return Encoder(features=tuple(features), categories=dict.fromkeys(texts, ("EWR", "UA", "Turbo-fan")))


def requests(flights: pl.DataFrame) -> list[dict[str, Any]]:
    return flights.drop("event_time", "known_at").to_dicts()


def answered(online: OnlineFeatures, coded: Encoder, rows: list[dict[str, Any]], together: int) -> pl.DataFrame:
    """Features of requests in their order, with their key, asked for so many together."""
    query = online.prepared(coded)
    found: list[dict[str, Any]] = []
    for start in range(0, len(rows), together):
        found += query.ask(rows[start : start + together]).dicts()
    keyed = [{"flight_id": row["flight_id"], **one} for row, one in zip(rows, found, strict=True)]
    return pl.DataFrame(keyed, infer_schema_length=None)


def differing(online: pl.DataFrame, offline: pl.DataFrame) -> list[str]:
    """Features with a cell that is not the same to the last bit."""
    both = online.sort("flight_id"), offline.sort("flight_id")
    assert both[0]["flight_id"].equals(both[1]["flight_id"])
    names = [name for name in offline.columns if name not in ("flight_id", "event_time")]
    assert [name for name in online.columns if name != "flight_id"] == names
    return [name for name in names if not both[0][name].cast(both[1][name].dtype).equals(both[1][name])]


@pytest.mark.parametrize("name", ["delay", "duration"])
def test_online_features_are_those_of_training_in_every_cell(name: str, request: pytest.FixtureRequest):
    case: Flights = request.getfixturevalue(name)
    flights = case.flights.filter(pl.col("event_time") < JANUARY.end)
    shuffled = requests(flights.sample(fraction=1.0, shuffle=True, seed=7))
    some = requests(flights.sample(160, seed=8))
    known = case.features.filter(pl.col("flight_id").is_in([one["flight_id"] for one in some]))
    with OnlineFeatures(case.ws, JANUARY.end) as online:
        assert len(shuffled) == 26_865
        assert differing(answered(online, encoder(case), shuffled, 1000), case.features) == []
        assert differing(answered(online, encoder(case), some, 16), known) == []
        assert differing(answered(online, encoder(case), some, 1), known) == []


@pytest.mark.parametrize("name", ["delay", "duration"])
def test_a_stale_reference_shows(name: str, request: pytest.FixtureRequest):
    case: Flights = request.getfixturevalue(name)
    late = case.flights.filter(pl.col("event_time").dt.day() == 30)
    known = case.features.filter(pl.col("flight_id").is_in(late["flight_id"].to_list()))
    with OnlineFeatures(case.ws, datetime(2013, 1, 20, tzinfo=UTC)) as online:
        found = differing(answered(online, encoder(case), requests(late), 1000), known)
    assert {"carrier_late_28d", "origin_late_4h", "temp"} <= {*found} or "carrier_pace_28d" in found
    assert not {"carrier", "distance", "weekday", "departs", "seats"} & {*found}


@pytest.mark.parametrize("name", ["delay", "duration"])
def test_requests_that_no_delivery_ever_had_are_computed_alike(name: str, request: pytest.FixtureRequest):
    case: Flights = request.getfixturevalue(name)
    usual = requests(case.flights.filter(pl.col("event_time").dt.day() == 25).sample(6, seed=5))
    least = {column: None for column, one in case.ws.use_case.sources["flights"].columns.items() if one.nullable}
    odd = [
        usual[0] | {"carrier": "ZZ", "origin": "XXX", "dest": "QQQ", "tailnum": "N0"},
        {key: value for key, value in usual[1].items() if key not in least},
        usual[2] | {"tailnum": None, "sched_arr_time": 2400, "distance": 6000},
        usual[3] | {"scheduled_departure": datetime(2013, 2, 28, 23, 59, tzinfo=UTC)},
        usual[4] | {"scheduled_departure": datetime(2031, 1, 1, tzinfo=UTC), "year": 2031},
        usual[5],
        usual[5] | {"dest": "ATL", "carrier": "DL"},
    ]
    with OnlineFeatures(case.ws, JANUARY.end) as online:
        query = online.prepared(encoder(case))
        together, alone = query.ask(odd), [query.ask([one]) for one in odd]
        offline = recomputed(case.ws, online.rests_on, odd)
    assert together.dicts() == offline
    assert [one.dicts()[0] for one in alone] == offline


@pytest.mark.parametrize("name", ["delay", "duration"])
def test_whatever_the_contract_lets_pass_gets_features(name: str, request: pytest.FixtureRequest):
    case: Flights = request.getfixturevalue(name)
    drawn = Random(11)
    columns = case.ws.use_case.sources["flights"].columns
    rows = [{key: drawn.choice(allowed(key, one)) for key, one in columns.items()} for _ in range(500)]
    asked = [row | {"flight_id": f"2013-02-30/UA/{place}/EWR"} for place, row in enumerate(rows)]
    assert any((row["month"], row["day"]) == (2, 30) for row in asked)
    with OnlineFeatures(case.ws, JANUARY.end) as online:
        assert len(online.prepared(encoder(case)).ask(asked).values) == 500


def allowed(name: str, column: Column) -> list[Any]:
    """Values at the edges of what a contract says of a column, and the usual one that does harm beside others."""
    usual = {"month": [2], "day": [28, 30], "year": [2013], "hour": [5]}.get(name, [])
    edges: dict[str, list[Any]] = {
        "integer": [int(one) for one in (column.min, column.max) if one is not None],
        "string": ["", "N0", "\x00", "\U0001f6e9" * 50, *(column.values or ())],
        "timestamp": [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 1970, 2013, 9999)],
    }
    return [*usual, *edges[column.type], *([None] if column.nullable else [])]


@pytest.mark.parametrize("name", ["delay", "duration"])
def test_a_request_plans_no_join_and_scans_no_table(name: str, request: pytest.FixtureRequest):
    case: Flights = request.getfixturevalue(name)
    with OnlineFeatures(case.ws, JANUARY.end) as online:
        assert online.stays_open
        plan = online.plan()
    assert not [one for one in ("Hash Join", "Table Scan", "Nested Loop", "Seq Scan") if one.lower() in plan.lower()]


@pytest.mark.long
def test_the_declared_history_reaches_back_far_enough_for_what_is_asked_now(tmp_path: Path):
    months = [Period.parse(f"2013-0{number}") for number in (1, 2, 3)]
    case = Flights("flight-delay", tmp_path, months)
    for first, reaches in ((16, True), (2, False)):
        asked = (pl.col("event_time") >= datetime(2013, 3, first, tzinfo=UTC)) & (pl.col("event_time") < MARCH.end)
        flights = case.flights.filter(asked)
        known = case.features.filter(pl.col("flight_id").is_in(flights["flight_id"].to_list()))
        with OnlineFeatures(case.ws, MARCH.end) as online:
            found = differing(answered(online, encoder(case), requests(flights), 1000), known)
        assert (found == []) is reaches

"""Whatever is declared and delivered: no row is lost on the way to the features, and none is doubled."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.data import lake
from perennial.data.acceptance import accept
from perennial.data.engine import Engine, parquet, quote, quote_time
from perennial.data.features import build_features, labelled_rows_sql, snapshot_view
from perennial.data.landing import receive
from perennial.data.observing import NoObservations
from perennial.data.views import open_views
from perennial.periods import Period
from perennial.records import Accepted
from perennial.settings import Settings
from perennial.workspace import Workspace

JANUARY, FEBRUARY = PERIODS = (Period.parse("2024-01"), Period.parse("2024-02"))
BEFORE = Period.parse("2023-12")
NAMES = (
    "select", "Order", "group", "from", "user", "row", "labels", "observations", "day", "index", "o", "l", "main", "_",
    "event_time_", "known", "value", "values", "timestamp", "count", "epoch", "rows", "NULL", "true", "x9",
)  # fmt: skip
UNDECLARED = ("größe in cm", 'a "quoted" one', "it's", "🚚", " ", "delivery", "a,b")
ALIASES = ("{}", "{} größe", 'the "{}"', "it's {}", "{}, {}", "{}\n")
ZONES = (None, "UTC", "Europe/Berlin", "-11:00")
DAYS = st.dates(date(2023, 12, 20), date(2024, 3, 5))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(["", "NA", "null", " a", "a"])
VALUES: dict[str, list[tuple[pa.DataType, st.SearchStrategy[Any]]]] = {
    "string": [
        (pa.string(), TEXTS),
        (pa.large_string(), st.uuids().map(str)),
        (pa.dictionary(pa.int8(), pa.string()), TEXTS),
    ],
    "integer": [
        (pa.int64(), st.integers(-3, 3)),
        (pa.uint8(), st.integers(0, 255)),
        (pa.float64(), st.sampled_from([1.0, 2.5, 1e300])),
    ],
    "number": [
        (pa.float64(), st.floats()),
        (pa.float32(), st.floats(width=32)),
        (pa.decimal128(12, 2), st.decimals(-999, 999, places=2)),
        (pa.int32(), st.integers(-9, 9)),
    ],
    "boolean": [(pa.bool_(), st.booleans())],
    "timestamp": [
        *((pa.timestamp("us", zone), DAYS.map(lambda one: datetime.combine(one, time(23, 30)))) for zone in ZONES),
        (pa.date32(), DAYS),
    ],
}


@dataclass(frozen=True)
class Case:
    """A declaration with what is delivered for it."""

    form: str
    """`csv` or `parquet`."""
    columns: dict[str, dict[str, Any]]
    """The first is the event time, then comes the key."""
    key: list[str]
    aliases: dict[str, str]
    """Features by column."""
    deliveries: dict[str, pa.Table]

    def keys(self) -> str:
        """What tells a row from all others, as SQL."""
        return ", ".join(map(quote, self.key))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=3, max_size=6, unique_by=str.lower))
    kinds = ["timestamp", *(draw(st.sampled_from(list(VALUES))) for _ in names[1:])]
    columns = {name: {"type": kind, "nullable": draw(st.booleans())} for name, kind in zip(names, kinds, strict=True)}
    key = names[1 : draw(st.integers(2, min(3, len(names) - 1)))]
    features = [name for name in names[1:] if name not in key]
    aliases = {name: draw(st.sampled_from(ALIASES)).format(name, name) for name in features}
    delivered = {one.label: draw(deliveries(columns)) for one in PERIODS}
    return Case(draw(st.sampled_from(["csv", "parquet"])), columns, key, aliases, delivered)


@st.composite
def deliveries(draw: st.DrawFn, columns: dict[str, dict[str, Any]]) -> pa.Table:
    rows = draw(st.integers(0, 8))
    made = {}
    for name, column in columns.items():
        kind, values = draw(st.sampled_from(VALUES[column["type"]]))
        missing = st.none() if draw(st.booleans()) else st.nothing()
        made[name] = pa.array(draw(st.lists(values | missing, min_size=rows, max_size=rows)), kind)
    extra = draw(st.sampled_from(UNDECLARED))
    return pa.table({**made, **({} if extra in made else {extra: pa.nulls(rows, pa.string())})})


@contextmanager
def opened(case: Case) -> Iterator[Workspace]:
    """Write a use case with its deliveries into a folder of its own."""
    with TemporaryDirectory() as folder:
        home = Path(folder) / "use_cases" / "any"
        home.mkdir(parents=True)
        for label, rows in case.deliveries.items():
            if case.form == "csv":
                pyarrow.csv.write_csv(
                    pa.table({one: rows[one].cast(pa.string()) for one in rows.column_names}), home / f"{label}.csv"
                )
            else:
                pq.write_table(rows, home / f"{label}.parquet")
        (home / "use_case.yaml").write_text(yaml.safe_dump(declaration(case), allow_unicode=True))
        listed = ", ".join(f"{feature(one, case)} AS {quote(alias)}" for one, alias in case.aliases.items())
        (home / "features.sql").write_text(f"SELECT {case.keys()}, event_time, {listed} FROM observations")
        places = {"storage_root": f"{folder}/storage", "use_cases": f"{folder}/use_cases"}
        yield Workspace.open("any", Settings(environment="test", threads=1, memory_limit="1GB", **places))


def feature(name: str, case: Case) -> str:
    return f"epoch({quote(name)})" if case.columns[name]["type"] == "timestamp" else quote(name)


def declaration(case: Case) -> dict[str, Any]:
    event_time = next(iter(case.columns))
    read = {case.form: f"any/{{period}}.{case.form}"}
    things: dict[str, Any] = {"read": read, "key": case.key, "event_time": event_time, "tolerance": 1}
    things |= {"columns": case.columns, "unexpected_columns": "ignore", "volume": {"min_rows": 0}}
    return {
        "title": "Any",
        "task": "binary",
        "entity": "things",
        "sources": {"things": things},
        "label": {"source": "things", "value": "1"},
        "metrics": {"primary": "roc_auc"},
        "training": {"candidates": {one: {"estimator": "majority"} for one in ("a", "b")}},
        "gate": {"floor": 0.5},
    }


def rows_of(engine: Engine, case: Case, relation: str) -> list[str]:
    """Keys and event times, as comparable texts."""
    return [one for (one,) in engine.rows(f"SELECT CAST(row({case.keys()}, event_time) AS VARCHAR) FROM {relation}")]


def accepted_rows(ws: Workspace, case: Case, accepted: Accepted, period: Period) -> list[str]:
    """The accepted rows of a delivery that happened in a period."""
    with Engine(ws.settings) as engine:
        files = lake.files(ws, "raw_things", "delivery", [accepted.partition])
        within = f"event_time >= {quote_time(period.start)} AND event_time < {quote_time(period.end)}"
        return rows_of(engine, case, f"{parquet(files)} WHERE {within}")


def feature_rows(ws: Workspace, case: Case, period: Period) -> list[str]:
    """The rows of the features of a period, all of which have a label."""
    try:
        built = build_features(ws, period, FEBRUARY.end)
    except NoObservations:
        return []
    with Engine(ws.settings) as engine:
        open_views(engine, ws, FEBRUARY.end)
        snapshot_view(engine, ws, [built.partition], "snapshot")
        labelled = engine.table(labelled_rows_sql(engine, ws.use_case, "snapshot", period))
        assert labelled.num_rows == built.rows and {*case.aliases.values()} <= {*labelled.column_names}
        return rows_of(engine, case, "snapshot")


@settings(max_examples=12, deadline=None)
@given(cases())
def test_every_row_is_accepted_or_quarantined_and_every_accepted_one_has_features_once(case: Case) -> None:
    with opened(case) as ws:
        taken = [accept(ws, receive(ws, "things", one, one.end), one.end) for one in PERIODS]
        for accepted, rows in zip(taken, case.deliveries.values(), strict=True):
            assert accepted.rows == rows.num_rows == accepted.accepted + accepted.quarantined
        for period in (BEFORE, *PERIODS):
            within = [row for accepted in taken for row in accepted_rows(ws, case, accepted, period)]
            assert sorted(feature_rows(ws, case, period)) == sorted(within)

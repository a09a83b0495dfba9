import pytest

from perennial.data.engine import Engine, QueryFailed
from perennial.data.query_parts import split, undecided
from tests.model_builders import make_engine


@pytest.fixture
def engine():
    with make_engine() as opened:
        yield opened


def test_what_depends_on_observations_stays_with_the_request(engine: Engine):
    parts = split(
        engine,
        "WITH rates AS (SELECT shop, avg(x) AS x FROM labels GROUP BY shop), "
        "best AS (SELECT * FROM rates WHERE x > 1), "
        "asked AS (SELECT *, 1 AS one FROM observations), "
        "again AS (SELECT a.* FROM asked a JOIN best USING (shop)) "
        "SELECT * FROM again LEFT JOIN shops USING (shop)",
    )
    assert [*parts.references] == ["rates", "best"]
    assert parts.tables == {"best", "shops"}
    assert "labels" not in engine.text(parts.request)


@pytest.mark.parametrize(
    "reading",
    [
        "SELECT * FROM (SELECT * FROM observations)",
        "SELECT (SELECT count(*) FROM observations) AS n",
        "WITH inner_one AS (SELECT * FROM Observations) SELECT * FROM inner_one",
        "SELECT 1 AS one UNION ALL SELECT 2 FROM observations",
        "SELECT * FROM shops WHERE shop IN (SELECT shop FROM observations)",
    ],
)
def test_a_reading_of_observations_is_found_wherever_it_is(engine: Engine, reading: str):
    parts = split(engine, f"WITH here AS ({reading}) SELECT * FROM observations o, here")
    assert parts.references == {}


def test_a_reference_is_its_whole_expression(engine: Engine):
    engine.keep("shops", "SELECT 'bonn' AS shop, 2.0 AS size")
    parts = split(
        engine,
        "WITH RECURSIVE shops(place, size) AS (SELECT * FROM shops), "
        "steps(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM steps WHERE n < 3) "
        "SELECT o.*, n FROM observations o, shops, steps",
    )
    assert engine.table(parts.references["steps"])["n"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("query", "references", "tables"),
    [
        (
            "WITH Rates AS (SELECT * FROM Labels) SELECT * FROM observations, rates, SHOPS",
            ["rates"],
            {"rates", "shops"},
        ),
        ("SELECT * FROM (WITH x AS (SELECT * FROM observations) SELECT * FROM X) o", [], set()),
        ("SELECT (WITH x AS (SELECT * FROM labels) SELECT max(label) FROM x) FROM observations", [], {"labels"}),
        ("SELECT (WITH shops AS (SELECT * FROM shops) SELECT 1 FROM shops) FROM observations", [], {"shops"}),
        ("WITH shops AS (SELECT * FROM observations JOIN shops USING (shop)) SELECT * FROM shops", [], {"shops"}),
        (
            "WITH RECURSIVE s(n) AS (SELECT 1 FROM observations UNION ALL SELECT n + 1 FROM S, shops) SELECT * FROM s",
            [],
            {"shops"},
        ),
        ("SELECT * FROM observations, (WITH x AS (SELECT 1) SELECT * FROM x) a, x", [], {"x"}),
    ],
)
def test_what_the_request_reads_is_told_from_what_it_calls_so_itself(
    engine: Engine, query: str, references: list[str], tables: set[str]
):
    parts = split(engine, query)
    assert [*parts.references] == references
    assert parts.tables == tables


def test_something_else_than_a_select_is_refused(engine: Engine):
    with pytest.raises(QueryFailed, match="no SELECT"):
        split(engine, "DROP TABLE shops")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("SELECT date_trunc('month', d), sum(x) OVER (PARTITION BY y), error('no') FROM orders", []),
        ("SELECT age(d, e) FROM orders", []),
        ("SELECT age(d) FROM orders", ["age until today"]),
        ("SELECT * FROM orders USING SAMPLE 10%", ["sample"]),
        ("SELECT * FROM orders TABLESAMPLE 10%", ["sample"]),
        ("SELECT o.now, o.random FROM orders o", []),
        ("SELECT Now() - d, CURRENT_DATE FROM orders", ["current_date", "now"]),
        ("WITH few AS (SELECT * FROM orders WHERE random() < 0.5) SELECT * FROM few", ["random"]),
        ("SELECT 1 FROM orders WHERE d IN (SELECT today()) OR d > LOCALTIMESTAMP", ["localtimestamp", "today"]),
    ],
)
def test_what_asks_for_the_clock_or_for_chance_is_named(engine: Engine, query: str, named: list[str]):
    assert undecided(engine, query) == named

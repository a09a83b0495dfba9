from pathlib import Path
from typing import Any

import pytest

from perennial.data.leakage import audit
from perennial.periods import Period
from perennial.records import Answer, Verdict
from perennial.workspace import Workspace
from tests.builders import deliver, features_sql, make_use_case, moment, write_month

MONTHS = [Period.parse("2024-01"), Period.parse("2024-02")]
AS_OF = moment("2024-03-01")


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return open_delivered(tmp_path_factory.mktemp("delivered"))


def open_delivered(folder: Path, **declared: Any) -> Workspace:
    ws = make_use_case(folder, rows=200, months=["2024-01", "2024-02"], **declared)
    deliver(ws, "2024-01", "2024-02")
    return ws


def audit_of(ws: Workspace, feature: str, name: str = "suspect") -> Verdict:
    sql = f"SELECT o.order_id, o.event_time, o.price, {feature} AS {name} FROM observations o"
    (ws.use_case.folder / "features.sql").write_text(sql)
    return audit(ws, MONTHS, AS_OF)


def test_an_honest_query_passes(delivered: Workspace):
    (delivered.use_case.folder / "features.sql").write_text(features_sql())
    verdict = audit(delivered, MONTHS, AS_OF)
    assert verdict.answer is Answer.PASS
    assert verdict.numbers["rows"] >= 8


@pytest.mark.parametrize(
    "leak",
    [
        "(SELECT max(l.label) FROM labels l WHERE l.order_id = o.order_id)",
        "(SELECT avg(l.label) FROM labels l)",
        "(SELECT avg(l.label) FROM labels l WHERE l.event_time < o.event_time)",
        "(SELECT max(u.refund) FROM outcomes u WHERE u.order_id = o.order_id)",
        "(SELECT CAST(if(count(*) > 0, '1', 'nan') AS DOUBLE) FROM labels l WHERE l.order_id = o.order_id)",
        "(SELECT CAST(if(count(*) > 0, '1', 'inf') AS DOUBLE) FROM labels l WHERE l.order_id = o.order_id)",
        "(SELECT count(*) FROM orders later WHERE later.event_time > o.event_time)",
    ],
)
def test_a_leak_fails_and_is_named(delivered: Workspace, leak: str):
    verdict = audit_of(delivered, leak)
    assert verdict.answer is Answer.FAIL
    assert [name for name in verdict.numbers if name.startswith("differs:")] == ["differs:suspect"]
    assert verdict.numbers["differs:suspect"] > 0
    assert "`suspect`" in verdict.reasons[0]


def test_a_leaking_text_fails_too(delivered: Workspace):
    leak = "coalesce((SELECT 'seen' FROM labels l WHERE l.order_id = o.order_id), 'unseen')"
    verdict = audit_of(delivered, leak, name="suspect_text")
    assert verdict.answer is Answer.FAIL
    assert "`suspect_text`" in verdict.reasons[0]


def test_a_query_that_needs_the_label_to_give_its_rows_fails(tmp_path: Path):
    ws = open_delivered(tmp_path)
    sql = "SELECT o.order_id, o.event_time, o.price FROM observations o JOIN labels l USING (order_id)"
    (ws.use_case.folder / "features.sql").write_text(sql)
    verdict = audit(ws, MONTHS[:1], AS_OF)
    assert verdict.answer is Answer.FAIL
    assert "gives no row for 1 observations" in verdict.reasons[0]


@pytest.mark.parametrize(
    "honest",
    [
        "CAST('nan' AS DOUBLE)",
        "CAST(NULL AS DOUBLE)",
        "CAST('inf' AS DOUBLE)",
        "0.1 + 1e-13 * (SELECT count(*) FROM labels)",
    ],
)
def test_missing_infinite_and_nearly_equal_values_are_the_same(delivered: Workspace, honest: str):
    assert audit_of(delivered, honest).answer is Answer.PASS


def test_a_corrected_delivery_is_no_leak(tmp_path: Path):
    ws = open_delivered(tmp_path)
    write_month(ws.use_case.folder, "2024-01", rows=220, seed=9)
    deliver(ws, "2024-01", as_of=moment("2024-04-01"))
    assert audit(ws, MONTHS, moment("2024-04-01")).answer is Answer.PASS


def test_what_rests_on_other_rows_of_its_moment_fails_where_requests_are_answered(tmp_path: Path):
    batch, online = open_crowded(tmp_path / "batch"), open_crowded(tmp_path / "online", serving={})
    alone = "max(o.price) OVER (PARTITION BY o.order_id)"
    assert audit_of(batch, "count(*) OVER (PARTITION BY o.event_time)").answer is Answer.PASS
    assert audit_of(online, alone).answer is Answer.PASS
    verdict = audit_of(online, "count(*) OVER (PARTITION BY o.event_time)")
    assert verdict.answer is Answer.FAIL
    assert verdict.numbers["differs:suspect"] == 1
    assert "`suspect` differs in 1 of 1 rows when others of their moment are left out" in verdict.reasons[0]


def open_crowded(folder: Path, **changes: Any) -> Workspace:
    """Every order of January has another of the same moment."""
    ws = make_use_case(folder, rows=20, months=["2024-01", "2024-02"], changes=changes)
    for source in ("orders", "outcomes"):
        path = ws.use_case.folder / "deliveries" / f"{source}-2024-01.csv"
        head, *rows = path.read_text().splitlines()
        twins = [one.replace('"2024-01-', '"2024-01-twin-', 1) for one in rows]
        path.write_text("\n".join([head, *rows, *twins]))
    deliver(ws, "2024-01", "2024-02")
    return ws


def test_the_seed_decides_which_moments_are_drawn(tmp_path: Path):
    ws = open_delivered(tmp_path, leak=True)
    first, again = audit(ws, MONTHS, AS_OF, seed=1), audit(ws, MONTHS, AS_OF, seed=1)
    assert first == again
    assert first.answer is Answer.FAIL


def test_without_periods_it_is_inconclusive(delivered: Workspace):
    assert audit(delivered, [], AS_OF).answer is Answer.INCONCLUSIVE

"""Each finding is made when it should be, names its numbers, and is not made otherwise."""

import pytest

from perennial.records import Accepted, Answer, Finding, Interval, Level, Refused, Verdict
from perennial.state import State
from perennial.use_case import Monitoring
from perennial.watch.column_findings import input_findings, score_findings
from perennial.watch.drift import Bins, CategoricalBins, Column, NumericBins
from perennial.watch.findings import (
    Category,
    contract_findings,
    late_findings,
    performance_findings,
    volume_findings,
)
from tests.builders import moment

MONITORING = Monitoring(min_labels=500, drift=0.2)
PRICE = NumericBins(edges=(1.0, 2.0, 3.0), counts=(250, 250, 250, 250), missing=0)
SHOP = CategoricalBins(values=("aachen", "bonn"), counts=(600, 400), other=0, missing=0)
QUIET_PRICE = Column((26, 24, 25, 25, 0), constant=False)


def found(bins: Bins, column: Column | None) -> dict[str, Finding]:
    now = {} if column is None else {"x": column}
    return {one.category: one for one in input_findings({"x": bins}, now, MONITORING)}


def accepted(quarantined: int = 0, revision: int = 1, period: str = "2024-02", rows: int = 1000) -> Accepted:
    return Accepted(
        source="orders",
        period=period,
        revision=revision,
        digest="d",
        contract="c",
        rows=rows,
        accepted=rows - quarantined,
        quarantined=quarantined,
        reasons={"`price` is below 0": quarantined} if quarantined else {},
        partition=f"{period}.r{revision}",
        table_version=0,
    )


def refused(revision: int = 1) -> Refused:
    return Refused(
        source="orders",
        period="2024-02",
        revision=revision,
        digest="e",
        contract="c",
        rows=1000,
        reasons={"`price` is missing": 1000},
        summary="It breaks its contract in 1 of 5 columns.",
    )


def test_nothing_is_found_where_nothing_changed() -> None:
    assert found(PRICE, QUIET_PRICE) == {}
    assert found(SHOP, Column((61, 39, 0, 0), constant=False)) == {}


def test_a_missing_column_is_an_alert_and_never_undrifted() -> None:
    assert list(found(PRICE, None)) == [Category.MISSING_COLUMN]
    assert found(PRICE, None)["missing-column"].level is Level.ALERT
    assert found(PRICE, None)["missing-column"].subject == "x"


def test_a_column_that_varied_and_has_one_value_is_constant() -> None:
    constant = found(PRICE, Column((0, 100, 0, 0, 0), constant=True))
    assert list(constant) == [Category.CONSTANT_COLUMN]
    assert constant["constant-column"].level is Level.WARNING


def test_an_empty_column_is_constant_and_an_alert() -> None:
    empty = found(PRICE, Column((0, 0, 0, 0, 100), constant=False))
    assert list(empty) == [Category.CONSTANT_COLUMN]
    assert empty["constant-column"].level is Level.ALERT
    assert "no value in all 100 rows" in empty["constant-column"].summary


def test_one_row_is_not_a_constant_column() -> None:
    assert found(PRICE, Column((0, 1, 0, 0, 0), constant=True)) == {}


def test_a_column_that_was_nearly_always_one_value_or_empty_may_be_so_now() -> None:
    rare = NumericBins(edges=(0.0,), counts=(9_990, 10), missing=0)
    assert found(rare, Column((100, 0, 0), constant=True)) == {}
    sparse = NumericBins(edges=(0.0,), counts=(5, 5), missing=9_990)
    assert found(sparse, Column((0, 0, 100), constant=False)) == {}


def test_new_values_are_named_and_loud_only_when_there_are_many() -> None:
    few = found(SHOP, Column((6_000, 3_990, 10, 0), constant=False, unseen=("celle",)))
    assert (few["new-category"].level, "`celle`" in few["new-category"].detail) == (Level.INFO, True)
    many = found(SHOP, Column((60, 30, 10, 0), constant=False, unseen=("celle",)))
    assert many["new-category"].level is Level.WARNING
    assert "10 of 100 rows (10.00%)" in many["new-category"].summary


def test_values_beyond_the_listed_categories_are_new_only_when_they_are_more_than_before() -> None:
    many = CategoricalBins(values=("a", "b"), counts=(450, 450), other=100, missing=0)
    assert found(many, Column((46, 46, 8, 0), constant=False, unseen=("c",))) == {}


def test_drift_says_index_limit_and_the_bin_that_moved_most() -> None:
    finding = found(PRICE, Column((100, 100, 100, 700, 0), constant=False))["feature-drift"]
    assert finding.level is Level.WARNING
    assert "limit 0.2" in finding.summary
    assert "Values above 3 went from 25.0% to 70.0%" in finding.detail


def test_values_that_vanish_into_missing_are_drift() -> None:
    assert "feature-drift" in found(PRICE, Column((125, 125, 125, 125, 500), constant=False))


def test_score_drift_is_an_alert_and_a_constant_score_is_found() -> None:
    (drifted,) = score_findings(PRICE, Column((10, 10, 100, 880, 0), constant=False), MONITORING)
    assert (drifted.category, drifted.level, drifted.subject) == (Category.SCORE_DRIFT, Level.ALERT, "score")
    (constant,) = score_findings(PRICE, Column((0, 0, 1000, 0, 0), constant=True), MONITORING)
    assert constant.category == Category.CONSTANT_COLUMN
    assert list(score_findings(PRICE, QUIET_PRICE, MONITORING)) == []


@pytest.mark.parametrize(
    ("rows", "mature", "labels", "overdue", "expected"),
    [
        (1000, 1000, 1000, True, []),
        (1000, 1000, 500, True, []),
        (1000, 1000, 499, True, [Category.LABELS_MISSING]),
        (1000, 400, 400, False, []),
        (1000, 0, 0, False, []),
        (1000, 1000, 0, True, [Category.LABELS_MISSING]),
        (499, 499, 490, True, [Category.FEW_ROWS]),
        (1, 1, 0, True, [Category.FEW_ROWS, Category.LABELS_MISSING]),
    ],
)
def test_rows_and_labels_are_missed_when_they_should_be_there(
    rows: int, mature: int, labels: int, overdue: bool, expected: list[Category]
) -> None:
    assert [one.category for one in volume_findings(rows, mature, labels, overdue, MONITORING)] == expected


@pytest.mark.parametrize("answer", list(Answer))
def test_only_a_fail_is_degraded_performance(answer: Answer) -> None:
    verdict = Verdict(answer=answer, reasons=("It is worse.",))
    now, before = Interval(value=0.7, rows=900), Interval(value=0.8, rows=900)
    categories = [one.category for one in performance_findings("roc_auc", verdict, now, before)]
    assert categories == ([Category.PERFORMANCE_DEGRADED] if answer is Answer.FAIL else [])


def test_quarantined_rows_are_found_with_share_and_reasons() -> None:
    state = State(accepted=[accepted(quarantined=20)])
    (finding,) = contract_findings(state, "2024-02")
    assert (finding.category, finding.level) == (Category.CONTRACT_VIOLATIONS, Level.WARNING)
    assert "20 of 1,000 rows (2.00%)" in finding.summary and "below 0: 20 rows" in finding.detail
    (quiet,) = contract_findings(State(accepted=[accepted(quarantined=1)]), "2024-02")
    assert quiet.level is Level.INFO
    assert list(contract_findings(State(accepted=[accepted(quarantined=20)]), "2024-03")) == []


def test_a_refused_delivery_is_an_alert_until_a_later_revision_is_accepted() -> None:
    (finding,) = contract_findings(State(refused=[refused()]), "2024-02")
    assert finding.level is Level.ALERT and "1 of 5 columns" in finding.detail
    assert list(contract_findings(State(refused=[refused()], accepted=[accepted(revision=2)]), "2024-02")) == []
    older = State(refused=[refused(revision=2)], accepted=[accepted(revision=1)])
    assert [one.level for one in contract_findings(older, "2024-02")] == [Level.ALERT]


@pytest.mark.parametrize(("late", "level"), [(0, None), (9, Level.INFO), (10, Level.WARNING)])
def test_rows_of_earlier_periods_are_told_of_the_entity(late: int, level: Level | None) -> None:
    one = accepted().model_copy(update={"oldest": moment("2023-12-31"), "late": late})
    state = State(accepted=[one])
    assert [found.level for found in late_findings(state, "orders", "2024-02")] == ([level] if level else [])
    assert (
        [*late_findings(state, "outcomes", "2024-02")]
        == [*late_findings(State(accepted=[accepted()]), "orders", "2024-02")]
        == []
    )


def test_categories_are_the_contract_that_automations_match_on() -> None:
    assert {one.value for one in Category} == {
        "contract-violations",
        "late-rows",
        "missing-column",
        "constant-column",
        "new-category",
        "feature-drift",
        "online-features",
        "score-drift",
        "performance-degraded",
        "labels-missing",
        "few-rows",
        "no-predictions",
        "report-failed",
    }

"""What is told of requests: only what the rows of the same time have otherwise. And which batches are read for it."""

from collections.abc import Mapping

import pytest

from perennial.periods import Period
from perennial.records import AnswersCollected, Entry
from perennial.use_case import Monitoring
from perennial.watch import online_features
from perennial.watch.drift import Column, NumericBins, population_stability_index
from perennial.watch.online_features import batches_of, online_findings
from tests.builders import moment

APRIL = Period.parse("2024-04")
BEFORE = NumericBins(edges=(1.0, 2.0, 3.0), counts=(250, 250, 250, 250), missing=0)
USUAL = Column(counts=(251, 249, 250, 250, 0), constant=False)
EMPTY = Column(counts=(0, 0, 0, 0, 300), constant=False)
ONE_VALUE = Column(counts=(300, 0, 0, 0, 0), constant=True)
SKEWED = Column(counts=(100, 50, 50, 0, 100), constant=False)
NO_ROWS = Column(counts=(0, 0, 0, 0, 0), constant=False)


def told(served: Column, rows: Column | None) -> list[str]:
    known: Mapping[str, Column] = {} if rows is None else {"rate": rows}
    found = online_findings({"rate": BEFORE}, {"rate": served}, known, Monitoring(drift=0.2))
    return [one.summary for one in found]


@pytest.mark.parametrize(
    ("served", "summary"),
    [(EMPTY, "has no value"), (ONE_VALUE, "has one single value"), (SKEWED, "has drifted")],
)
def test_what_only_requests_have_is_told(served: Column, summary: str) -> None:
    [found] = told(served, USUAL)
    assert found.startswith(f"In requests `rate` {summary}")


@pytest.mark.parametrize("served", [EMPTY, ONE_VALUE, SKEWED])
@pytest.mark.parametrize("rows", ["the same", NO_ROWS, None])
def test_what_rows_of_the_time_have_too_and_what_nothing_compares_with_is_not(
    served: Column, rows: Column | str | None
) -> None:
    assert told(served, served if isinstance(rows, str) else rows) == []


def test_what_the_rows_have_otherwise_than_both_is_told_too() -> None:
    assert told(EMPTY, ONE_VALUE) and told(SKEWED, ONE_VALUE)
    assert told(ONE_VALUE, EMPTY), "one value where the rows have none"


def test_few_rows_are_enough_against_what_requests_never_have() -> None:
    assert told(EMPTY, Column(counts=(1, 1, 0, 0, 3), constant=False))
    assert told(ONE_VALUE, Column(counts=(300, 0, 0, 0, 0), constant=False)), "several values, of one bin"


def test_rows_just_within_the_limit_make_no_drift_of_requests_just_beyond_it() -> None:
    rows = Column(counts=(4000, 2500, 2500, 1090, 0), constant=False)
    served = Column(counts=(4050, 2500, 2500, 1040, 0), constant=False)
    near, far = (population_stability_index(BEFORE.all_counts, one.counts) or 0 for one in (rows, served))
    assert near < 0.2 < far
    assert told(served, rows) == []


def entry(number: int, rows: int, at: str = "2024-04-10", version: int = 1) -> Entry:
    one = AnswersCollected(
        batch=f"online.{number:04d}", segments={}, rows=rows, versions={version: rows}, table_version=0
    )
    return Entry(seq=number, previous="", at=moment(at), record=one)


def drawn(entries: list[Entry]) -> tuple[str, ...]:
    return batches_of(entries, 1, APRIL, moment("2024-06-01"))


def test_batches_of_the_version_and_the_period_are_read() -> None:
    others = [entry(4, 5, version=2), entry(5, 5, at="2024-03-31"), entry(6, 5, at="2024-05-02T00:00:01")]
    assert sorted(drawn([entry(1, 5), entry(2, 5), entry(3, 5), *others])) == [
        "online.0001",
        "online.0002",
        "online.0003",
    ]


def test_no_more_batches_are_read_than_have_the_rows_and_they_are_drawn_from_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = [entry(number, 10) for number in range(1000)]
    monkeypatch.setattr(online_features, "MOST_ROWS", 195)
    few = drawn(entries)
    assert len(few) == 20
    assert min(few) < "online.0200" and max(few) > "online.0800"
    assert drawn([*reversed(entries)]) == few
    monkeypatch.setattr(online_features, "MOST_BATCHES", 7)
    assert drawn(entries) == few[:7]

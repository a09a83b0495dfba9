"""What counts as slow: the time of a pass, less what it spent without a processor."""

from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from serving import reporting
from serving.reporting import Reporter, Tally

SINCE = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "waited", "slow"), [(0.09, 0.0, 0), (0.11, 0.0, 3), (0.5, 0.45, 0), (0.5, 0.35, 3), (0.1, 0.0, 0)]
)
def test_only_time_with_a_processor_makes_an_answer_slow(seconds: float, waited: float, slow: int) -> None:
    tally = Tally(0.1)
    tally.add("release/1", 3, 1, seconds, SINCE, waited)
    counts = tally.counts()["release/1"]
    assert (counts.answers, counts.errors, counts.slow) == (3, 1, slow)


def test_a_store_that_hangs_keeps_the_replica_from_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    writing, answering = Event(), Event()

    def hang(ws: Any, report: Any) -> None:
        writing.set()
        assert answering.wait(60)

    monkeypatch.setattr(reporting, "write_report", hang)
    monkeypatch.setattr(reporting, "LAST", 0.1)
    reporter: Any = Reporter(None, lambda ended: ended)  # type: ignore[arg-type, return-value]
    reporter.start()
    assert writing.wait(20)
    reporter.stop(farewell=True)
    assert not answering.is_set()
    answering.set()
    reporter._thread.join()


def test_the_last_report_says_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr(reporting, "write_report", lambda ws, report: said.append(report))
    reporter: Any = Reporter(None, lambda ended: ended)  # type: ignore[arg-type, return-value]
    reporter.start()
    reporter.stop(farewell=True)
    assert said == [False, True]

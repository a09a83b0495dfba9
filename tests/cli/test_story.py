"""The timeline tells what became of the code of a service."""

from datetime import UTC, datetime

from cli.story import tell
from perennial.hosted import HostingAdvanced, HostingEnded, HostingStarted
from perennial.model_history import CandidateFit, Trained
from perennial.periods import Window
from perennial.records import Entry, Measured, Record
from perennial.values import Answer, Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WELL = Verdict(answer=Answer.PASS, reasons=("All 2 replicas are ready.",))
BADLY = Verdict(answer=Answer.FAIL, reasons=("It crashes.",))


def told(record: Record) -> str:
    ((_, text),) = tell([Entry.model_construct(seq=1, previous="", at=NOW, record=record)], "auc")
    return text


def test_each_step_of_a_hosting_is_told() -> None:
    shared = HostingStarted(number=2, image="some:2", variables={}, steps=(0.25,), deadline=NOW)
    assert "some:2 gets 25% of the requests" in told(shared)
    assert "some:2 takes over" in told(shared.model_copy(update={"steps": ()}))
    assert "goes to step 2" in told(HostingAdvanced(number=2, step=1, verdict=WELL))
    assert "runs everywhere" in told(HostingEnded(number=2, verdict=WELL))
    assert "taken back" in told(HostingEnded(number=2, verdict=BADLY)) and "It crashes." in told(
        HostingEnded(number=2, verdict=BADLY)
    )


def test_a_measurement_is_told_with_its_period() -> None:
    record = Measured.model_construct(period="2024-03", performance={}, reference={}, findings=())
    assert told(record) == "2024-03: auc unknown on 0 mature labels; on its holdout unknown"


def test_candidates_are_told_by_what_they_were_chosen_by() -> None:
    window = Window(start=NOW, end=NOW)
    fits = tuple(
        CandidateFit(name=name, estimator="ridge", model="", parameters={}, metrics={}, validation=value)
        for name, value in (("linear", 0.71), ("trees", 0.73), ("mean", None))
    )
    record = Trained.model_construct(candidate="trees", candidates=fits, fit=window, validation=window, holdout=window)
    assert told(record) == "kept trees of 3; auc on validation: linear 0.710, trees 0.730, mean unknown"

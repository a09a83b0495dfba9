"""A challenger that is slow or hangs keeps no answer from the log: it is logged in time, once, and without it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from threading import Event
from time import monotonic
from typing import Any

import pytest

from serving import shadowing
from serving.answering import Trial
from serving.answers import Answer, Question
from serving.loading import Pass, Scored
from serving.reporting import Tally
from serving.shadowing import Shadow
from tests.servers import until
from tests.serving.questions import JUNE, Kept, ask


class Challenger:
    """Answers once it is let go on."""

    model, version, reference = "m", 2, "r"

    def __init__(self) -> None:
        self.begun, self.go_on = Event(), Event()

    def score(self, questions: Sequence[Question]) -> Pass:
        self.begun.set()
        assert self.go_on.wait(20)
        return Pass([Scored(0.5, None, {}) for _ in questions], 0.01, 0.0)


@pytest.fixture
def challenger() -> Iterator[Challenger]:
    challenger: Any = Challenger()
    yield challenger
    challenger.go_on.set()


def answers(*numbers: int) -> list[Answer]:
    return [Answer(one, 0.4, None, 1, 1, "c", "champion", 1, {}, "r", 0.01) for one in ask(*numbers)]


def trial(challenger: Any) -> Trial:
    return Trial(1, "shadow", 1.0, challenger, None, JUNE)


def test_answers_wait_for_a_slow_challenger_at_most_a_second_whether_or_not_others_come(challenger: Challenger) -> None:
    log, tally = Kept(), Tally(1)
    shadow = Shadow(tally, log)
    shadow.start()
    began = monotonic()
    shadow.give(trial(challenger), answers(1))
    assert challenger.begun.wait(20)
    shadow.give(trial(challenger), answers(2))
    assert (log.answered, log.answers) == (2, []), "what waits counts as answered"
    until(20, lambda: len(log.answers) == 2)
    assert monotonic() - began >= shadowing.PATIENCE
    assert [one.shadow for one in log.answers] == [None, None]
    challenger.go_on.set()
    shadow.give(trial(challenger), answers(3))
    until(20, lambda: log.answers[-1].shadow)
    assert log.answered == 3
    shadow.stop()
    logged = Counter(one.question.row["order_id"] for one in log.answers)
    assert (logged["2024-06-000001"], logged["2024-06-000002"]) == (1, 1)
    assert tally.counts()["rollout/1/shadow"].answers > 0, "the challenger is still judged by what it took"


def test_a_challenger_that_hangs_does_not_keep_the_replica_from_its_end(
    challenger: Challenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadowing, "LAST", 0.1)
    log = Kept()
    shadow = Shadow(Tally(1), log)
    shadow.start()
    for number in range(5):
        shadow.give(trial(challenger), answers(number))
    assert challenger.begun.wait(20)
    shadow.stop()
    assert [one.question.row["order_id"] for one in log.answers] == [f"2024-06-{number:06d}" for number in range(5)]
    challenger.go_on.set()
    shadow._thread.join(20)
    assert len(log.answers) == 5, "what was logged without it is not logged again"

"""The challenger scores copies of answered questions, off the caller's path and in bounded memory."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Condition, Event, Thread
from time import monotonic

from serving.answering import Trial
from serving.answers import Answer
from serving.arms import is_copied
from serving.following import Log
from serving.reporting import Tally

WAITING = 200
"""Batches of copies that may wait; more are logged without the challenger's answer."""
PATIENCE = 1.0
"""Seconds that answers wait for the challenger before they are logged without it: a crash shall not cost more."""
LOOK = 0.1
"""Seconds between two looks for such answers."""
LAST = 2.0
"""Seconds that a pass of the challenger has to come to its end when the replica ends."""


@dataclass(eq=False, slots=True)
class _Copy:
    trial: Trial
    answers: Sequence[Answer]
    since: float = field(default_factory=monotonic)


class Shadow:
    """Scores copies in one thread, and passes each answer on to the log, with what the challenger said in time.

    Another thread sees to the time, whether or not there are further answers.
    """

    def __init__(self, tally: Tally, log: Log) -> None:
        self._tally, self._log = tally, log
        self._waiting: deque[_Copy] = deque()
        self._scoring: _Copy | None = None
        self._is_ending = False
        self._there = Condition()
        self._ended = Event()
        self._thread = Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to score copies."""
        self._thread.start()
        Thread(target=self._watch, name="shadow-patience", daemon=True).start()

    def stop(self) -> None:
        """End, without waiting for a challenger that hangs; what it has not scored is logged without it."""
        with self._there:
            self._is_ending = True
            self._there.notify()
        self._thread.join(LAST)
        self._ended.set()
        self._pass_on(self._taken(lambda one: True))

    def give(self, trial: Trial, answers: Sequence[Answer]) -> None:
        """Take answers over; never waits."""
        self._log.expect(answers)
        with self._there:
            self._waiting.append(_Copy(trial, answers))
            self._there.notify()
        self._pass_on(self._taken(lambda one: len(self._waiting) > WAITING))

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            self._pass_on(self._taken(lambda one: monotonic() - one.since > PATIENCE))

    def _taken(self, is_late: Callable[[_Copy], bool]) -> list[_Copy]:
        """Take the oldest copies away from the challenger, first the one that it is at."""
        found: list[_Copy] = []
        with self._there:
            if self._scoring and is_late(self._scoring):
                found.append(self._scoring)
                self._scoring = None
            while self._waiting and is_late(self._waiting[0]):
                found.append(self._waiting.popleft())
        return found

    def _pass_on(self, copies: Sequence[_Copy]) -> None:
        for one in copies:
            self._log.put(one.answers, are_expected=True)

    def _run(self) -> None:
        while (copy := self._next()) is not None:
            answers = self._scored(copy.trial, copy.answers)
            with self._there:
                is_ours, self._scoring = self._scoring is copy, None
            if is_ours:
                self._log.put(answers, are_expected=True)

    def _next(self) -> _Copy | None:
        with self._there:
            self._there.wait_for(lambda: self._waiting or self._is_ending)
            if self._is_ending:
                return None
            self._scoring = self._waiting.popleft()
            return self._scoring

    def _scored(self, trial: Trial, answers: Sequence[Answer]) -> list[Answer]:
        chosen = [one for one in answers if is_copied(one.question.key, trial.number, trial.share)]
        if not chosen:
            return list(answers)
        given, seconds, waited = trial.challenger.score([one.question for one in chosen])
        name = f"rollout/{trial.number}/shadow"
        failed = [said.score is None for said in given]
        of_row = sum(said.score is None and one.score is None for said, one in zip(given, chosen, strict=True))
        self._tally.add(name, len(given) - of_row, sum(failed) - of_row, seconds, trial.since, waited)
        pairs = [(said.score, one.score) for said, one in zip(given, chosen, strict=True)]
        self._tally.compare(name, [said - score for said, score in pairs if said is not None and score is not None])
        said = {
            one.question.id: replace(
                one,
                score=theirs.score,
                error=theirs.error,
                version=trial.challenger.version,
                model=trial.challenger.model,
                arm="shadow",
                features=theirs.features,
                reference=trial.challenger.reference,
                seconds=seconds,
            )
            for one, theirs in zip(chosen, given, strict=True)
        }
        return [replace(one, shadow=said.get(one.question.id)) for one in answers]

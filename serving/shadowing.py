"""The challenger scores copies of answered questions, off the caller's path and in bounded memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import Empty, Full, Queue
from threading import Event, Thread
from time import perf_counter

from serving.answering import Trial
from serving.answers import Answer
from serving.arms import is_copied
from serving.queueing import queued_seconds
from serving.reporting import Tally

WAITING = 200
"""Batches of copies that may wait; more are logged without the challenger's answer."""


class Shadow:
    """A thread that scores copies, and passes each answer on to the log, with what the challenger said."""

    def __init__(self, tally: Tally, log: Callable[[Sequence[Answer]], None]) -> None:
        self._tally, self._log = tally, log
        self._queue: Queue[tuple[Trial, Sequence[Answer]]] = Queue(WAITING)
        self._ending = Event()
        self._thread = Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to score copies."""
        self._thread.start()

    def stop(self) -> None:
        """Score what waits, and end."""
        self._ending.set()
        self._thread.join()

    def give(self, trial: Trial, answers: Sequence[Answer]) -> None:
        """Take answers over; never waits."""
        try:
            self._queue.put_nowait((trial, answers))
        except Full:
            self._log(answers)

    def _run(self) -> None:
        while not (self._ending.is_set() and self._queue.empty()):
            try:
                trial, answers = self._queue.get(timeout=0.2)
            except Empty:
                continue
            self._log(self._scored(trial, answers))

    def _scored(self, trial: Trial, answers: Sequence[Answer]) -> list[Answer]:
        chosen = [one for one in answers if is_copied(one.question.key, trial.number, trial.share)]
        if not chosen:
            return list(answers)
        began, queued = perf_counter(), queued_seconds()
        given = trial.challenger.score([one.question for one in chosen])
        seconds, waited = perf_counter() - began, queued_seconds() - queued
        name = f"rollout/{trial.number}/shadow"
        self._tally.add(name, len(given), sum(one.score is None for one in given), seconds, trial.since, waited)
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

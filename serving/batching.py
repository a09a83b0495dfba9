"""Questions of concurrent requests in batches for the one scoring thread: who comes while it works shares the next.

While the thread is idle a batch waits only as long as the event loop has more requests to read, so a single request
is not delayed; under load callers who got their answers together ask together again. It knows no HTTP and no models.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from serving.answers import Answer, Question
from serving.queueing import queue_clock

STARVED = 0.25
"""Part of the timeout without a processor from which being late is the machine's fault."""
QUIET = 3
"""Turns of the event loop without another question after which a batch is no longer waited with: microseconds."""
Score = Callable[[Sequence[Question]], Sequence[Answer]]


class QueueFull(Exception):
    """More rows wait than the scoring thread gets through within a timeout."""


class Late(Exception):
    """There was no answer in time."""

    def __init__(self, is_starved: bool = False) -> None:
        super().__init__()
        self.is_starved = is_starved
        """The scoring thread waited for a processor for a good part of the time, which is no fault of a version."""


class ScoringFailed(Exception):
    """The replica raised an exception, or gave another number of answers than it was asked."""


@dataclass(slots=True)
class _Waiting:
    questions: Sequence[Question]
    answers: "asyncio.Future[Sequence[Answer]]"


class Batcher:
    """A bounded queue in front of one daemon thread, which a model that hangs cannot keep from ending."""

    def __init__(
        self,
        score: Score,
        *,
        timeout: float,
        max_waiting: int,
        max_batch: int = 256,
        observe: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """Take what is needed; `start` it on the event loop that asks.

        Args:
            score: Called in the scoring thread; gives one answer per question, in order.
            timeout: Seconds that a caller waits.
            max_waiting: Rows that may wait.
            max_batch: Rows of one batch; a larger request is a batch of its own.
            observe: Told the rows of every batch.
        """
        self._score, self._observe = score, observe
        self._timeout, self._max_waiting, self._max_batch = timeout, max_waiting, max_batch
        self._queue: deque[_Waiting] = deque()
        self._work: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._busy_since: float | None = None
        self._is_ending = self._is_gathering = False
        self._together = 1
        """Rows that were under way when the last batch was done: as many may come at once again."""
        self._queued: Callable[[], float] = lambda: 0.0
        self.waiting = 0
        """Rows that wait for the scoring thread."""

    def start(self) -> None:
        """Start the scoring thread for the running event loop."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="scoring", daemon=True).start()

    def stop(self) -> None:
        """Let the scoring thread end once all that waits is answered."""
        self._is_ending = True
        if self._busy_since is None and not self._is_gathering:
            self._work.put(None)

    @property
    def busy_seconds(self) -> float:
        """How long the scoring thread has been working on its batch; 0 while it is idle."""
        return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    async def ask(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Return one answer per question, in order.

        Raises:
            QueueFull: Too many rows wait already.
            Late: There was none within the timeout; what still waits then is never scored.
            ScoringFailed: The replica raised.
        """
        if self.waiting and self.waiting + len(questions) > self._max_waiting:
            raise QueueFull
        waiting = _Waiting(questions, self._loop.create_future())
        self._queue.append(waiting)
        self.waiting += len(questions)
        if self._busy_since is None and not self._is_gathering:
            self._gather()
        queued = self._queued()
        deadline = self._loop.call_later(self._timeout, _expire, waiting.answers)
        try:
            return await waiting.answers
        except Late:
            raise Late(self._queued() - queued > STARVED * self._timeout) from None
        finally:
            deadline.cancel()

    def _gather(self, seen: int = 0, quiet: int = 0) -> None:
        """Hand over once as many rows wait as were under way before, or the loop has no more to read."""
        self._is_gathering = self.waiting < self._together and quiet < QUIET
        if self._is_gathering:
            self._loop.call_soon(self._gather, self.waiting, quiet + 1 if self.waiting == seen else 0)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        batch: list[_Waiting] = []
        rows = 0
        while self._queue and (not batch or rows + len(self._queue[0].questions) <= self._max_batch):
            waiting = self._queue.popleft()
            self.waiting -= len(waiting.questions)
            if not waiting.answers.done():
                batch.append(waiting)
                rows += len(waiting.questions)
        self._busy_since = time.monotonic() if batch else None
        if batch:
            self._observe(rows)
            self._work.put(batch)
        elif self._is_ending:
            self._work.put(None)

    def _run(self) -> None:
        self._queued = queue_clock()
        while (batch := self._work.get()) is not None:
            questions = [question for waiting in batch for question in waiting.questions]
            try:
                given: Sequence[Answer] | Exception = self._score(questions)
            except Exception as error:
                given = error
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(self._finish, batch, given)

    def _finish(self, batch: Sequence[_Waiting], given: Sequence[Answer] | Exception) -> None:
        asked = sum(len(waiting.questions) for waiting in batch)
        if not isinstance(given, Exception) and len(given) != asked:
            given = ScoringFailed(f"{len(given)} answers to {asked} questions")
        start = 0
        for waiting in batch:
            end = start + len(waiting.questions)
            if not waiting.answers.done():
                _settle(waiting.answers, given if isinstance(given, Exception) else given[start:end])
            start = end
        self._together = asked + self.waiting
        self._busy_since = None
        self._gather()


def _settle(future: "asyncio.Future[Sequence[Answer]]", given: Sequence[Answer] | Exception) -> None:
    if isinstance(given, Exception):
        failed = ScoringFailed(f"{type(given).__name__}")
        failed.__cause__ = given
        future.set_exception(failed)
    else:
        future.set_result(given)


def _expire(future: "asyncio.Future[Sequence[Answer]]") -> None:
    if not future.done():
        future.set_exception(Late())

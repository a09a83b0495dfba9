"""The log of one replica's answers: kept in bounded memory, written to the store every second, never waited for.

A crash loses what was answered since the last second; the ledger says how much.
"""

from collections import deque
from collections.abc import Sequence
from itertools import count
from threading import Event, Lock, Thread

from perennial.release.answer_rows import segment_path, write_segment
from perennial.store import AlreadyThere
from perennial.workspace import Workspace
from serving.answers import Answer
from serving.ledger import Ledger, Standing
from serving.telling import tell

EVERY = 1.0
"""Seconds between two segments."""
MAX_ROWS = 50_000
"""Answers that may wait to be encoded."""
MAX_BYTES = 64 * 2**20
"""Of encoded segments that may wait for the store."""
LAST = 5.0
"""Seconds that the store has for what is left when the replica ends."""


class AnswerLog:
    """Answers of one replica on their way to the store; only those with a score."""

    def __init__(self, ws: Workspace, replica: str, *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        self._ws, self._replica = ws, replica
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._rows: list[Answer] = []
        self._segments: deque[tuple[int, bytes, int]] = deque()
        self._ledger = Ledger(replica)
        self._writing = (0, 0)
        """Number and rows of the segment that the store is being given."""
        self._numbers = count(1)
        self._lock = Lock()
        self._ending = Event()
        self._thread = Thread(target=self._run, name="answer-log", daemon=True)
        self.answered = self.logged = self.dropped = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, once; a store that hangs is not waited for."""
        self._ending.set()
        self._thread.join(LAST)

    @property
    def is_complete(self) -> bool:
        """Whether all that was answered is in the store, or counted as dropped."""
        return self.logged + self.dropped == self.answered

    def expect(self, answers: Sequence[Answer]) -> None:
        """Count answers that are given now and put later."""
        with self._lock:
            self._count(answered=len(_scored(answers)))

    def put(self, answers: Sequence[Answer], *, are_expected: bool = False) -> None:
        """Take answers over; never waits for the store. What finds no room is counted as dropped."""
        scored = _scored(answers)
        with self._lock:
            room = self._max_rows - len(self._rows)
            self._rows += scored[:room]
            self._count(answered=0 if are_expected else len(scored), dropped=max(0, len(scored) - room))

    def flush(self) -> None:
        """Write what waits, oldest first; what the store does not take stays, up to the bound."""
        with self._lock:
            rows, self._rows = self._rows, []
        if rows:
            self._encode(rows)
        while self._segments:
            number, data, size = self._segments[0]
            with self._lock:
                self._writing = (number, size)
                self._count()
            try:
                self._ws.store.create(segment_path(self._ws, self._replica, number), data)
            except AlreadyThere:
                pass  # the answer to an earlier try was lost: no other replica has this name
            except Exception as error:
                tell("log.waiting", replica=self._replica, segments=len(self._segments), error=str(error))
                return
            self._segments.popleft()
            with self._lock:
                self._writing = (0, 0)
                self._count(logged=size)

    def _encode(self, rows: Sequence[Answer]) -> None:
        number = next(self._numbers)
        try:
            self._keep(number, write_segment(self._ws.use_case, [_row(one) for one in rows]), len(rows))
        except Exception as error:
            with self._lock:
                self._count(dropped=len(rows))
            tell("log.dropped", replica=self._replica, rows=len(rows), error=type(error).__name__)

    def _keep(self, number: int, data: bytes, rows: int) -> None:
        waiting = sum(len(one) for _, one, _ in self._segments)
        if waiting + len(data) > self._max_bytes:
            with self._lock:
                self._count(dropped=rows)
        else:
            self._segments.append((number, data, rows))

    def _count(self, answered: int = 0, logged: int = 0, dropped: int = 0) -> None:
        """Count, with the lock held."""
        self.answered += answered
        self.logged += logged
        self.dropped += dropped
        self._ledger.write(Standing(self.answered, self.logged, self.dropped, *self._writing))

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._ending.wait(EVERY)
            try:
                self.flush()
            except Exception as error:
                tell("log.failed", replica=self._replica, error=f"{type(error).__name__}: {error}")


def _scored(answers: Sequence[Answer]) -> list[Answer]:
    return [one for one in answers if one.score is not None]


def _row(answer: Answer) -> dict[str, object]:
    """What is kept of an answer, with the columns of the entity's source under `row`."""
    question, shadow = answer.question, answer.shadow
    return {
        "row": question.row,
        "prediction_id": question.id,
        "predicted_at": question.asked_at,
        "model_version": answer.version,
        "release": answer.release,
        "score": answer.score,
        "features_digest": answer.reference,
        "request_id": question.id.rpartition("/")[0],
        "arm": answer.arm,
        "rollout": answer.rollout,
        "features": answer.features,
        "shadow_score": shadow.score if shadow else None,
        "shadow_version": shadow.version if shadow else None,
    }

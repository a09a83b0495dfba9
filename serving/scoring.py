"""From the rows of a request to their answers, through the batcher, or to why there are none; it knows no protocol."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from perennial.serving_spec import Serving
from serving.answers import Answer, Question
from serving.batching import Batcher, Late, QueueFull, ScoringFailed
from serving.lanes import Lanes
from serving.messages import Asked, Request
from serving.metrics import Metrics
from serving.problems import Refused
from serving.replica_protocol import AnsweringReplica
from serving.request_contract import RequestContract

AGAIN = ((b"retry-after", b"1"),)
STUCK = 30.0
"""Seconds of one batch after which the scoring thread counts as stuck, and the process as dead."""
WAITING = 4
"""Rows that may wait, in requests of the largest size."""


class Scoring:
    """Answers the rows of requests with one replica."""

    def __init__(self, replica: AnsweringReplica, metrics: Metrics, clock: Callable[[], datetime]) -> None:
        serving = replica.ws.use_case.serving or Serving()
        self._replica, self._metrics, self._clock = replica, metrics, clock
        self.timeout = serving.timeout.total_seconds()
        self.contract = RequestContract(replica.ws.use_case, serving.max_rows)
        self.lanes = Lanes(self._batcher)

    def start(self) -> None:
        """Begin to score."""
        self.lanes.start()

    def stop(self) -> None:
        """End once all that waits is answered."""
        self.lanes.stop()

    @property
    def is_stuck(self) -> bool:
        """Whether the scoring thread will not come back; that of a canary is the guard's to judge."""
        return self.lanes.steady.busy_seconds > max(STUCK, 10 * self.timeout)

    @property
    def is_late(self) -> bool:
        """Whether the scoring thread has been at one batch for longer than a caller waits."""
        return self.lanes.steady.busy_seconds > self.timeout

    def require_ready(self) -> None:
        """Refuse (503) while nothing is loaded."""
        if not self._replica.is_ready:
            raise Refused(503, "not-ready", "No version is loaded yet. Ask again soon.", (), AGAIN)

    async def answers(self, request: Request, asked: Asked) -> Sequence[Answer]:
        """Return one scored answer per row.

        Raises:
            Refused: Too many rows of one key (422), too much waits (503), no answer in time (504), or no score for a
                row: by this version (500), or by another one either (422).
        """
        rows, contract, asked_at = asked.rows, self.contract, self._clock()
        if unknown := contract.unknown_categories(rows):
            self._metrics.unknown(unknown)
        keys = [contract.canonical_key(row) for row in rows]
        contract.require_few_per_key(rows, keys)
        questions = [
            Question(f"{request.id}/{number}", row, key, asked_at)
            for number, (row, key) in enumerate(zip(rows, keys, strict=True))
        ]
        answers = await self._in_lanes(questions)
        self._metrics.answered(answers)
        _require_scores(answers)
        self._replica.given(answers)
        return answers

    def _batcher(self, lane: int) -> Batcher:
        waiting = WAITING * self.contract.max_rows
        score = partial(self._replica.answer, lane=lane)
        return Batcher(score, timeout=self.timeout, max_waiting=waiting, observe=self._metrics.batch)

    async def _in_lanes(self, questions: Sequence[Question]) -> Sequence[Answer]:
        places: dict[int, list[int]] = {}
        for place, one in enumerate(questions):
            places.setdefault(self._replica.lane(one.key), []).append(place)
        if len(places) == 1:
            return await self._ask(next(iter(places)), questions)
        parts = ([questions[place] for place in mine] for mine in places.values())
        given = await asyncio.gather(*map(self._ask, places, parts))
        found: dict[int, Answer] = {}
        for mine, answers in zip(places.values(), given, strict=True):
            found |= zip(mine, answers, strict=True)
        return [found[place] for place in range(len(questions))]

    async def _ask(self, lane: int, questions: Sequence[Question]) -> Sequence[Answer]:
        try:
            return await self.lanes.at(lane).ask(questions)
        except QueueFull:
            raise Refused(503, "overloaded", "Too many rows wait already. Ask again soon.", (), AGAIN) from None
        except Late as late:
            if not late.is_starved:
                self._replica.unanswered(len(questions), lane)
            raise Refused(504, "timeout", f"There was no answer within {self.timeout:g} s.", (), AGAIN) from None
        except ScoringFailed as error:
            self._replica.unanswered(len(questions), lane)
            raise Refused(500, "scoring", "The rows could not be scored. Nothing is wrong with them.") from error


def _require_scores(answers: Sequence[Answer]) -> None:
    failed = [number for number, one in enumerate(answers) if one.score is None]
    for number in failed:
        if answers[number].of_row:
            why = f"No version has a score for row {number}: its fields are valid, and make no sense together."
            raise Refused(422, "unscorable", why)
    if failed:
        raise Refused(500, "no-score", f"There is no score for row {failed[0]} (of {len(failed)} such rows).")

"""Questions to a `shop-returns` replica, and a log that keeps what it is given; it asserts nothing."""

from collections.abc import Sequence

import orjson

from perennial.records import RolloutStarted
from serving.answers import Answer, Question
from serving.replica import Replica
from tests.builders import moment

JUNE = moment("2024-06-01")


class Kept:
    """A log in memory."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.answered = self.logged = self.dropped = 0

    def expect(self, answers: Sequence[Answer]) -> None:
        self.answered += len(answers)

    def put(self, answers: Sequence[Answer], *, are_expected: bool = False) -> None:
        self.answers.extend(answers)
        self.answered += 0 if are_expected else len(answers)


def ask(*numbers: int, price: float = 60.0) -> list[Question]:
    """Return one order per number."""
    rows = {
        f"2024-06-{number:06d}": {"ordered_at": JUNE, "price": price, "channel": "app", "shop": "bonn"}
        for number in numbers
    }
    return [
        Question(f"request/{place}", {"order_id": name} | row, orjson.dumps({"order_id": name}).decode(), JUNE)
        for place, (name, row) in enumerate(rows.items())
    ]


def answered(replica: Replica, questions: Sequence[Question]) -> list[Answer]:
    """Answer questions as the service does, each in its lane."""
    found = {}
    for lane in {replica.lane(one.key) for one in questions}:
        mine = [one for one in questions if replica.lane(one.key) == lane]
        found |= {one.question.id: one for one in replica.answer(mine, lane)}
    return [found[one.id] for one in questions]


def started(model: str, kind: str) -> RolloutStarted:
    """Return the start of a trial of version 2 against release 1: a shadow on all keys, a canary on a quarter."""
    return RolloutStarted(
        number=1,
        rollout=kind,
        model=model,
        version=2,
        against_release=1,
        against_version=1,
        steps=(1.0,) if kind == "shadow" else (0.25,),
        deadline=moment("2030-01-01"),
    )

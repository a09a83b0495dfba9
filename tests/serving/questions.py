"""Questions to a `shop-returns` replica, and a log that keeps what it is given; it asserts nothing."""

import json
from collections.abc import Sequence

from serving.answers import Answer, Question
from tests.builders import moment

JUNE = moment("2024-06-01")


class Kept:
    """A log in memory."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.logged = self.dropped = 0

    @property
    def answered(self) -> int:
        return len(self.answers)

    def put(self, answers: Sequence[Answer]) -> None:
        self.answers.extend(answers)


def ask(*numbers: int, price: float = 60.0) -> list[Question]:
    """Return one order per number."""
    rows = {
        f"2024-06-{number:06d}": {"ordered_at": JUNE, "price": price, "channel": "app", "shop": "bonn"}
        for number in numbers
    }
    return [
        Question(f"request/{place}", {"order_id": name} | row, json.dumps({"order_id": name}), JUNE)
        for place, (name, row) in enumerate(rows.items())
    ]

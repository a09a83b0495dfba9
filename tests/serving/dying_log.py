"""A replica's log that is killed: some rows in the store, some not. Run by `test_ledger`; it asserts nothing."""

import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any

from perennial.settings import Settings
from perennial.store import Store
from perennial.workspace import Workspace
from serving.answer_log import AnswerLog
from serving.answers import Answer, Question

LOGGED, GIVEN = 3, 5
NOON = datetime(2024, 5, 20, 12, tzinfo=UTC)


def answers(first: int, last: int) -> list[Answer]:
    """Return answers that nobody asked for."""
    named: dict[str, Any] = {"release": 1, "version": 1, "model": "m", "arm": "champion", "rollout": None}
    found = []
    for number in range(first, last):
        row = {"order_id": f"x-{number}", "ordered_at": NOON, "price": 9.5, "channel": "app", "shop": "bonn"}
        question = Question(f"request-{number}/0", row, "", NOON)
        found.append(Answer(question, 0.5, None, **named, features={"price": 9.5}, reference="r", seconds=0.01))
    return found


class Dying(Store):
    """Kills its process before or after it wrote the second segment."""

    place = ""

    def create(self, path: str, data: bytes) -> None:
        if path.endswith("2.arrow") and self.place == "unwritten":
            os.kill(os.getpid(), signal.SIGKILL)
        super().create(path, data)
        if path.endswith("2.arrow") and self.place == "written":
            os.kill(os.getpid(), signal.SIGKILL)


def main(settings: str, place: str) -> None:
    """Log some rows, and die with others."""
    ws = Workspace.open("shop-returns", Settings.model_validate_json(settings))
    ws.__dict__["store"] = store = Dying(ws.settings.storage_root)
    store.place = place
    log = AnswerLog(ws, "one")
    log.put(answers(0, LOGGED))
    log.flush()
    log.put(answers(LOGGED, GIVEN))
    if place == "stuck":
        from serving.worker import _give_up

        log.start()
        _give_up(log)
    if place == "waiting":
        os.kill(os.getpid(), signal.SIGKILL)
    log.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

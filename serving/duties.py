"""What is done beside answering, in a process of its own: the guard every second, the collector every few.

Any number of these processes may run, on any machine; each step is one record of the journal.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from threading import Event
from time import monotonic
from typing import Any

from perennial.workspace import Workspace
from serving.clock import now
from serving.lean import do_without, leave
from serving.parents import end_with_parent
from serving.settings import read_settings
from serving.telling import tell

GUARD, SETTLE, COLLECT, AUDIT = 1.0, 1.0, 5.0, 60.0
"""Seconds between two rounds of each."""


class Duty:
    """One thing to do again and again; what it raises is told, and does not keep the others from theirs."""

    def __init__(self, name: str, do: Callable[[Workspace, datetime], Any], every: float) -> None:
        self._name, self._do, self._every = name, do, every
        self._next = monotonic() + every
        self._said = ""

    def turn(self, ws: Workspace) -> None:
        """Do it if it is time."""
        if monotonic() < self._next:
            return
        try:
            done, said = self._do(ws, now()), ""
            if done is not None:
                tell(f"{self._name}.done", record=getattr(done, "record", done).model_dump(mode="json"))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            if said != self._said:
                tell(f"{self._name}.failed", error=said)
        self._said, self._next = said, monotonic() + self._every


def attend(ws: Workspace, ending: Event) -> None:
    """Do all duties until told to end, and collect once more then."""
    from perennial.release.answers import collect_answers
    from perennial.release.auditing import audit_answers
    from perennial.release.guarding import guard
    from serving.ledger import settle

    duties = [
        Duty("guard", guard, GUARD),
        Duty("settle", lambda ws, at: settle(ws), SETTLE),
        Duty("collect", collect_answers, COLLECT),
        Duty("audit", audit_answers, AUDIT),
    ]
    while not ending.wait(0.2):
        for duty in duties:
            duty.turn(ws)
    with suppress(Exception):
        collect_answers(ws, now())


def _main(slug: str, host: str, port: str) -> None:
    end_with_parent()
    do_without()
    ending = Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ending.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = read_settings(slug, host, int(port), os.environ)
    attend(Workspace.open(slug, settings.storage), ending)
    leave()


if __name__ == "__main__":
    _main(*sys.argv[1:])

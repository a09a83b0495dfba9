"""What is done beside answering, in a process of its own: the guard every second, the collector when it is time.

Any number of these processes may run, on any machine; each step is one record of the journal. The guard has a thread of
its own, and labels are looked at in another; these two share a view of the journal, and the rest has another view.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from threading import Event, Thread
from time import monotonic
from typing import Any

from perennial.workspace import Workspace
from serving.clock import now
from serving.lean import do_without, leave
from serving.parents import end_with_parent
from serving.settings import read_settings
from serving.telling import Trouble, tell

GUARD, SETTLE, COLLECT, AUDIT = 1.0, 1.0, 5.0, 60.0
"""Seconds between two rounds of each while something new is on its way."""
CALM = 300.0
"""Seconds between two rounds of collecting and auditing else: a year of them is not to make the journal long."""
NEW = 600.0
"""Seconds for which a release, a trial, or this process is new."""
_LAST = 5.0
"""Seconds that the guard has to end its last look."""


class Duty:
    """One thing to do again and again; what it raises is told, and does not keep the others from theirs."""

    def __init__(self, name: str, do: Callable[[Workspace, datetime], Any], every: float, calm: float = 0.0) -> None:
        self._name, self._do = name, do
        self._every, self._calm = every, calm
        self._next, self._last = monotonic() + every, monotonic()
        self._trouble = Trouble(f"{name}.failed")

    def turn(self, ws: Workspace, is_calm: Callable[[Workspace], bool]) -> None:
        """Do it if it is time."""
        if monotonic() < self._next:
            return
        if monotonic() - self._last >= self._calm or not is_calm(ws):
            self._try(ws)
            self._last = monotonic()
        self._next = monotonic() + self._every

    def _try(self, ws: Workspace) -> None:
        try:
            done = self._do(ws, now())
            if done is not None:
                tell(f"{self._name}.done", record=getattr(done, "record", done).model_dump(mode="json"))
            self._trouble.heard(None)
        except Exception as error:
            self._trouble.heard(error)


class Calm:
    """Whether nothing waits for what was answered a moment ago: no release is new, and no trial.

    A trial of hours looks at labels every ten minutes, and need not make the journal and the lake long either.
    """

    def __init__(self) -> None:
        self._newest = (0, 0)
        self._since = monotonic()

    def __call__(self, ws: Workspace) -> bool:
        try:
            state = ws.state()
        except Exception:  # the duties themselves say what is wrong
            return False
        newest = len(state.released), len(state.rollouts)
        if newest != self._newest:
            self._newest, self._since = newest, monotonic()
        return monotonic() - self._since > NEW


def attend(ws: Workspace, ending: Event) -> None:
    """Do all duties until told to end, and collect once more then."""
    from perennial.release.answers import collect_answers
    from perennial.release.guarding import guard, look_at_labels

    own = Workspace(ws.use_case, ws.settings)
    guarding = _beside(own, Duty("guard", partial(guard, waits=False), GUARD), ending)
    _beside(own, Duty("labels", look_at_labels, GUARD), ending)
    _go_round(ws, _housekeeping(), ending)
    with suppress(Exception):
        collect_answers(ws, now())
    guarding.join(_LAST)


def _beside(ws: Workspace, duty: Duty, ending: Event) -> Thread:
    thread = Thread(target=_go_round, args=(ws, [duty], ending), daemon=True)
    thread.start()
    return thread


def _housekeeping() -> list[Duty]:
    from perennial.release.answers import collect_answers
    from perennial.release.auditing import audit_answers
    from serving.ledger import settle

    return [
        Duty("settle", lambda ws, at: settle(ws), SETTLE),
        Duty("collect", collect_answers, COLLECT, CALM),
        Duty("audit", audit_answers, AUDIT, CALM),
    ]


def _go_round(ws: Workspace, duties: Sequence[Duty], ending: Event) -> None:
    calm = Calm()
    while not ending.wait(0.2):
        for duty in duties:
            duty.turn(ws, calm)


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

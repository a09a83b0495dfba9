"""How long releases take from the journal to every replica of a service that runs, seen while they happen."""

from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import Self

from perennial.errors import PerennialError
from perennial.release.reports import Report, read_reports
from perennial.workspace import Workspace

_EVERY = 0.2
_GONE = 10.0
"""Seconds after which a replica whose report stays the same is not there."""


@dataclass(frozen=True)
class Swap:
    """A release that every replica has taken on."""

    release: int
    version: int
    replicas: int
    seconds: float
    """From its record in the journal, seen within a fifth of a second, to the report of the last replica."""


class Swaps:
    """Watches a journal and the reports of replicas from a thread of its own."""

    def __init__(self, workspace: Workspace) -> None:
        """Begin with what is released after this moment."""
        self._ws = Workspace(workspace.use_case, workspace.settings)
        champion = self._ws.state().champion
        self._known = champion.number if champion else 0
        self._since = 0.0
        self._seen: dict[str, tuple[Report, float]] = {}
        self._done: dict[int, Swap] = {}
        self._ending = Event()
        self._thread = Thread(target=self._run, name="swaps", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def of(self, release: int, patience: float) -> Swap | None:
        """Return the swap to a release, waited for a while; `None` if not every replica has taken it on by then."""
        deadline = monotonic() + patience
        while release not in self._done and monotonic() < deadline:
            self._ending.wait(_EVERY / 2)
        return self._done.get(release)

    def _run(self) -> None:
        while not self._ending.wait(_EVERY):
            try:
                self._look()
            except PerennialError:
                continue

    def _look(self) -> None:
        champion = self._ws.state().champion
        if champion is None:
            return
        if champion.number != self._known:
            self._known, self._since = champion.number, monotonic()
        if self._since == 0.0 or champion.number in self._done:
            return
        live = self._live()
        if live and all(one.release == champion.number for one in live):
            seconds = monotonic() - self._since
            self._done[champion.number] = Swap(champion.number, champion.version, len(live), seconds)

    def _live(self) -> list[Report]:
        present = monotonic()
        for one in read_reports(self._ws):
            if one.replica not in self._seen or self._seen[one.replica][0].at != one.at:
                self._seen[one.replica] = (one, present)
        return [one for one, heard in self._seen.values() if not one.ended and present - heard < _GONE]

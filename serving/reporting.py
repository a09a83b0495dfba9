"""What a replica counts of its answers, and the thread that tells it to whoever judges a release."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Lock, Thread

from perennial.release.reports import BUCKETS_MS, Counts, Report, write_report
from perennial.workspace import Workspace

EVERY = 1.0
"""Seconds between two reports."""
LAST = 2.0
"""Seconds that the store has for the last one."""


@dataclass
class Arm:
    """Running counts of one arm."""

    since: datetime
    answers: int = 0
    errors: int = 0
    slow: int = 0
    together: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))
    compared: int = 0
    difference: float = 0.0
    squared_difference: float = 0.0


class Tally:
    """Counts by arm, which only grow; threads may share it."""

    def __init__(self, slower_than: float) -> None:
        self._slower_than = slower_than
        self._arms: dict[str, Arm] = {}
        self._lock = Lock()
        self._running: dict[int, tuple[str, datetime]] = {}

    def open(self, name: str, since: datetime) -> None:
        """Begin to count an arm, from now on even without an answer."""
        with self._lock:
            self._arms.setdefault(name, Arm(since))

    def add(self, name: str, rows: int, errors: int, seconds: float, since: datetime, waited: float = 0.0) -> None:
        """Count one pass of a model over some rows.

        Args:
            name: Of the arm, as in `Report.counts`.
            rows: Scored together.
            errors: Of these, without a score.
            seconds: Time of the pass, that each of its rows took.
            since: When the arm began, if this is its first.
            waited: Of the seconds, those without a processor, which make no answer slow.
        """
        with self._lock:
            arm = self._arms.setdefault(name, Arm(since))
            arm.answers += rows
            arm.errors += errors
            arm.slow += rows if seconds - waited > self._slower_than else 0
            arm.together += rows * rows
            arm.latency[bisect_left(BUCKETS_MS, seconds * 1000)] += rows

    def running(self, lane: int, name: str, since: datetime) -> None:
        """Say that an arm begins a pass: until it is counted, whoever waits in vain in the lane waits for it."""
        self._running[lane] = (name, since)

    def unanswered(self, rows: int, lane: int) -> None:
        """Count rows whose caller got no answer as errors of the arm that is at work in their lane, if there is one."""
        running = self._running.get(lane)
        if running is None:
            return
        with self._lock:
            arm = self._arms.setdefault(running[0], Arm(running[1]))
            arm.answers += rows
            arm.errors += rows
            arm.together += rows * rows

    def idle(self, lane: int) -> None:
        """Say that no pass is under way in a lane."""
        self._running.pop(lane, None)

    def compare(self, name: str, differences: Sequence[float]) -> None:
        """Count how far an arm's scores are from the champion's on the same rows."""
        with self._lock:
            arm = self._arms[name]
            arm.compared += len(differences)
            arm.difference += sum(map(abs, differences))
            arm.squared_difference += sum(one * one for one in differences)

    def counts(self) -> Mapping[str, Counts]:
        """Return the counts at this moment."""
        with self._lock:
            return {
                name: Counts.model_validate(vars(one) | {"latency": tuple(one.latency)})
                for name, one in self._arms.items()
            }


class Reporter:
    """Writes a replica's report every second, in a thread of its own; without a store it tries again."""

    def __init__(self, ws: Workspace, report: Callable[[bool], Report]) -> None:
        self._ws = ws
        self._report = report
        self._farewell = False
        self._ending = Event()
        self._thread = Thread(target=self._run, name="reporting", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def stop(self, farewell: bool) -> None:
        """Report once more, as a farewell if the log is complete; a store that hangs is not waited for."""
        self._farewell = farewell
        self._ending.set()
        self._thread.join(LAST)

    def _run(self) -> None:
        self._write(ended=False)
        while not self._ending.wait(EVERY):
            self._write(ended=False)
        self._write(ended=self._farewell)

    def _write(self, ended: bool) -> None:
        try:
            write_report(self._ws, self._report(ended))
        except Exception as error:
            from serving.telling import tell

            tell("report.failed", error=f"{type(error).__name__}: {error}")

"""One scoring thread per lane, so that a canary that is slow or hangs holds up nobody but its own callers."""

from collections.abc import Callable

from serving.arms import STEADY
from serving.batching import Batcher


class Lanes:
    """The batchers of a replica: that of what serves, and that of the last canary."""

    def __init__(self, make: Callable[[int], Batcher]) -> None:
        """Take what makes the batcher of a lane; to be used on the event loop alone."""
        self._make = make
        self._batchers = {STEADY: make(STEADY)}

    def start(self) -> None:
        """Start the scoring thread of what serves; a canary's is started when it is first asked."""
        self.steady.start()

    def stop(self) -> None:
        """Let all of them end once they have answered."""
        for one in self._batchers.values():
            one.stop()

    @property
    def steady(self) -> Batcher:
        """The batcher of what serves: while its thread is stuck, the process is of no use."""
        return self._batchers[STEADY]

    @property
    def waiting(self) -> int:
        """Rows that wait for a scoring thread."""
        return sum(one.waiting for one in self._batchers.values())

    def at(self, lane: int) -> Batcher:
        """Return the batcher of a lane. That of a canary before is let go, with its thread even where that hangs."""
        if lane not in self._batchers:
            for other in self._batchers.keys() - {STEADY}:
                self._batchers.pop(other).stop()
            self._batchers[lane] = self._make(lane)
            self._batchers[lane].start()
        return self._batchers[lane]

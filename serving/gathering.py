"""Counts and values that prometheus_client is told of together: one by one they take a tenth of a request's time."""

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import Any


class Gathered:
    """What was counted since the last flush, by the metric it belongs to; for one thread."""

    def __init__(self) -> None:
        self._counts: defaultdict[Any, int] = defaultdict(int)
        self._values: defaultdict[Any, list[float]] = defaultdict(list)

    def count(self, counter: Any) -> None:
        """Add 1 to a counter."""
        self._counts[counter] += 1

    def observe(self, histogram: Any, value: float) -> None:
        """Add a value to a histogram."""
        self._values[histogram].append(value)

    def flush(self) -> None:
        """Tell all of it."""
        for counter, count in self._counts.items():
            counter.inc(count)
        for histogram, values in self._values.items():
            _observe(histogram, values)
        self._counts.clear()
        self._values.clear()


def _observe(histogram: Any, values: list[float]) -> None:
    """Do what `observe` does with each value, for which the library has no call; a test compares the two."""
    bounds = histogram._upper_bounds
    histogram._sum.inc(sum(values))
    for place, count in Counter(bisect_left(bounds, one) for one in values).items():
        histogram._buckets[place].inc(count)

"""What Prometheus is told of a replica; the only module that uses prometheus_client, imported when it is built.

With `PROMETHEUS_MULTIPROC_DIR` set, which is read at that import, every process writes to files of that folder and
each of them answers `/metrics` for all. Labels have few values: routes, never paths; declared columns, never values.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from math import nan
from typing import Any

from perennial.release.reports import BUCKETS_MS, Report
from serving.answers import Answer
from serving.gathering import Gathered
from serving.settings import SHARED

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_SECONDS = tuple(one / 1000 for one in BUCKETS_MS)
_SCORES = {
    "binary": tuple(round(0.05 * step, 2) for step in range(1, 21)),
    "regression": (-1e6, -1e4, -1e3, -300, -100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1e3, 1e4, 1e6),
}


class Metrics:
    """Counters, histograms and gauges of one process."""

    def __init__(self, task: str) -> None:
        """Make them.

        Args:
            task: Of the use case, for the buckets of the score.
        """
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = registry = CollectorRegistry()
        self._gathered = Gathered()

        def named(kind: Any, name: str, about: str, *labels: str, **more: Any) -> Any:
            return kind(f"perennial_serving_{name}", about, labels, registry=registry, **more)

        self._requests = named(Counter, "requests", "Requests by route and status.", "route", "status")
        self._seconds = named(Histogram, "request_seconds", "Time of a request.", "route", "version", buckets=_SECONDS)
        self._refused = named(Counter, "refused", "Requests without an answer, by reason.", "reason")
        self._rows = named(Counter, "rows", "Rows answered.", "version", "arm")
        self._errors = named(Counter, "errors", "Rows without a score, by version.", "version", "arm")
        self._unknown = named(Counter, "unknown_categories", "Values that are not declared.", "column")
        self._scores = named(Histogram, "score", "Scores given.", "version", buckets=_SCORES[task])
        self._batches = named(
            Histogram, "batch_rows", "Rows scored at once.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)
        )
        live = {"multiprocess_mode": "liveall"}
        self._release = named(Gauge, "release", "Number of the release that answers.", **live)
        self._features_at = named(
            Gauge, "features_made_timestamp_seconds", "Moment for which online features were made last.", **live
        )
        self._features_age = named(Gauge, "features_age_seconds", "How old that moment is.", **live)
        self._newest_row_at = named(
            Gauge, "newest_row_timestamp_seconds", "Newest row of the source that lies back furthest.", **live
        )
        self._newest_row_age = named(Gauge, "newest_row_age_seconds", "How old that row is.", **live)
        self._followed = named(Gauge, "journal_age_seconds", "Since the journal was last followed.", **live)
        self._lag = named(Gauge, "log_lag_rows", "Rows answered and not yet in the log for good.", **live)
        self._dropped = named(Gauge, "log_dropped_rows", "Rows answered and never logged.", **live)
        self._waiting = named(Gauge, "waiting_rows", "Rows that wait for the scoring thread.", **live)
        self._ready = named(Gauge, "ready", "Whether the replica takes requests.", **live)
        self._request = lru_cache(1024)(lambda route, status: self._requests.labels(route, status))
        self._time = lru_cache(1024)(lambda route, version: self._seconds.labels(route, version))
        self._row = lru_cache(256)(lambda version, arm: self._rows.labels(version, arm))
        self._score = lru_cache(256)(lambda version: self._scores.labels(version))

    def request(self, route: str, status: int, seconds: float, version: str) -> None:
        """Count a request that was responded to."""
        self._gathered.count(self._request(route, status))
        self._gathered.observe(self._time(route, version), seconds)

    def refused(self, reason: str) -> None:
        """Count a request that got no answer."""
        self._refused.labels(reason).inc()

    def answered(self, answers: Sequence[Answer]) -> None:
        """Count the rows of a request and their scores."""
        for one in answers:
            self._gathered.count(self._row(one.version, one.arm))
            if one.score is None:
                self._errors.labels(one.version, one.arm).inc()
            else:
                self._gathered.observe(self._score(one.version), one.score)

    def unknown(self, counts: Mapping[str, int]) -> None:
        """Count undeclared categories by column."""
        for column, count in counts.items():
            self._unknown.labels(column).inc(count)

    def batch(self, rows: int) -> None:
        """Count a batch."""
        self._gathered.observe(self._batches, rows)

    def flush(self) -> None:
        """Let others see what was counted so far; to be called where it is counted."""
        self._gathered.flush()

    def replica(self, report: Report, ready: bool, followed: float, waiting: int, now: datetime) -> None:
        """Set the gauges to what the replica says of itself."""
        self._release.set(report.release or 0)
        if report.features_at is not None:
            self._features_at.set(report.features_at.timestamp())
            self._features_age.set((now - report.features_at).total_seconds())
        newest = report.newest_row_at
        self._newest_row_at.set(newest.timestamp() if newest else nan)
        self._newest_row_age.set((now - newest).total_seconds() if newest else nan)
        self._followed.set(followed)
        self._lag.set(max(0, report.answered - report.logged - report.dropped))
        self._dropped.set(report.dropped)
        self._waiting.set(waiting)
        self._ready.set(ready)

    def text(self) -> bytes:
        """Write all that was flushed, of every process where there are several."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        if not os.environ.get(SHARED):
            return bytes(generate_latest(self.registry))
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return bytes(generate_latest(together))


def forget(pid: int) -> None:
    """Remove the gauges of a process that ended; its counts stay. For whoever started it."""
    if os.environ.get(SHARED):
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]

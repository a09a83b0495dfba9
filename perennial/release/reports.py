"""What a replica of the online service says of itself, for whoever judges a release; kept beside the journal.

A report is replaced by the next of the same replica: it is a gauge, never a decision.
"""

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field, ValidationError

from perennial.store import MissingObject
from perennial.values import Frozen
from perennial.workspace import Workspace

BUCKETS_MS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Upper bounds of the latency histogram; a last bucket holds the rest."""


class Counts(Frozen):
    """What one arm of one release or rollout did in one replica since it was loaded there; only ever grows."""

    answers: int = 0
    """Rows that were scored, or should have been."""
    errors: int = 0
    """Of these: exceptions, scores that are not finite, no answer in time."""
    slow: int = 0
    """Of these: slower than `serving.health.slower_than`."""
    together: int = 0
    """Sum of the squares of how many rows each pass of the model scored: rows of one pass fail or are slow together, so
    they count as that many fewer. 0 says that every row was scored by itself."""
    latency: tuple[int, ...] = (0,) * (len(BUCKETS_MS) + 1)
    """Answers per bucket of `BUCKETS_MS`."""
    compared: int = 0
    """Rows that the champion scored as well."""
    difference: float = 0.0
    """Sum of the absolute differences of both scores over `compared`."""
    squared_difference: float = 0.0
    since: datetime | None = None


class Report(Frozen):
    """One replica at one moment."""

    replica: str
    address: str
    started_at: datetime
    at: datetime
    ended: bool = False
    """It took its leave: its log is complete."""
    head: int = 0
    """Journal entry up to which it has followed."""
    release: int | None = None
    """Number of the release that answers."""
    model: str | None = None
    version: int | None = None
    rollout: int | None = None
    """Number of the rollout that it takes part in."""
    refused: dict[str, str] = Field({})
    """Why it did not take on a release (`release/3`) or a rollout (`rollout/2`)."""
    counts: dict[str, Counts] = Field({})
    """By `release/<number>` for the champion, `rollout/<number>/canary`, `/baseline` or `/shadow`."""
    answered: int = 0
    """Rows answered since it started."""
    logged: int = 0
    """Of these, in the log for good."""
    dropped: int = 0
    """Of these, never logged, because the log was away for too long."""
    features_at: datetime | None = None
    """The moment up to which its online features know the lake."""


def report_path(ws: Workspace, replica: str) -> str:
    """Return where a replica's report lies below the storage root."""
    return f"serving/{ws.use_case.slug}/replicas/{replica}.json"


def write_report(ws: Workspace, report: Report) -> None:
    """Replace a replica's report."""
    ws.store.put(report_path(ws, report.replica), report.model_dump_json().encode())


def read_reports(ws: Workspace) -> Sequence[Report]:
    """Return the newest report of every replica that ever reported, by name; unreadable ones are left out."""
    found = []
    for path in ws.store.list(f"serving/{ws.use_case.slug}/replicas"):
        try:
            found.append(Report.model_validate_json(ws.store.get(path)))
        except (MissingObject, ValidationError):
            continue
    return found

"""What a replica of the online service says of itself, as plain values; where it lies, `release.reports` knows."""

from datetime import datetime

from pydantic import Field

from perennial.values import Frozen

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
    """Why it did not take on a release (`release/3`) or a rollout (`rollout/2`), through that version's own fault."""
    waiting: dict[str, str] = Field({})
    """Why it could not take one on yet, through something else: a store that is away, a lake that lacks a file."""
    counts: dict[str, Counts] = Field({})
    """By `release/<number>` for the champion, `rollout/<number>/canary`, `/baseline` or `/shadow`."""
    answered: int = 0
    """Rows answered since it started."""
    logged: int = 0
    """Of these, in the log for good."""
    dropped: int = 0
    """Of these, never logged, because the log was away for too long."""
    features_at: datetime | None = None
    """The moment for which its online features were made last."""
    newest_row_at: datetime | None = None
    """When the newest row became known of that source which lies back furthest, of those that they read."""

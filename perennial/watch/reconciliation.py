"""What an event should have started and did not: a pure comparison of the journal with who works on it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from perennial.periods import Period
from perennial.records import Entry, Measured, RetrainingDecided
from perennial.retraining import Request
from perennial.state import State
from perennial.watch.claims import TRIES, Life

REMEMBERED = timedelta(days=6)
"""Prefect's server keeps events for seven days, where nobody says otherwise."""
SETTLED = timedelta(minutes=10)
"""What was written more lately may be a step of a run that goes on."""


@dataclass(frozen=True)
class Overdue:
    """A retraining that was asked for and that nobody does."""

    request: Request
    action: Literal["start", "abandon"]
    reason: str


def unasked(entries: Iterable[Entry]) -> tuple[Period, Entry] | None:
    """Return the newest measurement, with its period, if the policy was not asked what follows from it."""
    question: tuple[Period, Entry] | None = None
    for entry in entries:
        if isinstance(entry.record, Measured):
            question = Period.parse(entry.record.period), entry
        elif isinstance(entry.record, RetrainingDecided) and question and entry.record.period == question[0].label:
            question = None
    return question


def overdue(state: State, lives: Mapping[str, Life], now: datetime) -> list[Overdue]:
    """Return the open requests that no living run holds, and whether they are started or given up.

    Args:
        state: What the journal amounts to.
        lives: What is known of the holders of open requests.
        now: By the clock that leases end by.
    """
    return [found for one in state.requests.values() if one.is_open and (found := _overdue(one, lives, now))]


def is_remembered(written: datetime, now: datetime) -> bool:
    """Say whether the server would still know of news that were written at a moment, had it heard of them."""
    return now - written < REMEMBERED


def is_settled(written: datetime, now: datetime) -> bool:
    """Say whether what was written at a moment is no longer a step of a run that goes on, which asks by itself."""
    return now - written >= SETTLED


def _overdue(request: Request, lives: Mapping[str, Life], now: datetime) -> Overdue | None:
    held = request.claim
    if held is None:
        return Overdue(request, "start", "Nobody has taken it up.")
    life = lives.get(held.holder, Life.ALIVE)
    if life is Life.ALIVE or (life is Life.UNKNOWN and now < held.until):
        return None
    if life is Life.CANCELLED:
        return Overdue(request, "abandon", f"Run {held.holder} was cancelled by a person.")
    if len(request.claims) >= TRIES:
        return Overdue(request, "abandon", f"It was taken up {len(request.claims)} times and never came to an end.")
    return Overdue(request, "start", f"Run {held.holder} took it up and ended without an answer.")

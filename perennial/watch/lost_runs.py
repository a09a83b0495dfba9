"""Runs that nobody works on any more: a pure decision on what a server says of them; it changes no run."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from perennial.errors import Permanent
from perennial.periods import format_duration

FORGOTTEN = timedelta(hours=24)
"""After this a crashed run is history, and a run that never gave a sign of life is dead."""
BEATS = 3
"""A run that is silent for fewer heartbeats may be alive: one can be lost and another be late."""
RESTARTS = 2
"""How often a run is started again after a crash."""


class Impatient(Permanent):
    """Runs that are alive would count as lost, or lost ones never."""


@dataclass(frozen=True)
class RunSeen:
    """A run as the server knows it."""

    run: str
    state: Literal["PENDING", "RUNNING", "CRASHED"]
    since: datetime
    heartbeat: datetime | None = None
    """Its newest sign of life; `None` where none is known."""
    crashes: int = 0
    """How often it crashed before, or has now."""
    parent_ended: bool | None = None
    """Whether the run that it is a part of has ended; `None` where it is a part of none."""


@dataclass(frozen=True)
class Mending:
    """What is done about a run."""

    run: str
    action: Literal["crash", "restart"]
    reason: str


def check_patience(seconds: float, heartbeat: float | None) -> timedelta:
    """Return after what silence a run counts as lost, where a run gives a sign of life every `heartbeat` seconds.

    Where nothing says how often that is, it is 180 seconds, as Prefect has it by default.

    Raises:
        Impatient: A run that works would be marked as crashed, or one that crashed never be run again.
    """
    least, most = BEATS * (heartbeat or 180.0), FORGOTTEN.total_seconds()
    if not least <= seconds <= most:
        raise Impatient(
            f"`patience` is {seconds:g} seconds; expected at least {least:g}, {BEATS} heartbeats, or a run "
            f"that is alive could be marked as crashed, and at most {most:g}, after which nothing crashed is run "
            "again. Nothing was changed; correct it, or leave it out."
        )
    return timedelta(seconds=seconds)


def mend(seen: RunSeen, now: datetime, patience: timedelta) -> Mending | None:
    """Say what a lost run needs; `None` for one that works, waits, or is given up.

    A run that began or was to begin, and is silent for longer than `patience`, is marked as crashed, so that its slot
    is free; a part of a run that has ended, at once. A crashed run is started again a bounded number of times, and
    only when whoever does so at once had its time.
    """
    if seen.parent_ended is not None:
        return Mending(seen.run, "crash", "The run that it is a part of has ended.") if seen.parent_ended else None
    if seen.state == "CRASHED":
        return _restart(seen, now, patience)
    limit = FORGOTTEN if seen.state == "RUNNING" and seen.heartbeat is None else patience
    if now - max(seen.since, seen.heartbeat or seen.since) < limit:
        return None
    what = "It began and sent no heartbeat" if seen.state == "RUNNING" else "A worker took it and it did not begin"
    return Mending(seen.run, "crash", f"{what} for {format_duration(limit)}: its process is gone.")


def _restart(seen: RunSeen, now: datetime, patience: timedelta) -> Mending | None:
    if seen.crashes > RESTARTS or not patience <= now - seen.since < FORGOTTEN:
        return None
    return Mending(seen.run, "restart", f"It crashed and is run again ({seen.crashes} of {RESTARTS}).")

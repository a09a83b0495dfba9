"""The window that a reactive trigger counts events in, lived through again from the events of one key.

Prefect keeps one window per trigger and value of `for_each` in its database and shows it nowhere. This follows
`evaluate` and `reactive_evaluation` of prefect.server.events.triggers, step by step, so that the answer is the
server's; a test compares both.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import ReceivedEvent

LOOKBACK = timedelta(minutes=15)
"""How far before its first event a window begins, for events that arrive out of order."""
KEPT = timedelta(seconds=60)
"""How long the server keeps a window that has ended."""


@dataclass(frozen=True)
class Window:
    """From `start` until before `end`, with the events counted in it."""

    start: datetime
    end: datetime
    count: int = 0
    used_by: "ReceivedEvent | None" = None
    """The event that fired the trigger last, which moved the start to where it is."""


@dataclass(frozen=True)
class Outcome:
    """What one event did to a trigger."""

    fires: bool
    window: Window | None
    """The window as it met the event; `None` where the event opened one."""
    count: int
    """Events in the window, this one among them if it counted."""


def live_through(trigger: "EventTrigger", events: Iterable["ReceivedEvent"]) -> Outcome:
    """Say what the last of some events did to a reactive trigger.

    Args:
        trigger: It covers and expects all the events, which have one bucketing key, and has no `after`.
        events: In the order they arrived, the one in question last.
    """
    window: Window | None = None
    outcome = Outcome(False, None, 0)
    for event in events:
        met = None if window and window.end <= event.received - KEPT else window
        outcome, window = _meet(trigger, met, event)
    return outcome


def _meet(trigger: "EventTrigger", met: Window | None, event: "ReceivedEvent") -> tuple[Outcome, Window | None]:
    now, within = event.occurred, trigger.within
    window = met or Window(now - LOOKBACK, now + within)
    if now < window.start:
        return Outcome(False, met, window.count), window
    if trigger.immediate or now < window.end:
        window = replace(window, count=window.count + 1)
        if window.count >= trigger.threshold:
            return Outcome(True, met, window.count), _after(window, within, now, event)
        return Outcome(False, met, window.count), window
    return _meet(trigger, Window(max(window.end, now), max(window.end, now) + within, used_by=window.used_by), event)


def _after(window: Window, within: timedelta, now: datetime, event: "ReceivedEvent") -> Window | None:
    start = max(window.end, now)
    return Window(start, start + within, used_by=event) if within else None

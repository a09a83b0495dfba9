"""When a trigger that fires once within some time counts an event, and when it lets it pass."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

from deployments.windows import live_through
from tests.builders import moment

START = moment("2024-05-01")


def event(second: int) -> ReceivedEvent:
    at: datetime = START + timedelta(seconds=second)
    resource = {"prefect.resource.id": "perennial.use-case.shop"}
    return ReceivedEvent(id=uuid4(), event="perennial.drift.detected", resource=resource, occurred=at, received=at)


@pytest.mark.parametrize(
    ("threshold", "within", "seconds", "fires"),
    [
        (1, 0, [0, 0, 1], [True, True, True]),
        (1, 100, [0, 1, 99, 101], [True, False, False, True]),
        (1, 100, [0, 199, 201], [True, True, True]),  # windows tumble: the next one begins where the last ended
        (1, 100, [0, 400, 450, 501], [True, True, False, True]),
        (3, 100, [0, 1, 2, 3], [False, False, True, False]),
        (2, 100, [0, 150, 160], [False, False, True]),
        (2, 100, [0, 300], [False, False]),
    ],
)
def test_a_window_is_used_once_and_then_closed(
    threshold: int, within: int, seconds: list[int], fires: list[bool]
) -> None:
    trigger = EventTrigger(
        expect={"perennial.drift.detected"}, posture="Reactive", threshold=threshold, within=timedelta(seconds=within)
    )
    events = [event(second) for second in seconds]
    assert [live_through(trigger, events[: n + 1]).fires for n in range(len(events))] == fires


def test_a_closed_window_names_the_event_that_used_it() -> None:
    trigger = EventTrigger(expect={"*"}, posture="Reactive", threshold=1, within=timedelta(seconds=100))
    first = event(0)
    outcome = live_through(trigger, [first, event(5)])
    assert outcome.window is not None
    assert (outcome.window.used_by, outcome.window.start) == (first, START + timedelta(seconds=100))

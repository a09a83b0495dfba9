"""What fires an automation: events of use cases and of runs, always of one environment, and how long one waits."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prefect.events.schemas.automations import EventTrigger

from deployments.item import MARK

RESOURCE = "prefect.resource.id"
NAME = "prefect.resource.name"
ROLE = "prefect.resource.role"
PERIOD = "perennial.period"
SOURCE = "perennial.source"


@dataclass(frozen=True)
class Pace:
    """How long automations wait; tests make it shorter."""

    quiet: timedelta = timedelta(minutes=1)
    """After one event about a use case, more of the same kind start no run: a storm costs one run per minute."""
    silence: timedelta = timedelta(minutes=15)
    """A run that sent no heartbeat for so long is stuck: five heartbeats, and more than a restart of the server."""
    restarts: int = 2
    """How often a crashed run is started again."""
    nagging: timedelta = timedelta(hours=1)
    """How often people are told the same."""


USUAL = Pace()


def of_use_cases(
    environment: str,
    *expected: str,
    labels: dict[str, Any] | None = None,
    alone: bool = False,
    each: tuple[str, ...] = (),
    **more: Any,
) -> EventTrigger:
    """Fire for each use case on its events; `alone` only on those of a deployment's own run, not of a subflow.

    With `each` they are told apart by more labels, as the period; events without one are told apart no further.
    """
    return EventTrigger(
        match={RESOURCE: "perennial.use-case.*", "perennial.environment": environment, **(labels or {})},
        match_related=of_deployment(environment) if alone else {},
        expect=set(expected),
        for_each={RESOURCE, *each},
        threshold=1,
        **more,
    )


def of_runs(
    environment: str, *expected: str, labels: dict[str, Any] | None = None, each: str = RESOURCE, **more: Any
) -> EventTrigger:
    """Fire for each run of a deployment of the environment; subflows have no deployment and are left alone."""
    return EventTrigger(
        match={RESOURCE: "prefect.flow-run.*", **(labels or {})},
        match_related=of_deployment(environment),
        expect=set(expected),
        for_each={each},
        threshold=1,
        **more,
    )


def of_deployment(environment: str) -> list[dict[str, Any]]:
    """Match what is related to a deployment of the environment, by its tags too: anybody may call one `prod`."""
    tags = ({ROLE: "tag", RESOURCE: f"prefect.tag.{tag}"} for tag in (MARK, environment))
    return [{ROLE: "deployment", NAME: environment}, *tags]

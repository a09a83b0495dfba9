"""What is told to the outside after it was recorded: Prefect events, which start automations.

An event is the fast path and may be lost or doubled; the journal is the safe one. Its id follows from
what it is about, so that the same news told twice is one event.
"""

from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.events import emit_event

from perennial.records import Record
from perennial.workspace import Workspace
from tasks.news import news_of


def tell(workspace: Workspace, record: Record, as_of: datetime) -> None:
    """Announce all that is told of a record that was written."""
    for news in news_of(record, as_of):
        announce(workspace, *news)


def announce(
    workspace: Workspace, event: str, about: str, payload: dict[str, Any], occurred: datetime | None = None
) -> None:
    """Emit `perennial.<event>` for a use case.

    Args:
        workspace: Whose news; its environment, the length of its periods, and the period and source that it is about,
            are labels of the resource, for automations to match and to tell apart.
        event: Noun and past participle, as `drift.detected`.
        about: What it is about, as the number or digest of a record: with the event it makes the id.
        payload: A few plain values.
        occurred: When it happened; by default now.
    """
    slug = workspace.use_case.slug
    emit_event(
        f"perennial.{event}",
        resource={
            "prefect.resource.id": f"perennial.use-case.{slug}",
            "prefect.resource.name": slug,
            "perennial.environment": workspace.settings.environment,
            "perennial.every": workspace.use_case.every.value,
            **{f"perennial.{name}": payload[name] for name in ("period", "source") if name in payload},
        },
        occurred=occurred,
        payload=payload,
        id=event_id(workspace, event, about),
    )


def event_id(workspace: Workspace, event: str, about: str) -> UUID:
    """Return the id of the event that tells some news, the same whoever tells them."""
    whose = f"{workspace.settings.environment}/{workspace.use_case.slug}"
    return uuid5(NAMESPACE_URL, f"perennial/{whose}/{event}/{about}")

"""What is told to the outside after it was recorded: Prefect events, which start automations.

An event is the fast path and may be lost or doubled; the journal is the safe one. Its id follows from
what it is about, so that the same news told twice is one event.
"""

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect.events import emit_event

from perennial.workspace import Workspace


def announce(workspace: Workspace, event: str, about: str, payload: dict[str, Any]) -> None:
    """Emit `perennial.<event>` for a use case.

    Args:
        workspace: Whose news; its environment is a label of the resource, for automations to match.
        event: Noun and past participle, as `drift.detected`.
        about: What it is about, as the number or digest of a record: with the event it makes the id.
        payload: A few plain values.
    """
    slug, environment = workspace.use_case.slug, workspace.settings.environment
    emit_event(
        f"perennial.{event}",
        resource={
            "prefect.resource.id": f"perennial.use-case.{slug}",
            "prefect.resource.name": slug,
            "perennial.environment": environment,
        },
        payload=payload,
        id=uuid5(NAMESPACE_URL, f"perennial/{environment}/{slug}/{event}/{about}"),
    )

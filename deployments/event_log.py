"""What a Prefect server remembers of events, and the automations it keeps; it reads and changes nothing."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

from prefect.client.orchestration import SyncPrefectClient
from prefect.server.events.schemas.automations import Automation, EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.schemas.core import Flow
from prefect.server.schemas.responses import DeploymentResponse, FlowRunResponse
from pydantic import ValidationError

from deployments.explain import Names
from deployments.triggers import RESOURCE
from perennial.errors import Permanent

MOST_EVENTS = 2000
"""Bound of the events that are read for one question, the newest first."""
_MODELS: dict[str, tuple[str, Any]] = {
    "flow_run": ("flow_runs", FlowRunResponse),
    "flow": ("flows", Flow),
    "deployment": ("deployments", DeploymentResponse),
}


class UnknownEvent(Permanent):
    """Neither a file nor an event that the server remembers."""


class InvalidEvent(Permanent):
    """A file holds no event."""


class EventLog:
    """The events and automations of one server."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client: Any = client  # whose paths mypy knows one by one
        self.has_left_out = False
        """Whether a trigger looked at more events of the past than were read, so that an answer may be wrong."""

    def automations(self) -> list[Automation]:
        """Return all automations by name, disabled ones too."""
        found = self._pages("/automations/filter", {"sort": "NAME_ASC"})
        return [Automation.model_validate(one) for one in found]

    def event(self, identity: UUID) -> ReceivedEvent:
        """Return the event of an id.

        Raises:
            UnknownEvent: The server has none, or has forgotten it (it keeps events for 7 days).
        """
        found = list(self._events({"id": {"id": [str(identity)]}}))
        if not found:
            raise UnknownEvent(
                f"The server at {self._client.api_url} remembers no event `{identity}`. It keeps events for a week; "
                "give a JSON file with the event instead."
            )
        return found[0]

    def past(self, trigger: EventTrigger, event: ReceivedEvent, since: datetime | None) -> Sequence[ReceivedEvent]:
        """Return the events of the same bucketing key that a trigger looked at before this one, oldest first.

        Of more than `MOST_EVENTS` the newest are read, and `has_left_out` says so.
        """
        window = {"since": (since or event.occurred - timedelta(days=7)).isoformat(), "until": _end(event)}
        wanted = {"occurred": window, "event": _named(trigger), **_about(trigger, event)}
        key = trigger.bucketing_key(event)
        seen = self._events(wanted, "DESC")
        read = list(islice(seen, MOST_EVENTS))
        self.has_left_out |= next(seen, None) is not None
        found = [
            one
            for one in read
            if one.id != event.id
            and one.received <= event.received
            and trigger.covers(one)
            and trigger.expects(one.event)
            and trigger.bucketing_key(one) == key
        ]
        return sorted(found, key=lambda one: one.received)

    def done(self, event: ReceivedEvent) -> list[dict[str, str]]:
        """Return what the server did about an event: per action of an automation its outcome and the run it made."""
        about = {"related": {"id": [f"prefect.event.{event.id}"]}, "event": {"prefix": ["prefect.automation.action."]}}
        told = [one for one in self._events(about) if not one.event.endswith(".triggered")]
        return [
            {
                "automation": one.resource.name or one.resource.id,
                "action": str(one.payload.get("action_type")),
                "outcome": one.event.rpartition(".")[2],
                "about": str(one.payload.get("reason") or _run(one)),
            }
            for one in told
        ]

    def names(self) -> Names:
        """Return the names of deployments and blocks by their ids."""
        flows = {one["id"]: one["name"] for one in self._pages("/flows/filter", {})}
        deployments = self._pages("/deployments/filter", {})
        blocks = self._pages("/block_documents/filter", {})
        return Names(
            {one["id"]: f"{flows.get(one['flow_id'])}/{one['name']}" for one in deployments},
            {one["id"]: f"{(one.get('block_type') or {}).get('slug')}/{one.get('name')}" for one in blocks},
            self._read,
        )

    def _read(self, kind: str, identity: str) -> Any | None:
        if kind not in _MODELS:
            return None
        path, model = _MODELS[kind]
        return model.model_validate(self._client.request("GET", f"/{path}/{identity}").json())

    def _events(self, wanted: dict[str, Any], order: Literal["ASC", "DESC"] = "ASC") -> Iterator[ReceivedEvent]:
        everything = {"since": "2000-01-01T00:00:00Z", "until": "2200-01-01T00:00:00Z"}
        body = {"filter": {"occurred": everything, **wanted, "order": order}, "limit": 50}
        page = self._client.request("POST", "/events/filter", json=body).json()
        while True:
            yield from (ReceivedEvent.model_validate(one) for one in page["events"])
            if not page["next_page"]:
                return
            token = page["next_page"].partition("page-token=")[2]
            page = self._client.request("GET", "/events/filter/next", params={"page-token": token}).json()

    def _pages(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        offset = 0
        while found := self._client.request("POST", path, json={**body, "offset": offset, "limit": 200}).json():
            yield from found
            offset += len(found)


def read_event(path: Path, now: datetime) -> ReceivedEvent:
    """Read an event from a JSON file; `id` and `occurred` may be left out, and are then new and now.

    Raises:
        InvalidEvent: It is no JSON, or lacks `event` or `resource`.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        filled = {"id": str(uuid4()), "occurred": now.isoformat(), **given}
        return ReceivedEvent.model_validate({"received": filled["occurred"], **filled})
    except (json.JSONDecodeError, TypeError) as error:
        raise InvalidEvent(f"`{path}` is no JSON object: {error}. {_EXAMPLE}") from None
    except ValidationError as error:
        faults = "; ".join(f"`{'.'.join(map(str, one['loc']))}`: {one['msg']}" for one in error.errors())
        raise InvalidEvent(f"`{path}` is no event: {faults}. {_EXAMPLE}") from None


_EXAMPLE = (
    'Expected as {"event": "perennial.drift.detected", "resource": {"prefect.resource.id": "perennial.use-case.x", '
    '"perennial.environment": "prod"}, "payload": {}}.'
)


def _named(trigger: EventTrigger) -> dict[str, list[str]]:
    exact = [one for one in trigger.expect if "*" not in one]
    open_ended = [one.partition("*")[0] for one in trigger.expect if "*" in one]
    return {"prefix": [*exact, *open_ended]} if open_ended else {"name": exact} if exact else {}


def _about(trigger: EventTrigger, event: ReceivedEvent) -> dict[str, dict[str, list[str]]]:
    """Ask for what is about the same resource alone where a trigger is for each."""
    return {"resource": {"id": [event.resource.id]}} if RESOURCE in trigger.for_each else {}


def _end(event: ReceivedEvent) -> str:
    return max(event.occurred, event.received).isoformat()


def _run(event: ReceivedEvent) -> str:
    runs = [one for one in event.related if one.id.startswith("prefect.flow-run.")]
    return f"run `{runs[0].name}` {runs[0].id.removeprefix('prefect.flow-run.')}" if runs else ""

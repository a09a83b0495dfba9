"""What follows from one event: the automations of the server, or else of the code, and what the journal would say."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.server.events.schemas.automations import Automation, EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

from deployments.automations import AutomationSpec, Notify, StartRun, automations
from deployments.event_log import MOST_EVENTS, EventLog, UnknownEvent, read_event
from deployments.explain import ENVIRONMENT, Explanation, Names, explain, unexpected
from deployments.server import NoServerKnown, ServerAway, server_of
from flows.arguments import parse_moment
from flows.entry import now
from perennial.errors import PerennialError
from perennial.periods import Period
from perennial.settings import Settings
from perennial.watch.policy import foresee
from perennial.workspace import Workspace

_USE_CASE = "perennial.use-case."
_ASKING = ("retrain", "pipeline")
"""Flows that ask the policy before they train."""


@dataclass(frozen=True)
class Answer:
    """All that can be said of an event."""

    event: ReceivedEvent
    source: str
    """Whose automations were asked."""
    explanations: tuple[Explanation, ...]
    misspelt: str | None
    journal: tuple[str, ...]
    """What the journal would say to the runs that it starts."""
    done: tuple[dict[str, str], ...] = ()
    """What the server did about it, if it knows the event."""

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "event": self.event.model_dump(mode="json"),
            "automations_of": self.source,
            "explanations": [asdict(one) for one in self.explanations],
            "misspelt": self.misspelt,
            "journal": list(self.journal),
            "done": list(self.done),
        }


def explain_event(which: UUID | Path, settings: Settings) -> Answer:
    """Explain the event of a file, as if it happened now, or one that the server remembers.

    Without a server the automations of the code are asked, which know of no earlier events.

    Raises:
        UnknownEvent: There is no such file, or the server remembers no event of that id.
        InvalidEvent: The file holds no event.
    """
    given = None if isinstance(which, UUID) else _from_file(which)
    try:
        with server_of(settings) as client:
            log = EventLog(client)
            event = log.event(which) if isinstance(which, UUID) else given
            assert event
            asked, names = log.automations(), log.names()
            found = tuple(explain(event, one, log.past, names) for one in asked)
            source = f"{len(asked)} automations of the server at {client.api_url}"
            if log.has_left_out:
                source += f"; only the newest {MOST_EVENTS} earlier events were read, so what cools down may be wrong"
            return Answer(
                event, source, found, unexpected(event, asked), _journal(event, found, settings), _done(log, event)
            )
    except (NoServerKnown, ServerAway) as trouble:
        if given is None:
            raise
        asked, names = _declared(settings)
        found = tuple(explain(given, one, _no_past, names) for one in asked)
        source = f"{len(asked)} automations that the code declares for {settings.environment}; earlier events are not "
        source += f"known. {trouble}"
        return Answer(given, source, found, unexpected(given, asked), _journal(given, found, settings))


def _from_file(path: Path) -> ReceivedEvent:
    if not path.is_file():
        raise UnknownEvent(
            f"`{path}` is neither a file nor the id of an event, as 01234567-89ab-cdef-0123-456789abcdef."
        )
    return read_event(path, now())


def _done(log: EventLog, event: ReceivedEvent) -> tuple[dict[str, str], ...]:
    return tuple(log.done(event))


def _no_past(trigger: EventTrigger, event: ReceivedEvent, since: datetime | None) -> Sequence[ReceivedEvent]:
    return ()


def _declared(settings: Settings) -> tuple[list[Automation], Names]:
    specs = automations(settings.environment, settings.notifications)
    ids: dict[str, str] = {}
    return [Automation.model_validate(_as_kept(one, ids)) for one in specs], Names(ids, ids)


def _as_kept(spec: AutomationSpec, ids: dict[str, str]) -> dict[str, Any]:
    """As a server would keep it, with made-up ids for what it only names here."""
    identity = uuid5(NAMESPACE_URL, spec.name)
    actions = [_action(one, ids) for one in spec.actions]
    return {"id": identity, "name": spec.name, "trigger": spec.trigger.model_dump(mode="json"), "actions": actions}


def _action(action: Any, ids: dict[str, str]) -> dict[str, Any]:
    match action:
        case StartRun(deployment=name, parameters=parameters):
            return {"type": "run-deployment", "deployment_id": _identity(name, ids), "parameters": parameters}
        case Notify(block=name, subject=subject, body=body):
            about = {"subject": subject, "body": body}
            return {"type": "send-notification", "block_document_id": _identity(name, ids), **about}
        case _:
            found: dict[str, Any] = action.model_dump(mode="json")
            return found


def _identity(name: str, ids: dict[str, str]) -> str:
    identity = str(uuid5(NAMESPACE_URL, name))
    ids[identity] = name
    return identity


def _journal(event: ReceivedEvent, found: Sequence[Explanation], settings: Settings) -> tuple[str, ...]:
    if event.resource.get(ENVIRONMENT) != settings.environment or not event.resource.id.startswith(_USE_CASE):
        return ()
    started = [action for one in found if one.answer == "yes" for action in one.actions if "parameters" in action]
    asking = [one for one in started if str(one.get("deployment")).partition("/")[0] in _ASKING]
    return tuple(dict.fromkeys(line for one in asking for line in _foreseen(one["parameters"], settings)))


def _foreseen(parameters: dict[str, Any], settings: Settings) -> Iterator[str]:
    try:
        ws = Workspace.open(str(parameters["use_case"]), settings)
        as_of = parse_moment(str(parameters["as_of"]))
        label = parameters.get("period")
        period = Period.parse(label) if label else Period.containing(as_of, ws.use_case.every).previous()
        decided = foresee(ws, period, as_of)
        yield f"about {period} as of {as_of:%F %R} the policy says {decided.action}: {' '.join(decided.reasons)}"
    except PerennialError as error:
        yield f"it cannot be asked: {error}"

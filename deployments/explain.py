"""Whether an event starts something, and if not, why not: Prefect's own matching, with its reasons spelled out.

Whether a trigger covers an event and what parameters it renders is asked of Prefect's server code; only the
sentences are ours. It reads nothing itself: events of the past come from `event_log`.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from prefect.server.events.actions import JinjaTemplateAction, RunDeployment
from prefect.server.events.schemas.automations import (
    Automation,
    CompositeTrigger,
    EventTrigger,
    Firing,
    Posture,
    TriggeredAction,
    TriggerState,
)
from prefect.server.events.schemas.events import ReceivedEvent, Resource, ResourceSpecification, matches

from deployments.windows import Outcome, live_through
from perennial.errors import nearest

Past = Callable[[EventTrigger, ReceivedEvent, datetime | None], Sequence[ReceivedEvent]]
"""Events before this one that the trigger covers, with the same bucketing key, since a moment; oldest first."""

ENVIRONMENT = "perennial.environment"


@dataclass(frozen=True)
class Explanation:
    """What one automation makes of one event."""

    automation: str
    answer: Literal["yes", "no", "counts"]
    """`counts`: not yet, but it counts towards it."""
    reasons: tuple[str, ...]
    actions: tuple[dict[str, Any], ...] = ()
    """What it starts, parameters rendered."""


@dataclass(frozen=True)
class Names:
    """What the server knows of the things that actions are about."""

    deployments: Mapping[str, str] = field(default_factory=dict)
    """Name as `flow/environment` by id."""
    blocks: Mapping[str, str] = field(default_factory=dict)
    """Name as `type/document` by id."""
    read: Callable[[str, str], Any | None] = lambda kind, identity: None
    """Asks for a `flow_run`, `flow`, `deployment` and so on by its id, for templates that name one."""


def explain(event: ReceivedEvent, automation: Automation, past: Past, names: Names) -> Explanation:
    """Say whether an event fires an automation, with every reason against it or what it starts.

    Args:
        event: As the server received it, or would.
        automation: As the server keeps it.
        past: Asks for the events that came before.
        names: Of deployments and blocks, for people.
    """
    if not automation.enabled:
        return Explanation(automation.name, "no", ("It is disabled.",))
    trigger = automation.trigger
    if isinstance(trigger, CompositeTrigger):
        return _of_composite(event, automation, trigger, past)
    against = list(mismatches(event, trigger))
    if against:
        return Explanation(automation.name, "no", tuple(against))
    if trigger.posture is Posture.Proactive:
        return Explanation(automation.name, "no", (_of_absence(trigger, event),))
    if trigger.after:
        return Explanation(automation.name, "counts", (_of_after(trigger, event),))
    earlier = past(trigger, event, automation.updated)
    outcome = live_through(trigger, [*earlier, event])
    if not outcome.fires:
        return Explanation(automation.name, _waits(outcome, event), (_of_window(trigger, outcome, event),))
    return Explanation(automation.name, "yes", (_why(trigger),), tuple(_actions(event, automation, names)))


def mismatches(event: ReceivedEvent, trigger: EventTrigger) -> Iterator[str]:
    """Name what keeps a trigger from looking at an event: its name, or else all labels; nothing if it covers it."""
    if trigger.expect and not any(matches(one, event.event) for one in trigger.expect | trigger.after):
        yield f"It expects {_listed(sorted(trigger.expect | trigger.after))}, not `{event.event}`."
        return
    yield from _label_mismatches(trigger.match, event.resource)  # type: ignore[arg-type]
    related = trigger.match_related
    for specification in related if isinstance(related, list) else [related]:
        if not specification.includes(event.related):  # type: ignore[union-attr]
            yield from _related_mismatch(specification, event)  # type: ignore[arg-type]


def unexpected(event: ReceivedEvent, automations: Iterable[Automation]) -> str | None:
    """Say that no automation at all expects an event of this name, and which name may have been meant."""
    expected = {one for automation in automations for trigger in _event_triggers(automation) for one in trigger.expect}
    if any(matches(one, event.event) for one in expected):
        return None
    return f"No automation expects `{event.event}`{nearest(event.event, expected) or '.'}"


def _event_triggers(automation: Automation) -> list[EventTrigger]:
    return [one for one in automation.triggers() if isinstance(one, EventTrigger)]


def _label_mismatches(specification: ResourceSpecification, resource: Resource) -> Iterator[str]:
    for label, expected in specification.items():
        value = resource.get(label)
        if any(matches(one, value) for one in expected):
            continue
        if label == ENVIRONMENT and value is not None:
            yield f"It is for the environment {_either(expected)}, and the event is of `{value}`."
        elif value is None:
            yield f"The event's resource has no label `{label}`, expected {_either(expected)}."
        else:
            yield f"The label `{label}` is `{value}`, expected {_either(expected)}."


def _related_mismatch(specification: ResourceSpecification, event: ReceivedEvent) -> Iterator[str]:
    wanted = ", ".join(f"`{label}` {_either(expected)}" for label, expected in specification.items())
    had = "; ".join(_shown(one) for one in event.related) or "no related resource"
    yield f"It asks for a related resource with {wanted}; the event has {had}."


def _shown(resource: Resource) -> str:
    named = resource.get("prefect.resource.name") or resource.id
    return f"{resource.get('prefect.resource.role')} `{named}`"


def _of_absence(trigger: EventTrigger, event: ReceivedEvent) -> str:
    span = _span(trigger)
    if trigger.starts_after(event.event):
        return (
            f"It fires when something fails to come: this event starts its clock, and it fires unless it sees "
            f"{_listed(sorted(trigger.expect))} within {span}."
        )
    return f"It fires when this event fails to come for {span}: this event keeps it quiet."


def _of_after(trigger: EventTrigger, event: ReceivedEvent) -> str:
    if trigger.starts_after(event.event):
        return f"It opens a window of {_span(trigger)} in which {_listed(sorted(trigger.expect))} fires it."
    return f"It fires if {_listed(sorted(trigger.after))} came within {_span(trigger)} before."


def _waits(outcome: Outcome, event: ReceivedEvent) -> Literal["no", "counts"]:
    is_closed = outcome.window is not None and event.occurred < outcome.window.start
    return "no" if is_closed else "counts"


def _of_window(trigger: EventTrigger, outcome: Outcome, event: ReceivedEvent) -> str:
    window = outcome.window
    if window is None or event.occurred >= window.start:
        return f"It is number {outcome.count} of {trigger.threshold} events within {_span(trigger)}."
    used = window.used_by
    by = f"`{used.event}` {used.id} of {used.occurred:%F %T} fired it" if used else "it fired before"
    return f"It cools down until {window.start:%F %T} UTC: {by}, and it fires once within {_span(trigger)}."


def _of_composite(event: ReceivedEvent, automation: Automation, trigger: CompositeTrigger, past: Past) -> Explanation:
    children = [one for one in trigger.triggers if isinstance(one, EventTrigger)]
    covering = [one for one in children if not list(mismatches(event, one))]
    if not covering:
        reasons = tuple(dict.fromkeys(reason for one in children for reason in mismatches(event, one)))
        return Explanation(automation.name, "no", reasons)
    fired = [one for one in covering if live_through(one, [*past(one, event, automation.updated), event]).fires]
    needed = f"{trigger.num_expected_firings} of its {len(children)} parts"
    said = f"It fires {len(fired)} part of it; {needed} must fire within {trigger.within}."
    return Explanation(automation.name, "yes" if fired and trigger.num_expected_firings == 1 else "counts", (said,))


def _why(trigger: EventTrigger) -> str:
    if trigger.threshold > 1:
        return f"It is number {trigger.threshold} of {trigger.threshold} events."
    return f"It expects this event, and fires once within {_span(trigger)}." if trigger.within else "It expects it."


def _actions(event: ReceivedEvent, automation: Automation, names: Names) -> Iterator[dict[str, Any]]:
    trigger = automation.trigger
    assert isinstance(trigger, EventTrigger)
    labels = dict(zip(sorted(trigger.for_each), trigger.bucketing_key(event), strict=True))
    firing = Firing(
        trigger=trigger,
        trigger_states={TriggerState.Triggered},
        triggered=event.received,
        triggering_labels=labels,
        triggering_event=event,
    )
    for action in automation.actions:
        triggered = TriggeredAction(
            automation=automation,
            firing=firing,
            triggered=event.received,
            triggering_labels=labels,
            triggering_event=event,
            action=action,
        )
        yield {"action": action.type, **_target(action, names), **_rendered(action, triggered, names)}


def _target(action: Any, names: Names) -> dict[str, str]:
    known = {
        "deployment": (getattr(action, "deployment_id", None), names.deployments),
        "block": (getattr(action, "block_document_id", None), names.blocks),
    }
    return {kind: found.get(str(one), str(one)) for kind, (one, found) in known.items() if one}


def _rendered(action: Any, triggered: TriggeredAction, names: Names) -> dict[str, Any]:
    if not isinstance(action, JinjaTemplateAction):
        return {}
    try:
        _provide_objects(action, triggered, names)
        if isinstance(action, RunDeployment):
            return {"parameters": asyncio.run(action.render_parameters(triggered))}
        texts = {one: getattr(action, one) for one in ("subject", "body", "payload") if getattr(action, one, None)}
        return dict(zip(texts, asyncio.run(action._render([*texts.values()], triggered)), strict=True))
    except Exception as error:  # whatever a template does is the answer here
        return {"fails": f"{type(error).__name__}: {error}"}


def _provide_objects(action: JinjaTemplateAction, triggered: TriggeredAction, names: Names) -> None:
    """Read what the server would put into templates; here its own way would open a database of this machine."""
    text = action.model_dump_json()
    for resource in triggered.triggering_event.involved_resources if triggered.triggering_event else ():
        kind, _, identity = resource.id.removeprefix("prefect.").rpartition(".")
        name = kind.replace("-", "_")
        if kind and name in text and name not in action._object_cache:
            action._object_cache[name] = names.read(name, identity)


def _span(trigger: EventTrigger) -> str:
    return str(trigger.within)


def _either(expected: Sequence[str]) -> str:
    return " or ".join(f"`{one}`" for one in expected)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{one}`" for one in names)

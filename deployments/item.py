"""What a Prefect server keeps for an environment, as plain data: the form in which code and server are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

POOL, BLOCK, LIMIT = "work pool", "block", "limit"
DEPLOYMENT, SCHEDULE, AUTOMATION = "deployment", "schedule", "automation"

KINDS = (POOL, BLOCK, LIMIT, DEPLOYMENT, SCHEDULE, AUTOMATION)
"""In the order in which they are made; what a kind needs comes before it."""

MARK = "perennial"
"""Tag, beside the name of the environment, of every deployment and automation that is ours."""


@dataclass(frozen=True)
class Item:
    """One thing on a server, or one that the code declares."""

    kind: str
    name: str
    fields: Mapping[str, Any]
    """JSON values; only what is compared, so nothing that the server makes up, such as ids and times."""
    id: str = ""
    """On the server; empty for what the code declares."""


def summary(item: Item) -> str:
    """Say in a few words what a thing is, for people who know its kind and name."""
    fields = item.fields
    if item.kind == POOL:
        return f"{fields['type']}"
    if item.kind == BLOCK:
        return f"storage at {fields['document']['storage_root']}"
    if item.kind == LIMIT:
        return f"{fields['limit']} at once"
    if item.kind == DEPLOYMENT:
        return f"{fields['entrypoint']}"
    if item.kind == SCHEDULE:
        return f"{fields.get('cron')} {fields.get('timezone')}{'' if fields['active'] else ', paused'}"
    return f"{fields['description']}"


def pool_name(environment: str) -> str:
    """Return the name of the work pool of an environment."""
    return f"{MARK}-{environment}"


def limit_name(environment: str, name: str) -> str:
    """Return the name on the server of a concurrency limit, which has no tags: whose it is, the name has to say.

    An environment's name has no colon, so that no limit of `eu-prod` is taken for one of `eu`.
    """
    return f"{MARK}:{environment}:{name}"


def schedule_item(deployment: str, slug: str, fields: Mapping[str, Any], identity: str = "") -> Item:
    """Return a schedule of a deployment."""
    return Item(SCHEDULE, f"{deployment} {slug}", {"deployment": deployment, "slug": slug, **fields}, identity)


def trigger_fields(trigger: Any) -> Any:
    """Return a trigger without the ids that a server gives to it, and with its sets in order."""
    if isinstance(trigger, list):
        return [trigger_fields(one) for one in trigger]
    if not isinstance(trigger, dict):
        return trigger
    sets = {"expect", "after", "for_each"}
    return {
        name: sorted(value) if name in sets else trigger_fields(value)
        for name, value in trigger.items()
        if name != "id"
    }

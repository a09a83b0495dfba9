"""Ids that stand for things by their names, because an automation must carry ids and the real ones differ per server.

`deployments.automations.automations(settings)` returns Prefect's `AutomationCore` models whose actions refer to
`deployment_id("train/prod")` or `block_id("slack-webhook/alerts")`; `perennial apply` puts the ids of its server there.
"""

from uuid import NAMESPACE_URL, UUID, uuid5

_names: dict[str, str] = {}


def deployment_id(name: str) -> UUID:
    """Stand for the deployment `flow/environment`."""
    return _stand_in("deployment", name)


def block_id(name: str) -> UUID:
    """Stand for the block document `type-slug/document`."""
    return _stand_in("block", name)


def name_of(identity: str) -> str | None:
    """Return the name that an id stands for, `None` for an id of a server."""
    return _names.get(identity)


def _stand_in(kind: str, name: str) -> UUID:
    identity = uuid5(NAMESPACE_URL, f"perennial:{kind}/{name}")
    _names[str(identity)] = name
    return identity

"""What a Prefect server has of one environment, in the form of `deployments.item`; it changes nothing there.

Ours is what bears our names: the work pool and the block of the environment, limits as `perennial:prod:fits`,
deployments and automations with the tags `perennial` and `prod`. All else on the server is left alone: what has a
declared name and not these tags is somebody else's, and refused rather than adopted.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import AutomationCore

from blocks.environment import Environment
from deployments.item import (
    AUTOMATION,
    BLOCK,
    DEPLOYMENT,
    LIMIT,
    MARK,
    POOL,
    Item,
    limit_name,
    pool_name,
    schedule_item,
    trigger_fields,
)
from perennial.errors import Permanent

_PAGE = 200
_A = {DEPLOYMENT: "a deployment", AUTOMATION: "an automation"}


class SomebodyElses(Permanent):
    """What has a declared name on the server does not bear our tags."""


@dataclass(frozen=True)
class Observed:
    """What is there, and the ids by which things refer to each other."""

    items: list[Item]
    deployments: dict[str, str]
    """Id of every deployment on the server by its name, `flow/name`."""
    blocks: dict[str, str]
    """Id of every block document by its name, `type-slug/document`."""

    @property
    def environments(self) -> set[str]:
        """Names of the environments that were applied to the server."""
        return _environments(self.blocks)


def observe(client: SyncPrefectClient, environment: str, names: Mapping[str, set[str]]) -> Observed:
    """Read what a server has of an environment.

    Args:
        client: Of the server.
        environment: As `prod`.
        names: Declared names by kind.

    Raises:
        SomebodyElses: A declared name is taken by what does not bear our tags.
    """
    flows = {one["id"]: one["name"] for one in _all(client, "/flows/filter")}
    blocks = {_block_name(one): one for one in _all(client, "/block_documents/filter")}
    found = {_deployment_name(one, flows): one for one in _all(client, "/deployments/filter")}
    ids = {name: one["id"] for name, one in found.items()}
    ours = {name: one for name, one in found.items() if _is_ours(one, environment, DEPLOYMENT, name, names)}
    items = [
        *_pools(client, environment),
        *(_block(one, name) for name, one in blocks.items() if name == environment_block(environment)),
        *_limits(client, environment),
        *(_deployment(one, name) for name, one in ours.items()),
        *(item for name, one in ours.items() for item in _schedules(one, name)),
        *_automations(client, environment, names, {identity: name for name, identity in ids.items()}, blocks),
    ]
    return Observed(items, ids, {name: one["id"] for name, one in blocks.items()})


def environments_at(client: SyncPrefectClient) -> set[str]:
    """Return the names of the environments that were applied to a server."""
    return _environments(map(_block_name, _all(client, "/block_documents/filter")))


def _environments(blocks: Iterable[str]) -> set[str]:
    prefix = environment_block("")
    return {name.removeprefix(prefix) for name in blocks if name.startswith(prefix)}


def environment_block(environment: str) -> str:
    """Return the name of the block of an environment."""
    return f"{Environment.get_block_type_slug()}/{environment}"


def _all(client: SyncPrefectClient, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        asked = {"limit": _PAGE, "offset": len(found)}
        page = client.request("POST", path, json=asked).json()  # type: ignore[arg-type]
        found += page
        if len(page) < _PAGE:
            return found


def _is_ours(found: Mapping[str, Any], environment: str, kind: str, name: str, names: Mapping[str, set[str]]) -> bool:
    is_ours = {MARK, environment} <= set(found["tags"])
    if name in names[kind] and not is_ours:
        raise SomebodyElses(
            f"The server has {_A[kind]} `{name}` without the tags `{MARK}` and `{environment}`, so it may be somebody "
            f"else's. Nothing was changed. Rename it there; or where it is Perennial's, give it both tags again."
        )
    return is_ours


def _deployment_name(found: Mapping[str, Any], flows: Mapping[str, str]) -> str:
    return f"{flows[found['flow_id']]}/{found['name']}"


def _block_name(found: Mapping[str, Any]) -> str:
    return f"{found['block_type']['slug']}/{found['name']}"


def _pools(client: SyncPrefectClient, environment: str) -> Iterator[Item]:
    for one in _all(client, "/work_pools/filter"):
        if one["name"] == pool_name(environment):
            fields = {name: one[name] for name in ("type", "description", "concurrency_limit")}
            fields |= {"paused": one["is_paused"], "template": one["base_job_template"]}
            yield Item(POOL, one["name"], fields, one["id"])


def _block(found: Mapping[str, Any], name: str) -> Item:
    fields = {"schema": found["block_schema"]["checksum"], "document": found["data"]}
    return Item(BLOCK, name, fields, found["id"])


def _limits(client: SyncPrefectClient, environment: str) -> Iterator[Item]:
    for one in _all(client, "/v2/concurrency_limits/filter"):
        if one["name"].startswith(limit_name(environment, "")):
            fields = {name: one[name] for name in ("limit", "active", "slot_decay_per_second")}
            yield Item(LIMIT, one["name"], fields, one["id"])


def _deployment(found: Mapping[str, Any], name: str) -> Item:
    limit, options = found["global_concurrency_limit"], found["concurrency_options"] or {}
    concurrency = {"limit": limit and limit["limit"], **{key: one for key, one in options.items() if one is not None}}
    fields = {
        "entrypoint": found["entrypoint"],
        "description": found["description"],
        "tags": sorted(found["tags"]),
        "parameters": found["parameters"],
        "parameter_schema": found["parameter_openapi_schema"],
        "enforce_parameter_schema": found["enforce_parameter_schema"],
        "work_pool": found["work_pool_name"],
        "work_queue": found["work_queue_name"],
        "job_variables": found["job_variables"],
        "concurrency": concurrency,
        "paused": found["paused"],
        "pull_steps": found["pull_steps"] or [],
    }
    return Item(DEPLOYMENT, name, fields, found["id"])


def _schedules(found: Mapping[str, Any], deployment: str) -> Iterator[Item]:
    for one in DeploymentResponse.model_validate(found).schedules:
        when = one.schedule.model_dump(mode="json", exclude_none=True)
        times = {"cron": when.get("cron"), "timezone": when.get("timezone")} if when.get("cron") else when
        fields = {**times, "active": one.active, "parameters": one.parameters}
        yield schedule_item(deployment, one.slug or f"without slug {one.id}", fields, str(one.id))


def _automations(
    client: SyncPrefectClient,
    environment: str,
    names: Mapping[str, set[str]],
    deployments: Mapping[str, str],
    blocks: Mapping[str, Mapping[str, Any]],
) -> Iterator[Item]:
    documents = {one["id"]: name for name, one in blocks.items()}
    for found in sorted(_all(client, "/automations/filter"), key=lambda one: str(one["created"])):
        if _is_ours(found, environment, AUTOMATION, found["name"], names):
            automation = AutomationCore.model_validate(found).model_dump(mode="json")
            fields = {
                "description": automation["description"],
                "enabled": automation["enabled"],
                "tags": sorted(automation["tags"]),
                "trigger": trigger_fields(automation["trigger"]),
                "actions": [_action(one, deployments, documents) for one in automation["actions"]],
            }
            yield Item(AUTOMATION, found["name"], fields, found["id"])


def _action(found: dict[str, Any], deployments: Mapping[str, str], blocks: Mapping[str, str]) -> dict[str, Any]:
    usual = {"source": "selected", "schedule_after": 0.0}
    action = {name: one for name, one in found.items() if one is not None and usual.get(name) != one}
    if identity := action.pop("deployment_id", None):
        action["deployment"] = deployments.get(identity, identity)
    if identity := action.pop("block_document_id", None):
        action["block"] = blocks.get(identity, identity)
    return action

"""What the code declares for one environment: `prefect.yaml`, its document, its use cases and its automations."""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect.utilities.callables import parameter_schema

from blocks.documents import read_document
from blocks.environment import Environment
from deployments.automations import AutomationSpec, Notify, StartRun, automations
from deployments.definition import InvalidDefinition, read_definition
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
from perennial.errors import nearest
from perennial.hosting.promise import namespace_of
from perennial.settings import Settings
from perennial.use_case_file import load_use_case, use_case_slugs

_TEMPLATES = Path(__file__).parent / "work_pools"


def declared(settings: Settings) -> list[Item]:
    """Return all that a server should have for an environment.

    Raises:
        InvalidUseCase: A use case is not declared right, so its schedules are not known.
        InvalidDefinition: `prefect.yaml` is not right, or lacks what an automation starts.
    """
    definition = read_definition(settings.environment)
    deployments = [_deployment(one) for one in definition["deployments"]]
    return [
        _pool(settings),
        _block(settings),
        *_limits(settings.environment, definition),
        *deployments,
        *_schedules(settings, definition["deployments"]),
        *_automations(settings, {one.name for one in deployments}),
    ]


def _pool(settings: Settings) -> Item:
    template = json.loads((_TEMPLATES / f"{settings.work_pool}.json").read_text(encoding="utf-8"))
    variables = template["variables"]["properties"]
    own = {"image": settings.flows_image} if settings.work_pool != "process" and settings.flows_image else {}
    if settings.work_pool == "kubernetes":
        own["namespace"] = namespace_of(settings)
    for name, value in {**own, **settings.job_variables}.items():
        if name not in variables:
            raise InvalidDefinition(
                f"`job_variables` of `{settings.environment}` names `{name}`, which the template of a "
                f"{settings.work_pool} pool does not have{nearest(name, variables) or '.'}"
            )
        variables[name]["default"] = value
    about = f"Flow runs of {settings.environment}, as `perennial apply` made it."
    fields = {"type": settings.work_pool, "description": about, "paused": False, "concurrency_limit": None}
    return Item(POOL, pool_name(settings.environment), {**fields, "template": template})


def _block(settings: Settings) -> Item:
    """The document as it is written, with the images that were built: where they run is not said by variables."""
    environment, images = settings.environment, settings.model_dump(include={"flows_image", "serving_image"})
    block = Environment(**{**read_document(environment), **images})
    document = block.model_dump(mode="json", include=set(Settings.model_fields))
    fields = {"schema": block._calculate_schema_checksum(), "document": document}
    return Item(BLOCK, f"{block.get_block_type_slug()}/{environment}", fields)


def _limits(environment: str, definition: Mapping[str, Any]) -> Iterator[Item]:
    for one in definition.get("limits", []):
        fields = {"limit": one["limit"], "active": True, "slot_decay_per_second": one.get("slot_decay_per_second", 0.0)}
        yield Item(LIMIT, limit_name(environment, one["name"]), fields)


def _deployment(given: Mapping[str, Any]) -> Item:
    flow = _flow(given)
    pool, limit = given["work_pool"], given["concurrency_limit"]
    fields = {
        "entrypoint": given["entrypoint"],
        "description": given.get("description") or flow.description,
        "tags": sorted(given["tags"]),
        "parameters": given.get("parameters", {}),
        "parameter_schema": parameter_schema(flow).model_dump(mode="json", exclude_unset=True),
        "enforce_parameter_schema": given["enforce_parameter_schema"],
        "work_pool": pool["name"],
        "work_queue": pool.get("work_queue_name", "default"),
        "job_variables": pool["job_variables"],
        "concurrency": dict(limit),
        "paused": False,
        "pull_steps": [],
    }
    return Item(DEPLOYMENT, _name(given), fields)


def _flow(given: Mapping[str, Any]) -> Any:
    module, _, name = given["entrypoint"].rpartition(".")
    return getattr(import_module(module), name)


def _name(given: Mapping[str, Any]) -> str:
    return f"{_flow(given).name}/{given['name']}"


def _schedules(settings: Settings, deployments: list[dict[str, Any]]) -> Iterator[Item]:
    """Those of `prefect.yaml` are the safety net of every environment; only those of use cases are paused."""
    for given in deployments:
        for own in given.get("schedules", []):
            yield _schedule(_name(given), own["slug"], own["cron"], own.get("parameters", {}), is_active=True)
    root, is_active = Path(settings.use_cases), settings.schedules == "active"
    for slug in use_case_slugs(root):
        for flow, cron in load_use_case(root, slug).schedules:
            if cron is not None:
                yield _schedule(f"{flow}/{settings.environment}", slug, cron, {"use_case": slug}, is_active)


def _schedule(deployment: str, slug: str, cron: str, parameters: Mapping[str, Any], is_active: bool) -> Item:
    fields = {"cron": cron, "timezone": "UTC", "active": is_active, "parameters": parameters}
    return schedule_item(deployment, slug, fields)


def _automations(settings: Settings, deployments: set[str]) -> Iterator[Item]:
    for spec in automations(settings.environment, settings.notifications):
        for unknown in {one.deployment for one in spec.actions if isinstance(one, StartRun)} - deployments:
            raise InvalidDefinition(
                f"The automation `{spec.name}` starts `{unknown}`, which prefect.yaml does not have"
                f"{nearest(unknown, deployments) or '.'}"
            )
        yield _automation(spec, settings)


def _automation(spec: AutomationSpec, settings: Settings) -> Item:
    fields = {
        "description": spec.description,
        "enabled": True,
        "tags": sorted([MARK, settings.environment]),
        "trigger": trigger_fields(spec.trigger.model_dump(mode="json")),
        "actions": [_action(one) for one in spec.actions],
    }
    return Item(AUTOMATION, spec.name, fields)


def _action(action: Any) -> dict[str, Any]:
    if isinstance(action, StartRun):
        return {"type": "run-deployment", "deployment": action.deployment, "parameters": action.parameters}
    if isinstance(action, Notify):
        told = {"subject": action.subject, "body": action.body}
        return {"type": "send-notification", "block": action.block, **told}
    plain: dict[str, Any] = action.model_dump(mode="json", exclude_none=True)
    return plain

"""What tasks ask the Prefect server: when this run began, all runs of a kind, the newest events."""

from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run

PAGE = 200
"""As many runs as the server returns at once."""
EVENTS = 50
"""As many events."""


def began(client: SyncPrefectClient) -> datetime:
    """Return when this run began, by the server's clock."""
    state = client.read_flow_run(UUID(flow_run.id)).state
    assert state
    return state.timestamp


def all_runs(
    client: SyncPrefectClient, wanted: dict[str, Any], deployments: DeploymentFilter | None = None
) -> list[FlowRun]:
    """Return every run that a filter chooses, in order of their ids, however many pages there are."""
    found: dict[UUID, FlowRun] = {}
    for offset in count(step=PAGE):
        page = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(wanted),
            deployment_filter=deployments,
            sort=FlowRunSort.ID_DESC,
            limit=PAGE,
            offset=offset,
        )
        found |= {one.id: one for one in page}
        if len(page) < PAGE:
            break
    return list(found.values())


def events(client: SyncPrefectClient, wanted: dict[str, Any], limit: int = EVENTS) -> list[dict[str, Any]]:
    """Return the newest events that a filter chooses, as the server has them."""
    body = {"filter": {"occurred": {}, "order": "DESC", **wanted}, "limit": limit}
    found: list[dict[str, Any]] = client.request("POST", "/events/filter", json=body).json()["events"]
    return found

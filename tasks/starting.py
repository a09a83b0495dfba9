"""Starting runs of deployments: one for each thing that is to be done, however many ask for it, however often."""

from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
)
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from perennial.errors import Permanent
from perennial.watch.claims import TRIES
from perennial.workspace import Workspace

Start = Literal["started", "under way", "used up"]


class NotDeployed(Permanent):
    """The server has no deployment to start."""


def start_once(
    client: SyncPrefectClient,
    workspace: Workspace,
    deployment: str,
    parameters: dict[str, Any],
    what: str,
    tries: int = TRIES,
) -> Start:
    """Start a run of a deployment for something, unless one waits or works; where it has ended, another.

    Runs are counted by their keys, since people delete runs, and a key that was used starts nothing.

    Returns:
        `used up` once as many as may be have ended, and nothing was started.

    Raises:
        NotDeployed: There is no such deployment.
    """
    keys = [f"{what}/{count}" for count in range(tries)]
    wanted = FlowRunFilter.model_validate({"idempotency_key": {"any_": keys}})
    before = client.read_flow_runs(flow_run_filter=wanted)
    if any(not (one.state and one.state.is_final()) for one in before):
        return "under way"
    following = 1 + max((keys.index(one.idempotency_key or "") for one in before), default=-1)
    if following >= tries:
        return "used up"
    key = keys[following]
    try:
        run_deployment(deployment, parameters=parameters, idempotency_key=key, timeout=0, as_subflow=False)
    except ObjectNotFound:
        raise NotDeployed(
            f"The server has no deployment `{deployment}`, so nothing was started for `{what}`. Run "
            f"`perennial apply --env {workspace.settings.environment}` first."
        ) from None
    return "started"


def is_under_way(client: SyncPrefectClient, workspace: Workspace, flow: str) -> bool:
    """Say whether a run of a flow's deployment waits or works for a use case."""
    states = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED"]
    found = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
        deployment_filter=deployed(workspace.settings.environment),
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": states}}}),
    )
    return any(one.parameters.get("use_case") == workspace.use_case.slug for one in found)


def deployed(environment: str) -> DeploymentFilter:
    """Choose the environment's own deployments: what other people call `prod` has not both tags."""
    tags = DeploymentFilterTags(all_=["perennial", environment])
    return DeploymentFilter(name=DeploymentFilterName(any_=[environment]), tags=tags)

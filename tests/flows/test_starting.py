"""Runs that are started once for each thing, as a real server counts them."""

from pathlib import Path

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed

from tasks.starting import start_once
from tests.builders import make_use_case


@flow
def counted() -> None:
    """A flow that no worker takes up."""


def run_of(client: SyncPrefectClient, number: int) -> FlowRun:
    wanted = {"idempotency_key": {"any_": [f"counted/shop/{number}"]}}
    [found] = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))
    return found


def test_where_people_delete_ended_runs_another_is_started_until_all_tries_are_used(
    server: None, tmp_path: Path
) -> None:
    workspace = make_use_case(tmp_path, rows=1, months=())
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow(counted), "dev")
        for number in range(3):
            assert start_once(client, workspace, "counted/dev", {}, "counted/shop", tries=3) == "started"
            assert start_once(client, workspace, "counted/dev", {}, "counted/shop", tries=3) == "under way"
            client.set_flow_run_state(run_of(client, number).id, Completed(), force=True)
            if number == 1:
                client.delete_flow_run(run_of(client, 0).id)
        assert start_once(client, workspace, "counted/dev", {}, "counted/shop", tries=3) == "used up"

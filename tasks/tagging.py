"""Tags of the present run, by which people and `reconcile` find it."""

from uuid import UUID

from prefect import get_client
from prefect.runtime import flow_run


def tag_run(*tags: str) -> None:
    """Add tags to those that the run has by now, which are not only the ones that it began with."""
    if not flow_run.id:
        return
    with get_client(sync_client=True) as client:
        known = set(client.read_flow_run(UUID(flow_run.id)).tags)
        if not set(tags) <= known:
            client.update_flow_run(UUID(flow_run.id), tags={*known, *tags})

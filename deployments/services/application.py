"""What a server must know before a worker can serve the environment."""

from datetime import datetime
from typing import Any

from deployments.services.launches import pool_name, worker_name
from perennial.settings import Settings


def apply_environment(settings: Settings) -> int:
    """Make the server so as the code declares the environment, and return how much was changed."""
    from deployments.apply import apply
    from deployments.server import server_of

    with server_of(settings) as client:
        return len(apply(client, settings, lambda _: None))


def last_heartbeat(settings: Settings) -> datetime | None:
    """Return when this machine's worker was last heard of by the server."""
    from prefect.exceptions import ObjectNotFound

    from deployments.server import server_of

    with server_of(settings) as client:
        try:
            workers: list[Any] = client.read_workers_for_work_pool(pool_name(settings))
        except ObjectNotFound:
            return None
    return next((one.last_heartbeat_time for one in workers if one.name == worker_name(settings)), None)

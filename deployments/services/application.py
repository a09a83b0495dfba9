"""What a server must know before a worker can serve the environment; everything here talks to the connected server."""

import subprocess
import sys
from datetime import datetime
from typing import Any

from blocks.documents import PROJECT
from deployments.services.launches import pool_name, worker_name
from perennial.errors import Permanent
from perennial.settings import Settings


class NotApplied(Permanent):
    """The server did not take the deployments."""


def apply_environment(settings: Settings) -> None:
    """Create or update the work pool, the deployments and all else that the code declares for an environment."""
    import os

    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

    secret = PREFECT_API_AUTH_STRING.value()
    variables = {
        **os.environ,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PERENNIAL_ENV": settings.environment,
        **({"PREFECT_API_AUTH_STRING": secret.get_secret_value()} if secret else {}),
    }
    for command in (
        ["work-pool", "create", "--type", settings.work_pool, "--overwrite", pool_name(settings)],
        ["--no-prompt", "deploy", "--all"],
    ):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "prefect", *command], cwd=PROJECT, env=variables, capture_output=True, text=True
        )
        if done.returncode:
            raise NotApplied(f"`prefect {' '.join(command)}` failed: {done.stdout}{done.stderr}")


def last_heartbeat(settings: Settings) -> datetime | None:
    """Return when this machine's worker was last heard of by the server."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            workers: list[Any] = client.read_workers_for_work_pool(pool_name(settings))
        except ObjectNotFound:
            return None
    return next((one.last_heartbeat_time for one in workers if one.name == worker_name(settings)), None)

"""What runs on this machine and what the server of the environment says of deployments and runs, as plain values.

It changes nothing, and leaves out what it cannot learn: without a server, what serves is still told by the journal.
"""

from datetime import datetime
from typing import Any

import psutil

from blocks.stack import Service, known_address, read_stack
from deployments.services.launches import pool_name
from perennial.errors import PerennialError
from perennial.settings import Settings

_WAITING = ("Late", "AwaitingRetry", "AwaitingConcurrencySlot")
_SHOWN = 50


def services_here(settings: Settings) -> list[dict[str, Any]]:
    """Return one row per service on record: whether it runs, its pid, address and memory in MB with its children."""
    return [_row(service) for service in read_stack(settings).services.values()]


def server_overview(settings: Settings) -> dict[str, Any] | None:
    """Return deployments with their schedules, workers, and the runs that run, wait or are late.

    Returns:
        `None` where no server is known; only `address` and `error` where it does not answer.
    """
    address = known_address(settings)
    if address is None:
        return None
    from deployments.server import server_of

    try:
        with server_of(settings) as client:
            return {
                "address": address,
                "deployments": _deployments(client, settings),
                "workers": _workers(client, settings),
                "runs": _runs(client, settings),
            }
    except PerennialError as error:
        return {"address": address, "error": str(error)}


def _row(service: Service) -> dict[str, Any]:
    process = service.process
    return {
        "service": service.name,
        "running": process is not None,
        "pid": service.pid,
        "address": service.address or None,
        "memory_mb": _memory(process) if process else None,
        "log": service.log,
    }


def _memory(process: psutil.Process) -> int:
    """Sum what the processes have to themselves and their parts of what they share, in MB."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            told = one.memory_full_info()
            total += getattr(told, "pss", told.uss)
        except psutil.Error:
            continue
    return total >> 20


def _deployments(client: Any, settings: Settings) -> list[dict[str, Any]]:
    from tasks.starting import deployed

    wanted = deployed(settings.environment)
    found = client.read_deployments(deployment_filter=wanted, limit=200)
    flows = {one.id: one.name for one in client.read_flows(deployment_filter=wanted, limit=200)}
    rows = [
        {
            "deployment": f"{flows.get(one.flow_id, '?')}/{one.name}",
            "paused": one.paused,
            "schedules": [_schedule(each) for each in one.schedules],
        }
        for one in found
    ]
    return sorted(rows, key=lambda row: str(row["deployment"]))


def _schedule(schedule: Any) -> dict[str, Any]:
    slug, timing = getattr(schedule, "slug", None), schedule.schedule
    return {"slug": slug, "cron": getattr(timing, "cron", str(timing)), "active": schedule.active}


def _workers(client: Any, settings: Settings) -> list[dict[str, Any]]:
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        found = client.read_workers_for_work_pool(pool_name(settings))
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 404:
            raise
        return []  # the pool is not there yet
    return [{"worker": one.name, "status": one.status.value, "heard": _text(one.last_heartbeat_time)} for one in found]


def _runs(client: Any, settings: Settings) -> list[dict[str, Any]]:
    from prefect.client.schemas.filters import FlowRunFilter

    tags = {"tags": {"all_": [settings.environment]}, "parent_task_run_id": {"is_null_": True}}
    underway = {**tags, "state": {"type": {"any_": ["PENDING", "RUNNING", "PAUSED", "CANCELLING"]}}}
    waiting = {**tags, "state": {"name": {"any_": list(_WAITING)}}}
    found = [
        run
        for wanted in (underway, waiting)
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted), limit=_SHOWN)
    ]
    return [
        {
            "run": run.name,
            "id": str(run.id),
            "state": run.state.name,
            "expected": _text(run.expected_start_time),
            "late_seconds": round(run.estimated_start_time_delta.total_seconds()),
            "ran_seconds": round(run.estimated_run_time.total_seconds()),
        }
        for run in found
    ]


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None

"""What all flows have in common: how a run is named and that no result is kept; it says nothing of their steps."""

from typing import Any

from prefect.runtime import flow_run


def run_name() -> str:
    """Name a run for people: flow, use case, and the period or day that it is about."""
    given = flow_run.parameters
    moment = given.get("as_of") or flow_run.scheduled_start_time
    return f"{flow_run.flow_name} {given.get('use_case') or 'all'} {given.get('period') or str(moment)[:10]}"


POLICY: dict[str, Any] = {"flow_run_name": run_name, "persist_result": False}
"""What flows have in common; a flow is not tried again as a whole, its tasks are."""

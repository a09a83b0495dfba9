"""Promotions that wait for a person, and their answer; it is the run that writes the answer down."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus

from perennial.errors import Permanent, nearest

FLOW = "promote"
_SHORTEST = 8
"""Characters of an id that name a run, as many as are listed."""


class NothingWaits(Permanent):
    """No promotion of that name waits for an answer."""


class NotAnswered(Permanent):
    """The server did not take the answer."""


@dataclass(frozen=True)
class Waiting:
    """A promotion that waits for a person."""

    run: str
    """Id of the flow run."""
    name: str
    use_case: str
    environment: str
    source: str
    until: datetime | None
    """Then the answer is no."""
    link: str
    """The run in the UI, where it can be answered too."""


def waiting(client: SyncPrefectClient, environments: Iterable[str]) -> list[Waiting]:
    """Return the promotions that wait in some environments, the one whose time ends first on top."""
    known = set(environments)
    paused = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType.PAUSED.value]}}})
    runs = client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [FLOW]}}), flow_run_filter=paused
    )
    found = [_waiting(client, run, known & set(run.tags)) for run in runs if known & set(run.tags)]
    return sorted(found, key=lambda one: (one.until is None, one.until, one.name))


def answer(
    client: SyncPrefectClient, wanted: str, found: list[Waiting], approve: bool, who: str, reason: str
) -> Waiting:
    """Answer the promotion of an id, the beginning of one (8 characters at least), or a name.

    Raises:
        NothingWaits: None of those that wait, or several, are called so, or too little of an id is given.
        NotAnswered: The run was answered or ended meanwhile.
    """
    is_long = len(wanted) >= _SHORTEST
    meant = [one for one in found if (is_long and one.run.startswith(wanted)) or one.name == wanted]
    if len(meant) != 1:
        raise NothingWaits(_unclear(wanted, found, meant))
    given = {"approve": approve, "who": who, "reason": reason}
    result = client.resume_flow_run(UUID(meant[0].run), run_input=given)
    if result.status is not SetStateStatus.ACCEPT:
        why = getattr(result.details, "reason", None) or result.status.value
        raise NotAnswered(
            f"The run `{meant[0].name}` did not take the answer: {why}. `perennial approvals` lists more."
        )
    return meant[0]


def start(client: SyncPrefectClient, deployment: str, parameters: dict[str, Any]) -> tuple[FlowRun, str]:
    """Start a run of a deployment; returns it with its address in the UI."""
    found = client.read_deployment_by_name(deployment)
    run = client.create_flow_run_from_deployment(found.id, parameters=parameters)
    return run, _link(client, run)


def told(one: Waiting) -> dict[str, Any]:
    """Return it as plain values."""
    return {**asdict(one), "until": one.until.isoformat() if one.until else None}


def _waiting(client: SyncPrefectClient, run: FlowRun, environments: set[str]) -> Waiting:
    details = run.state.state_details if run.state else None
    return Waiting(
        run=str(run.id),
        name=run.name,
        use_case=str(run.parameters.get("use_case")),
        environment=", ".join(sorted(environments)),
        source=str(run.parameters.get("source")),
        until=details.pause_timeout if details else None,
        link=_link(client, run),
    )


def _link(client: SyncPrefectClient, run: FlowRun) -> str:
    return f"{str(client.api_url).rstrip('/').removesuffix('/api')}/runs/flow-run/{run.id}"


def _unclear(wanted: str, found: list[Waiting], meant: list[Waiting]) -> str:
    if not found:
        return f"No promotion waits for an answer, `{wanted}` neither."
    listed = ", ".join(f"`{one.name}` ({one.run[:8]})" for one in meant or found)
    if len(wanted) < _SHORTEST and not meant:
        return (
            f"`{wanted}` is {len(wanted)} characters; expected {_SHORTEST} or more of the id of a promotion that "
            f"waits, or its whole name. There are: {listed}."
        )
    near = nearest(wanted, [one.name for one in found]) if not meant else "; give more of its id."
    return f"`{wanted}` is {len(meant) or 'none'} of the promotions that wait{near or '.'} There are: {listed}."

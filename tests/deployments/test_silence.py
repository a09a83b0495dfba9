"""What does not happen, as a real Prefect server notices it: no heartbeat, no delivery, no worker."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.documents import read_settings
from deployments.apply import apply
from deployments.notifications import EMAIL, SLACK, save_notifications
from deployments.server import server_of
from tests.deployments.test_notifications import SECRET, Received, receiver
from tests.faults.alerts import kill_tree
from tests.servers import PREFECT, Server, running_server, until

pytestmark = pytest.mark.long
WITHIN = 10
"""Seconds: the shortest window that the server takes for what does not happen. It tumbles, so twice that may pass."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Received]]:
    received = Received()
    quick = {"PREFECT_WORKER_HEARTBEAT_SECONDS": "2", "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "2"}
    home = tmp_path_factory.mktemp("silent")
    with receiver(received) as (web, mail), running_server(home, **quick) as server:
        people = "user=ml&from=ml@example.org&to=team@example.org&mode=insecure"
        given = {
            SLACK: f"http://127.0.0.1:{web}/services/{SECRET}",
            EMAIL: f"mailto://127.0.0.1:{mail}?smtp=127.0.0.1&{people}",
        }
        with temporary_settings({PREFECT_API_URL: server.url}):
            names = save_notifications("dev", given)
        settings = read_settings("dev").model_copy(update={"prefect_api_url": server.url, "notifications": names})
        with server_of(settings) as client:
            apply(client, settings, lambda change: None)
        yield server, received


def hasten(server: Server, *names: str) -> None:
    """Let automations wait for seconds where they wait for minutes or days; all else stays as it was applied."""
    for one in server.ask("/automations/filter", {}):
        if one["name"] in names:
            changed = {key: one[key] for key in ("name", "description", "enabled", "actions", "tags")}
            changed["trigger"] = {**one["trigger"], "within": WITHIN}
            server.ask(f"/automations/{one['id']}", changed, "PUT")


def post(server: Server, name: str, resource: dict[str, str], related: list[dict[str, str]]) -> None:
    """Post an event of this moment."""
    body = {"event": name, "resource": resource, "related": related, "payload": {}, "id": str(uuid4())}
    server.ask("/events", [{**body, "occurred": datetime.now(UTC).isoformat()}])


def posted_until(server: Server, ask: Callable[[], Any], *event: Any) -> None:
    """Post an event, and again after a while: what comes just after `hasten` may yet meet the slow automation."""
    for _ in range(4):
        post(server, *event)
        with suppress(AssertionError):
            until(3 * WITHIN, ask)
            return
    raise AssertionError(f"{event[0]} was posted four times, and nothing came of it")


def is_awaited(server: Server, run: dict[str, Any]) -> bool:
    """Tell whether the hastened automation waits for a sign of a run: what is told before it does is told in vain."""
    query = 'SELECT start, "end" FROM automation_bucket WHERE bucketing_key LIKE ?'
    with closing(sqlite3.connect(server.home / "prefect.db")) as database:
        found = database.execute(query, (f"%{run['id']}%",)).fetchall()
    moments = ([datetime.fromisoformat(one) for one in window] for window in found)
    return any(end - start <= timedelta(seconds=WITHIN) for start, end in moments)


def running(server: Server) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Create a run of a deployment that is under way, and what its events name beside it."""
    deployment = server.ask("/deployments/name/train/dev")
    run = server.ask(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"use_case": "shop-returns"}})
    server.ask(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING"}, "force": True})
    role = {"prefect.resource.role": "deployment", "prefect.resource.name": "dev"}
    tags = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in run["tags"]]
    return run, [{"prefect.resource.id": f"prefect.deployment.{deployment['id']}", **role}, *tags]


def test_a_run_whose_heartbeats_stop_is_crashed_and_run_again_and_people_are_told(
    told: tuple[Server, Received],
) -> None:
    server, received = told
    hasten(server, "crash stuck runs (dev)")
    run, related = running(server)
    alive, _ = running(server)
    resource = {"prefect.resource.id": f"prefect.flow-run.{run['id']}", "prefect.resource.name": run["name"]}
    handed, _ = running(server)
    handed_back = {"prefect.resource.id": f"prefect.flow-run.{handed['id']}", "prefect.resource.name": handed["name"]}
    posted_until(server, lambda: is_awaited(server, handed), "prefect.flow-run.heartbeat", handed_back, related)
    waits = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Interrupted by `perennial down`."}
    server.ask(f"/flow_runs/{handed['id']}/set_state", {"state": waits, "force": True})
    posted_until(server, lambda: "CRASHED" in states(server, run), "prefect.flow-run.heartbeat", resource, related)
    until(150, lambda: states(server, run)[-1] == "SCHEDULED")
    until(150, lambda: received.saying("a run failed or crashed (dev)", run["name"], "No heartbeat for"))
    assert "CRASHED" not in states(server, alive) + states(server, handed)


def test_a_delivery_that_does_not_come_in_its_time_is_told(told: tuple[Server, Received]) -> None:
    server, received = told
    hasten(server, "notify: no delivery for a day (dev)")
    resource = {
        "prefect.resource.id": "perennial.use-case.shop-returns",
        "prefect.resource.name": "shop-returns",
        "perennial.environment": "dev",
    }
    labels = {**resource, "perennial.every": "day", "perennial.source": "outcomes"}

    def told_of() -> Any:
        """Let another source deliver all the while: it says nothing of this one."""
        post(server, "perennial.delivery.accepted", {**labels, "perennial.source": "orders"}, [])
        return received.saying("no delivery for a day (dev)", "shop-returns had no delivery of outcomes")

    posted_until(server, told_of, "perennial.delivery.accepted", labels, [])
    assert not received.saying("no delivery for a day (dev)", "of orders")
    assert not received.saying("no delivery for a month (dev)")


def test_a_worker_that_is_gone_is_told(told: tuple[Server, Received]) -> None:
    server, received = told
    worker = server.start(PREFECT, "worker", "start", "--pool", "perennial-dev")
    until(180, lambda: server.ask("/work_pools/perennial-dev")["status"] == "READY")
    kill_tree(worker)
    until(300, lambda: received.saying("a worker is gone (dev)", "perennial-dev"))


def states(server: Server, run: dict[str, Any]) -> list[str]:
    """Return the types of the states that a run was in, oldest first."""
    found = server.ask(f"/flow_run_states/?flow_run_id={run['id']}")
    return [one["type"] for one in sorted(found, key=lambda one: str(one["timestamp"]))]

"""What a Prefect server tells of one environment in numbers: runs, lateness, queues, workers, events.

Labels come from deployments, work pools and queues that the code declares, never from runs, so that their number
stays bounded however long the server lives.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prometheus_client.core import GaugeMetricFamily

from deployments.item import MARK
from deployments.triggers import NAME

_MOST_LATE = 200
_ALWAYS = {"since": "2000-01-01T00:00:00Z", "until": "2200-01-01T00:00:00Z"}
_AGES = 201 * 366 * 24 * 3600.0
_WAITING = [StateType.SCHEDULED.value, StateType.PENDING.value]


def orchestration_metrics(
    client: SyncPrefectClient, environment: str, pool: str, now: datetime
) -> Iterator[GaugeMetricFamily]:
    """Ask a server for the numbers of an environment.

    Args:
        client: Of its server.
        environment: Tag of its runs and deployments, and label of its events.
        pool: Name of its work pool.
        now: The present moment.
    """
    server = _Server(client, environment, now)
    flows = server.flows()
    yield from (server.runs(flows), server.lateness(flows))
    yield from server.queues(pool)
    yield from server.events()


class _Server:
    def __init__(self, client: SyncPrefectClient, environment: str, now: datetime) -> None:
        self._client: Any = client  # whose paths mypy knows one by one
        self._environment = environment
        self._now = now

    def flows(self) -> dict[str, str]:
        """Names of the deployed flows by id."""
        ours = {"name": {"any_": [self._environment]}, "tags": {"all_": [MARK, self._environment]}}
        wanted = {"deployments": ours}
        return {one["id"]: one["name"] for one in self._ask("/flows/filter", wanted)}

    def runs(self, flows: dict[str, str]) -> GaugeMetricFamily:
        """One request per flow; a state that no run is in is 0, so that the first failure is a rise."""
        family = _gauge("flow_runs", "Flow runs that the server knows", "flow", "environment", "state")
        for name in sorted(set(flows.values())):
            counts = self._counts({"flow_runs": self._tagged(), "flows": {"name": {"any_": [name]}}})
            for state in StateType:
                family.add_metric([name, self._environment, state.value.lower()], counts[state.value])
        return family

    def lateness(self, flows: dict[str, str]) -> GaugeMetricFamily:
        family = _gauge(
            "flow_run_lateness_seconds",
            "How long the run that waits longest is overdue, 0 when none is",
            "flow",
            "environment",
        )
        due = self._runs(StateType.SCHEDULED.value)
        due["flow_runs"]["next_scheduled_start_time"] = {"before_": self._now.isoformat()}
        late = self._ask("/flow_runs/filter", {**due, "sort": "NEXT_SCHEDULED_START_TIME_ASC", "limit": _MOST_LATE})
        overdue = dict.fromkeys(flows.values(), 0.0)
        for run in late:
            name = flows.get(run["flow_id"])
            if name and run["next_scheduled_start_time"]:
                overdue[name] = max(overdue[name], self._since(run["next_scheduled_start_time"]))
        for name, seconds in sorted(overdue.items()):
            family.add_metric([name, self._environment], seconds)
        return family

    def queues(self, pool: str) -> Iterator[GaugeMetricFamily]:
        depth = _gauge("queue_depth", "Runs that are due and have not begun", "pool", "queue")
        workers = _gauge("workers_online", "Workers that polled lately", "pool")
        if any(one["name"] == pool for one in self._ask("/work_pools/filter", {"limit": 200})):
            for queue in self._ask(f"/work_pools/{pool}/queues/filter", {}):
                depth.add_metric([pool, queue["name"]], self._count(self._due(pool, queue["name"])))
            online = [one for one in self._ask(f"/work_pools/{pool}/workers/filter", {}) if one["status"] == "ONLINE"]
            workers.add_metric([pool], len(online))
        yield from (depth, workers)

    def events(self) -> Iterator[GaugeMetricFamily]:
        told = {"resource": {"labels": {"perennial.environment": self._environment}}}
        yield self._lag("event_lag_seconds", "From the newest event of a use case to its arrival at the server", told)
        newest = self._newest({})
        about = "Since the newest event of any kind that the server has processed, of whichever environment"
        age = _gauge("event_age_seconds", about, "environment")
        if newest:
            age.add_metric([self._environment], self._since(newest["occurred"]))
        yield age
        ours = {"prefect.posture": "Reactive", NAME: f"* ({self._environment})"}
        fired = {"event": {"name": ["prefect.automation.triggered"]}, "resource": {"labels": ours}}
        yield self._lag("automation_lag_seconds", "From the event that fired an automation last to its firing", fired)

    def _lag(self, name: str, about: str, wanted: dict[str, Any]) -> GaugeMetricFamily:
        family, newest = _gauge(name, about, "environment"), self._newest(wanted)
        if newest:
            cause = (newest["payload"] or {}).get("triggering_event")
            began, ended = (
                (cause["occurred"], newest["occurred"]) if cause else (newest["occurred"], newest["received"])
            )
            family.add_metric([self._environment], (_moment(ended) - _moment(began)).total_seconds())
        return family

    def _newest(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        body = {"filter": {"occurred": _ALWAYS, "order": "DESC", **wanted}, "limit": 1}
        found: list[dict[str, Any]] = self._ask("/events/filter", body)["events"]
        return found[0] if found else None

    def _runs(self, state: str) -> dict[str, Any]:
        return {"flow_runs": {**self._tagged(), "state": {"type": {"any_": [state]}}}}

    def _tagged(self) -> dict[str, Any]:
        return {"tags": {"all_": [self._environment]}}

    def _due(self, pool: str, queue: str) -> dict[str, Any]:
        due = {"state": {"type": {"any_": _WAITING}}, "expected_start_time": {"before_": self._now.isoformat()}}
        return {
            "flow_runs": due,
            "work_pools": {"name": {"any_": [pool]}},
            "work_pool_queues": {"name": {"any_": [queue]}},
        }

    def _count(self, wanted: dict[str, Any]) -> int:
        return int(self._ask("/flow_runs/count", wanted))

    def _counts(self, wanted: dict[str, Any]) -> Counter[str]:
        """Count runs by the type of their state: the server's history of them, in one interval that holds all time."""
        whole = {"history_start": _ALWAYS["since"], "history_end": _ALWAYS["until"]}
        spans = self._ask("/flow_runs/history", {**whole, "history_interval_seconds": _AGES, **wanted})
        counts = Counter[str]()
        for one in (state for span in spans for state in span["states"]):
            counts[one["state_type"]] += one["count_runs"]
        return counts

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        return self._client.request("POST", path, json=body).json()

    def _since(self, text: str) -> float:
        return max(0.0, (self._now - _moment(text)).total_seconds())


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"perennial_{name}", f"{about}.", labels=labels)

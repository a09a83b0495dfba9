"""How one change of each kind is made through the API of a server; it decides nothing."""

from collections.abc import Mapping
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient

from blocks.environment import save_environment
from deployments.item import AUTOMATION, BLOCK, DEPLOYMENT, LIMIT, POOL, SCHEDULE
from deployments.observed import Observed
from deployments.plan import Change
from perennial.errors import Permanent


class NotApplied(Permanent):
    """The server refused a change, or does not keep what it was given."""


class Changer:
    """Makes changes on a server, and knows the ids of what it made for those that follow."""

    def __init__(self, client: SyncPrefectClient, found: Observed) -> None:
        self._client = client
        self._found = found

    def make(self, change: Change) -> None:
        """Make one change.

        Raises:
            NotApplied: The server refused it.
        """
        try:
            if change.action == "delete":
                self._send("DELETE", self._address(change))
            else:
                _MAKERS[change.item.kind](self, change)
        except httpx.HTTPStatusError as error:
            raise NotApplied(
                f"The server refused to {change.action} {change.item.kind} `{change.item.name}` "
                f"({error.response.status_code}): {error.response.text[:500]}"
            ) from None

    def _pool(self, change: Change) -> None:
        body = _pool_body(change.item.fields)
        if change.action == "update" and "type" not in change.fields:
            self._send("PATCH", self._address(change), body)
            return
        if change.action == "update":  # a pool keeps its type for life
            self._send("DELETE", self._address(change))
        self._send("POST", "/work_pools/", {"name": change.item.name, "type": change.item.fields["type"], **body})

    def _block(self, change: Change) -> None:
        document = change.item.fields["document"]
        save_environment(document["environment"], document)

    def _limit(self, change: Change) -> None:
        self._put(change, "/v2/concurrency_limits/", {"name": change.item.name, **change.item.fields})

    def _deployment(self, change: Change) -> None:
        body = _deployment_body(change.item.fields)
        if change.action == "update":
            self._send("PATCH", self._address(change), body)
            return
        flow, name = change.item.name.split("/")
        named = {"flow_id": self._send("POST", "/flows/", {"name": flow})["id"], "name": name}
        self._found.deployments[change.item.name] = self._send("POST", "/deployments/", {**named, **body})["id"]

    def _schedule(self, change: Change) -> None:
        body = _schedule_body(change.item.fields)
        if change.action == "update":
            self._send("PATCH", self._address(change), body)
        else:
            self._send("POST", self._schedules(change), [body])

    def _automation(self, change: Change) -> None:
        if set(change.fields) == {"enabled"}:  # any other change makes it forget its cooldowns
            self._send("PATCH", self._address(change), {"enabled": change.item.fields["enabled"]})
            return
        fields = change.item.fields
        body = {"name": change.item.name, **fields, "actions": [self._action(one) for one in fields["actions"]]}
        self._put(change, "/automations/", body, "PUT")

    def _action(self, declared: Mapping[str, Any]) -> dict[str, Any]:
        action = dict(declared)
        if name := action.pop("deployment", None):
            action |= {"source": "selected", "deployment_id": self._found.deployments[name]}
        if name := action.pop("block", None):
            action["block_document_id"] = self._found.blocks[name]
        return action

    def _put(self, change: Change, path: str, body: Any, method: str = "PATCH") -> None:
        if change.action == "create":
            self._send("POST", path, body)
        else:
            self._send(method, self._address(change), body)

    def _address(self, change: Change) -> str:
        assert change.found
        if change.item.kind == POOL:
            return f"/work_pools/{change.item.name}"
        if change.item.kind == SCHEDULE:
            return f"{self._schedules(change)}/{change.found.id}"
        return f"{_PATHS[change.item.kind]}/{change.found.id}"

    def _schedules(self, change: Change) -> str:
        return f"/deployments/{self._found.deployments[change.item.fields['deployment']]}/schedules"

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._client.request(method, path, json=body)  # type: ignore[arg-type]
        return answer.json() if answer.content else None


def _pool_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": fields["description"],
        "is_paused": fields["paused"],
        "concurrency_limit": fields["concurrency_limit"],
        "base_job_template": fields["template"],
    }


def _deployment_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {
        "parameter_schema": "parameter_openapi_schema",
        "work_pool": "work_pool_name",
        "work_queue": "work_queue_name",
    }
    body = {renamed.get(name, name): one for name, one in fields.items()}
    options = dict(body.pop("concurrency"))
    return {**body, "concurrency_limit": options.pop("limit"), "concurrency_options": options}


def _schedule_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: fields[name] for name in ("slug", "active", "parameters")}
    return {**kept, "schedule": {"cron": fields["cron"], "timezone": fields["timezone"]}}


_PATHS = {LIMIT: "/v2/concurrency_limits", DEPLOYMENT: "/deployments", AUTOMATION: "/automations"}
_MAKERS = {
    POOL: Changer._pool,
    BLOCK: Changer._block,
    LIMIT: Changer._limit,
    DEPLOYMENT: Changer._deployment,
    SCHEDULE: Changer._schedule,
    AUTOMATION: Changer._automation,
}

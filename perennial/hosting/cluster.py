"""The only home of the Kubernetes client: a cluster's API, asked again where it is only busy; it decides nothing.

Objects are applied by the server under a name of our own, so that what other people changed of them shows as a conflict
and is never overwritten unnoticed. Watching only wakes: what is true is read by a list afterwards, so that a watch that
breaks off or is too old (410) costs nothing.
"""

import asyncio
import json
import os
import random
import threading
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self, TypeVar

from perennial.hosting.errors import ClusterAway, ClusterRefused, FieldConflict, NoCluster

MANAGER = "perennial"
TRIES = 6
LONGEST = 10.0
"""Seconds between two tries, whatever the cluster asks for."""
_TIMEOUT = 15.0
_BUSY = {429, 500, 502, 503, 504}
_GROUPS = {
    "Deployment": ("apis/apps/v1", "deployments"),
    "Service": ("api/v1", "services"),
    "Pod": ("api/v1", "pods"),
    "HorizontalPodAutoscaler": ("apis/autoscaling/v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "HTTPRoute": ("apis/gateway.networking.k8s.io/v1", "httproutes"),
}
_T = TypeVar("_T")
Object = dict[str, Any]


class Cluster:
    """One namespace of a cluster. Its methods wait; the client's event loop has a thread of its own."""

    def __init__(self, namespace: str, configuration: Any) -> None:
        """Prepare to ask; `close` ends it.

        Args:
            namespace: That all objects are in.
            configuration: Of the client, as `connect` makes it.
        """
        from kubernetes_asyncio.client import ApiClient

        self.namespace = namespace
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="cluster", daemon=True).start()

        async def make() -> Any:
            return ApiClient(configuration)

        self._client = self._wait(make())

    @classmethod
    def connect(cls, namespace: str, context: str = "") -> Self:
        """Return the cluster that this pod is in, or elsewhere the one that a context of the kubeconfig names.

        The context that happens to be current is never taken: it may be any cluster's.

        Args:
            namespace: That all objects are in.
            context: As the environment's document declares it; empty for none.

        Raises:
            NoCluster: This pod has no token, or this process is in no cluster and has no such context.
        """
        return cls(namespace, _configuration(context))

    def close(self) -> None:
        """Let go of the connections."""
        self._wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, `None` if there is none."""
        found: Object | None = self._wait(self._ask("GET", self._path(kind, name)))
        return found

    def list(self, kind: str, labels: Mapping[str, str]) -> Object:
        """Return the list of objects with some labels; its version is where a watch goes on."""
        query = {"labelSelector": _selector(labels)}
        found: Object = self._wait(self._ask("GET", self._path(kind), query)) or {"items": [], "metadata": {}}
        return found

    def apply(self, one: Object, *, force: bool = False) -> Object:
        """Make an object as it is written, or change of it what is ours.

        Raises:
            FieldConflict: Somebody else set a field of ours to something else. With `force` it is set back.
            ClusterRefused: It is not valid, or we may not.
            ClusterAway: There was no answer, however often it was asked.
        """
        path = self._path(one["kind"], one["metadata"]["name"])
        query = {"fieldManager": MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        made: Object = self._wait(self._ask("PATCH", path, query, one, "application/apply-patch+yaml"))
        return made

    def reset_pods(self, deployment: Object) -> Object:
        """Let the pods of a Deployment be as they are written, without what anybody added to them."""
        path = self._path(deployment["kind"], deployment["metadata"]["name"])
        pods = deployment["spec"]["template"]["spec"]
        change = [{"op": "replace", "path": "/spec/template/spec", "value": pods}]
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        made: Object = self._wait(self._ask("PATCH", path, query, change, "application/json-patch+json"))
        return made

    def delete(self, kind: str, name: str) -> bool:
        """Delete an object if it is there; its pods end by their grace."""
        body = {"propagationPolicy": "Background"}
        return self._wait(self._ask("DELETE", self._path(kind, name), None, body)) is not None

    def wait_for_change(self, labels: Mapping[str, str], since: str, seconds: float) -> bool:
        """Return as soon as a pod changes, or after some time; `True` if it was a change, or one may have been missed.

        A cluster that does not let us watch, or is too busy, is not asked again before that time, or as it asks.

        Args:
            labels: Of the pods.
            since: The version of the list that is known.
            seconds: At most.
        """
        return self._wait(self._watch(_selector(labels), since, seconds))

    def _path(self, kind: str, name: str = "") -> str:
        group, plural = _GROUPS[kind]
        return f"/{group}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def _wait(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = "application/json",
    ) -> Any:
        for attempt in range(1, TRIES + 1):
            pause, why = await self._try(method, path, query, body, content)
            if not why:
                return pause
            if attempt < TRIES:
                await asyncio.sleep(min(pause or 0.2 * 2**attempt, LONGEST) * random.uniform(1, 1.3))  # noqa: S311
        raise ClusterAway(f"{method} {path}: {why}, {TRIES} times. Nothing more was done; it is tried again later.")

    async def _try(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content: str
    ) -> tuple[Any, str]:
        """Return the answer, or how long to wait and why."""
        from aiohttp import ClientError
        from kubernetes_asyncio.client import ApiException

        try:
            return await self._call(method, path, query, body, content), ""
        except ApiException as error:
            status = int(error.status or 0)
            if status == HTTPStatus.NOT_FOUND and method in ("GET", "DELETE"):
                return None, ""
            if status == HTTPStatus.CONFLICT:
                _raise_field_conflict(path, error)
            if status in _BUSY or status == HTTPStatus.CONFLICT:
                headers: Mapping[str, str] = error.headers or {}
                return _seconds(headers.get("Retry-After")), f"{status} {_message(error)}"
            raise ClusterRefused(f"{method} {path} was refused: {status} {_message(error)}") from None
        except (ClientError, TimeoutError, OSError) as error:
            return 0.0, f"no answer ({type(error).__name__})"

    async def _call(self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content: str) -> Any:
        return await self._client.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params={"Content-Type": content, "Accept": "application/json"},
            body=body,
            response_types_map={200: "object", 201: "object", 202: "object"},
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
            _request_timeout=_TIMEOUT,
        )

    async def _watch(self, selector: str, since: str, seconds: float) -> bool:
        from aiohttp import ClientError

        query = {"watch": "1", "labelSelector": selector, "resourceVersion": since, "timeoutSeconds": f"{seconds:.0f}"}
        response = None
        try:
            response = await self._client.call_api(
                self._path("Pod"),
                "GET",
                query_params=list(query.items()),
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=seconds + 1,
            )
            if response.status not in (HTTPStatus.OK, HTTPStatus.GONE):
                asked = _seconds(response.headers.get("Retry-After"))
                await asyncio.sleep(min(asked or seconds, LONGEST))
                return True
            return bool(await response.content.readline())
        except TimeoutError:
            return False
        except (ClientError, OSError):
            return True
        finally:
            if response is not None:
                response.close()


def _configuration(context: str) -> Any:
    from kubernetes_asyncio import client, config

    found = client.Configuration()

    async def load() -> None:
        place = os.environ.get("KUBECONFIG")  # which the library itself reads once, when it is imported
        await config.load_kube_config(config_file=place, context=context, client_configuration=found)

    with suppress(config.ConfigException):
        config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
        return found
    if not context:
        raise NoCluster(
            "This process is in no cluster, or has no token of it, and the environment declares none to reach from "
            "elsewhere. Run it in a pod of the account `perennial-deploy`, as `host` does, or set `cluster_context` in "
            "the environment's document (`PERENNIAL_CLUSTER_CONTEXT`) to a context of your kubeconfig."
        )
    try:
        asyncio.run(load())
    except config.ConfigException as error:
        raise NoCluster(
            f"The environment's `cluster_context` is `{context}`, and no kubeconfig says where that is: {error} Name "
            "another context, or another kubeconfig in `KUBECONFIG`."
        ) from None
    return found


def _raise_field_conflict(path: str, error: Any) -> None:
    causes = (_status(error).get("details") or {}).get("causes") or []
    found = [one for one in causes if one.get("reason") == "FieldManagerConflict"]
    if found:
        told = "; ".join(f"`{one.get('field', '')}`: {one.get('message', '')}" for one in found)
        raise FieldConflict(f"{path} was changed by somebody else: {told}") from None


def _status(error: Any) -> Object:
    try:
        found = json.loads(error.body or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(error: Any) -> str:
    return str(_status(error).get("message") or error.reason or "")[:500]


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))

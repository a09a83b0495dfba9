"""A Kubernetes API over real HTTP, for what our clients ask of one: objects, versions, field owners, watches, faults.

It checks what it is given against the schemas of Kubernetes, as the real one does, and whether the account that asks
may. What it does not know is 404.
"""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

from tests.deployments.kubernetes.access import Account, verb_of
from tests.deployments.kubernetes.fields import Conflicting, Owners, merged, replaced

Object = dict[str, Any]
Place = tuple[str, str, str]
"""Plural, namespace and name."""
SCHEMAS = "1.36"
KINDS = {
    "deployments": ("apps/v1", "Deployment"),
    "services": ("v1", "Service"),
    "pods": ("v1", "Pod"),
    "secrets": ("v1", "Secret"),
    "namespaces": ("v1", "Namespace"),
    "jobs": ("batch/v1", "Job"),
    "events": ("v1", "Event"),
    "horizontalpodautoscalers": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "httproutes": ("gateway.networking.k8s.io/v1", "HTTPRoute"),
}


class Refused(Exception):
    """An answer other than 2xx."""

    def __init__(
        self, code: int, reason: str, message: str, causes: list[Object] | None = None, again: str = ""
    ) -> None:
        super().__init__(message)
        self.code, self.again = code, again
        self.body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
        self.body |= {"message": message, "details": {"causes": causes or []}}


@dataclass
class Fault:
    """What goes wrong with the next requests that it is about."""

    matches: Callable[[str, str], bool]
    """By method and path."""
    times: int
    code: int
    retry_after: str = ""


@dataclass
class Api:
    """All objects, and what happened to them."""

    objects: dict[Place, Object] = field(default_factory=dict)
    owners: dict[Place, Owners] = field(default_factory=dict)
    events: list[tuple[int, str, Place, Object]] = field(default_factory=list)
    version: int = 1
    compacted: int = 0
    """Versions up to this one are too old to watch from."""
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    rights: set[tuple[str, str]] = field(default_factory=set)
    """Verbs and resources that were asked for and allowed."""
    watches: int = 0
    is_dropping: bool = False
    """Whether watches break off at once."""
    behaviours: dict[str, str] = field(default_factory=dict)
    """What an image does from now on, in place of what its name says."""
    logs: dict[str, str] = field(default_factory=dict)
    """By pod."""
    grace: float = 0
    """Seconds that a pod takes to end, in which it is still listed."""

    def fail(self, method: str, plural: str, code: int, times: int = 1, retry_after: str = "") -> Fault:
        """Let the next requests of a method about a kind fail."""
        fault = Fault(lambda m, path: m == method and f"/{plural}" in path, times, code, retry_after)
        self.faults.append(fault)
        return fault

    def names(self, plural: str) -> list[str]:
        with self.changed:
            return sorted(name for found, _, name in self.objects if found == plural)

    def get(self, plural: str, name: str, namespace: str = "perennial-test") -> Object:
        with self.changed:
            return deepcopy(self.objects[plural, namespace, name])

    def compact(self) -> None:
        """Forget the past, so that watching from an earlier version is answered with 410."""
        with self.changed:
            self.compacted = self.version

    def put(self, place: Place, one: Object, manager: str) -> Object:
        """Store an object as somebody wrote it; nothing happens where nothing is new."""
        with self.changed:
            before = self.objects.get(place)
            made = self._with_meta(place, one, before)
            owners = self.owners.setdefault(place, Owners())
            if before is not None and manager:
                owners.update(before, made, manager)
            made["metadata"]["managedFields"] = owners.told()
            if before is not None and _comparable(before) == _comparable(made):
                return before
            self._store(place, made, "ADDED" if before is None else "MODIFIED")
            return made

    def apply(self, place: Place, wanted: Object, manager: str, force: bool) -> Object:
        with self.changed:
            owners = self.owners.setdefault(place, Owners())
            before = self.objects.get(place)
            try:
                made = owners.apply(before, wanted, manager, force)
            except Conflicting as conflict:
                told = [
                    {
                        "reason": "FieldManagerConflict",
                        "message": f'conflict with "{who}"',
                        "field": "." + ".".join(path),
                    }
                    for path, who in conflict.fields.items()
                ]
                raise Refused(409, "Conflict", f"Apply failed with {len(told)} conflicts", told) from None
            return self.put(place, made, "")

    def delete(self, place: Place) -> Object:
        with self.changed:
            one = self.objects.pop(place, None)
            if one is None:
                raise Refused(404, "NotFound", f"{place[0]} {place[2]!r} not found")
            self.owners.pop(place, None)
            self._note("DELETED", place, one)
            return one

    def patch(self, plural: str, name: str, change: Object, manager: str, namespace: str = "perennial-test") -> Object:
        """Change an object as `kubectl edit` does."""
        with self.changed:
            return self.put((plural, namespace, name), merged(self.get(plural, name, namespace), change), manager)

    def listed(self, plural: str, namespace: str, selector: str) -> Object:
        with self.changed:
            items = [
                one
                for (kind, space, _), one in self.objects.items()
                if kind == plural and namespace in ("", space) and selects(selector, one)
            ]
            group, kind = KINDS[plural]
            meta = {"resourceVersion": str(self.version)}
            return {"kind": f"{kind}List", "apiVersion": group, "metadata": meta, "items": deepcopy(items)}

    def watched(
        self, plural: str, namespace: str, selector: str, since: int, seconds: float
    ) -> Iterator[Object | None]:
        """Events after a version; `None` now and then, to see whether the client is still there."""
        deadline, seen = monotonic() + seconds, since
        while monotonic() < deadline and not self.is_dropping:
            with self.changed:
                if seen < self.compacted:
                    gone = Refused(410, "Expired", "too old resource version").body
                    yield {"type": "ERROR", "object": gone}
                    return
                found = [one for one in self.events if one[0] > seen]
                if not found:
                    self.changed.wait(0.1)
            for number, kind, (of, space, _), one in found:
                seen = number
                if of == plural and namespace in ("", space) and selects(selector, one):
                    yield {"type": kind, "object": one}
            if not found:
                yield None

    def _with_meta(self, place: Place, one: Object, before: Object | None) -> Object:
        made = deepcopy(one)
        group, kind = KINDS[place[0]]
        made.setdefault("apiVersion", group)
        made.setdefault("kind", kind)
        meta = made.setdefault("metadata", {})
        meta |= {"name": place[2], "namespace": place[1]}
        old = before["metadata"] if before else {}
        meta["uid"] = old.get("uid") or str(uuid.uuid4())
        meta.setdefault("creationTimestamp", old.get("creationTimestamp") or f"{datetime.now(UTC):%FT%TZ}")
        changed = before is None or before.get("spec") != made.get("spec")
        meta["generation"] = old.get("generation", 0) + changed
        if kind == "Deployment":
            made["spec"].setdefault("replicas", 1)
        return made

    def _store(self, place: Place, one: Object, kind: str) -> None:
        self.objects[place] = one
        self._note(kind, place, one)

    def _note(self, kind: str, place: Place, one: Object) -> None:
        self.version += 1
        one["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, kind, place, deepcopy(one)))
        self.changed.notify_all()


def selects(selector: str, one: Object) -> bool:
    labels = one["metadata"].get("labels", {})
    wanted = [part for part in selector.split(",") if part]
    return all(
        labels.get(part.partition("=")[0]) == part.partition("=")[2] if "=" in part else part in labels
        for part in wanted
    )


def _comparable(one: Object) -> Object:
    meta = {key: value for key, value in one["metadata"].items() if key not in ("resourceVersion", "generation")}
    return {**one, "metadata": meta}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api
    account: Account

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, method: str) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = yaml.safe_load(self.rfile.read(size)) if size else {}
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        with self.api.changed:
            self.api.requests.append((method, self.path))
        try:
            self._fail(method, parts.path)
            self._route(method, parts.path, query, body or {})
        except Refused as refused:
            self._send(refused.code, refused.body, refused.again)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _fail(self, method: str, path: str) -> None:
        with self.api.changed:
            for fault in self.api.faults:
                if fault.times > 0 and fault.matches(method, path):
                    fault.times -= 1
                    raise Refused(fault.code, "Fault", f"made to fail with {fault.code}", again=fault.retry_after)

    def _route(self, method: str, path: str, query: dict[str, str], body: Object) -> None:
        words = [one for one in path.split("/") if one]
        if found := discovered(words):
            self._send(200, found)
            return
        words = words[2:] if words[0] == "api" else words[3:]
        namespace = ""
        if len(words) > 2 and words[0] == "namespaces":
            namespace, words = words[1], words[2:]
        plural, name, sub = [*words, "", ""][:3]
        if plural not in KINDS:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        verb = verb_of(method, name, query)
        self._permit(verb, plural, sub, namespace)
        if verb == "patch" and (plural, namespace, name) not in self.api.objects:
            self._permit("create", plural, sub, namespace)
        if method == "GET" and sub == "log":
            self._send_text(self.api.logs.get(name, ""))
        elif verb == "watch":
            self._watch(plural, namespace, query)
        elif verb == "list":
            self._send(200, self.api.listed(plural, namespace, query.get("labelSelector", "")))
        else:
            self._send(*self._one(method, (plural, namespace, name), query, body))

    def _permit(self, verb: str, plural: str, sub: str, namespace: str) -> None:
        resource = f"{plural}/{sub}" if sub else plural
        if not self.account.may(verb, KINDS[plural][0], resource, namespace):
            where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            raise Refused(403, "Forbidden", f'"{self.account.name}" cannot {verb} resource "{resource}" {where}')
        with self.api.changed:
            self.api.rights.add((verb, resource))

    def _one(self, method: str, place: Place, query: dict[str, str], body: Object) -> tuple[int, Object]:
        api = self.api
        manager = query.get("fieldManager") or (self.headers.get("User-Agent") or "somebody").partition("/")[0]
        if method == "POST":
            meta = body["metadata"]
            name = meta.get("name") or f"{meta['generateName']}{uuid.uuid4().hex[:5]}"
            place = (place[0], place[1], name)
            if place in api.objects:
                raise Refused(409, "AlreadyExists", f"{place[0]} {name!r} already exists")
            _check(place, body, query)
            return 201, api.put(place, body, manager)
        if method == "PATCH" and "apply-patch" in self.headers["Content-Type"]:
            _check(place, body, query)
            return 200, api.apply(place, body, query["fieldManager"], query.get("force") == "true")
        with api.changed:
            live = api.objects.get(place)
            if live is None:
                raise Refused(404, "NotFound", f"{place[0]} {place[2]!r} not found")
            if method == "DELETE":
                return 200, api.delete(place)
            if method == "PATCH":
                is_json = "json-patch" in self.headers["Content-Type"]
                return 200, api.put(place, (replaced if is_json else merged)(live, body), manager)
            if method == "PUT":
                if (
                    body["metadata"].get("resourceVersion", live["metadata"]["resourceVersion"])
                    != live["metadata"]["resourceVersion"]
                ):
                    raise Refused(409, "Conflict", "the object has been modified; please apply your changes again")
                return 200, api.put(place, body, manager)
            return 200, deepcopy(live)

    def _watch(self, plural: str, namespace: str, query: dict[str, str]) -> None:
        api = self.api
        with api.changed:
            api.watches += 1
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        since = int(query.get("resourceVersion") or api.version)
        seconds = float(query.get("timeoutSeconds") or 300)
        for event in api.watched(plural, namespace, query.get("labelSelector", ""), since, seconds):
            if event is not None:
                self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()

    def _send(self, code: int, body: Object, again: str = "") -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if again:
            self.send_header("Retry-After", again)
        self.end_headers()
        self.wfile.write(data)

    def _send_text(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def discovered(words: list[str]) -> Object | None:
    """Answer what the API has, as clients that discover it ask."""
    if words == ["version"]:
        return {"major": "1", "minor": SCHEMAS.partition(".")[2], "gitVersion": f"v{SCHEMAS}.0"}
    if words == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups = sorted({group for group, _ in KINDS.values() if "/" in group})
    if words == ["apis"]:
        made = [{"groupVersion": one, "version": one.partition("/")[2]} for one in groups]
        listed = [
            {"name": one["groupVersion"].partition("/")[0], "versions": [one], "preferredVersion": one} for one in made
        ]
        return {"kind": "APIGroupList", "groups": listed}
    version = "/".join(words[1:])
    if len(words) == (2 if words[:1] == ["api"] else 3) and words[0] in ("api", "apis"):
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        resources = [
            {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": verbs}
            for plural, (group, kind) in KINDS.items()
            if group == version
        ]
        return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    return None


def _check(place: Place, body: Object, query: dict[str, str]) -> None:
    """As the real one: unknown fields are refused where the client asks for that, and only warned of otherwise."""
    is_strict = query.get("fieldValidation") == "Strict"
    if place[0] != "httproutes" and (why := _fault_of(json.dumps(body, sort_keys=True), is_strict)):
        raise Refused(422, "Invalid", f"{body.get('kind')} {place[2]!r} is invalid: {why}")


@cache
def _fault_of(text: str, is_strict: bool) -> str:
    """What does not fit the schema of an object, which takes half a second to find out and never changes."""
    try:
        kubernetes_validate.validate(json.loads(text), SCHEMAS, strict=is_strict)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return ""


@contextmanager
def running_api(account: Account) -> Iterator[tuple[Api, str]]:
    """Run an API on loopback, which is asked by one account; yields it with its address."""
    api = Api()
    handler = type("Handler", (_Handler,), {"api": api, "account": account})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield api, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        api.is_dropping = True
        server.shutdown()
        server.server_close()

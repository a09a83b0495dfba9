"""What an account of deployments/kubernetes may ask a cluster for, as the Role says that is bound to it."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.deployments.kubernetes.rendering import FOLDER

VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Account:
    """One of base/accounts.yaml, in a namespace."""

    name: str
    namespace: str

    def may(self, verb: str, api_version: str, resource: str, namespace: str) -> bool:
        """Whether a rule names the verb for the resource of its group, or subresource, as `pods/log`."""
        group = api_version.partition("/")[0] if "/" in api_version else ""
        return namespace == self.namespace and any(
            verb in rule["verbs"] and group in rule["apiGroups"] and resource in rule["resources"]
            for rule in _rules(self.name)
        )

    @property
    def rights(self) -> set[tuple[str, str]]:
        """Verbs and resources that are granted."""
        return {(verb, what) for rule in _rules(self.name) for verb in rule["verbs"] for what in rule["resources"]}


@cache
def _rules(account: str) -> list[dict[str, Any]]:
    objects = list(yaml.safe_load_all((FOLDER / "base" / "accounts.yaml").read_text()))
    subject = {"kind": "ServiceAccount", "name": account}
    bound = {one["roleRef"]["name"] for one in objects if subject in one.get("subjects", ())}
    roles = (one for one in objects if one["kind"] == "Role" and one["metadata"]["name"] in bound)
    return [rule for one in roles for rule in one["rules"]]


def verb_of(method: str, name: str, query: dict[str, str]) -> str:
    """Return what Kubernetes calls a request."""
    if method == "GET" and query.get("watch") in ("1", "true", "True"):
        return "watch"
    if not name:
        return {"GET": "list", "DELETE": "deletecollection"}.get(method, VERBS[method])
    return VERBS[method]

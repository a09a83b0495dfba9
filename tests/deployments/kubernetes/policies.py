"""What must be true of everything that is made in a cluster: each policy names what breaks it, if anything.

They are functions of plain objects, so that the same are asked of kustomize's output, of a rendered service and of the
Job of a flow run.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Object = dict[str, Any]
Policy = Callable[[list[Object]], list[str]]
VERBS = {"get", "list", "watch", "create", "patch", "delete"}
TOKENS = {"perennial-worker", "perennial-deploy"}
"""Accounts whose pods may ask the cluster."""
SECRET_WORDS = ("PASSWORD", "SECRET", "TOKEN", "AUTH_STRING", "CONNECTION_URL", "STORE_URI", "_KEY", "CREDENTIAL")
NAMES_OF_SECRETS = ("_AUTH_STRING_SECRET_NAME", "_AUTH_STRING_SECRET_KEY")
"""Endings of variables that say where a secret is, and hold none."""
WORKLOADS = ("Deployment", "Job")
KINDS = {
    *WORKLOADS,
    "ConfigMap",
    "HorizontalPodAutoscaler",
    "LimitRange",
    "Namespace",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "Service",
    "ServiceAccount",
}
"""What these policies know to look at."""
BUDGET, SCALE, NODE = "PodDisruptionBudget", "HorizontalPodAutoscaler", "kubernetes.io/hostname"


def of_kind(objects: Iterable[Object], *kinds: str) -> Iterator[Object]:
    return (one for one in objects if one["kind"] in kinds)


def name(one: Object) -> str:
    meta = one["metadata"]
    return f"{one['kind']} {meta.get('name') or meta.get('generateName')}"


def pods(objects: list[Object]) -> Iterator[tuple[str, Object, dict[str, str]]]:
    """Every pod that is asked for: by whom, its spec, its labels."""
    for one in of_kind(objects, *WORKLOADS):
        template = one["spec"]["template"]
        yield name(one), template["spec"], template.get("metadata", {}).get("labels", {})


def containers(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for who, spec, _ in pods(objects):
        for one in [*spec["containers"], *spec.get("initContainers", [])]:
            yield f"{who}/{one['name']}", one


def kinds_are_known(objects: list[Object]) -> list[str]:
    """Of another kind nobody would look at the pods, secrets or rights."""
    return [name(one) for one in objects if one["kind"] not in KINDS]


def pods_are_restricted(objects: list[Object]) -> list[str]:
    """The restricted standard of pod security, and a user, a group and volumes that are named."""
    found = []
    user = {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}
    wanted = {**user, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for who, spec, _ in pods(objects):
        found += [f"{who}: {field}" for field in _differing(spec.get("securityContext", {}), wanted)]
        found += [f"{who}: {field}" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
        for volume in spec.get("volumes", []):
            if not {"emptyDir", "secret", "configMap", "persistentVolumeClaim"} & volume.keys():
                found.append(f"{who}: volume {volume['name']}")
    return found


def containers_are_restricted(objects: list[Object]) -> list[str]:
    """No rights, no way to more, nothing to write to but `/tmp` and a claimed `/state`, and no port of the node."""
    found = []
    wanted = {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for who, one in containers(objects):
        found += [f"{who}: {field}" for field in _differing(one.get("securityContext", {}), wanted)]
        writable = [mount["mountPath"] for mount in one.get("volumeMounts", []) if not mount.get("readOnly")]
        if writable not in (["/tmp"], ["/tmp", "/state"]):
            found.append(f"{who}: writes to {writable}")
        found += [f"{who}: hostPort" for port in one.get("ports", []) if "hostPort" in port]
    return found


def _differing(context: Object, wanted: Object) -> list[str]:
    """Fields that are not as wanted, or more than are: what a container says goes before what its pod does."""
    return sorted(field for field in context.keys() | wanted.keys() if context.get(field) != wanted.get(field))


def resources_are_bounded(objects: list[Object]) -> list[str]:
    """Memory and disk have an end, and the scheduler knows what is needed. CPU is shared by requests, not cut off."""
    found = []
    for who, one in containers(objects):
        resources = one.get("resources", {})
        for kind, needed in (("requests", ("cpu", "memory")), ("limits", ("memory", "ephemeral-storage"))):
            found += [f"{who}: {kind}.{field}" for field in needed if not resources.get(kind, {}).get(field)]
    for who, spec, _ in pods(objects):
        for volume in spec.get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                found.append(f"{who}: volume {volume['name']} has no end")
    return found


def namespaces_enforce_it(objects: list[Object]) -> list[str]:
    label = "pod-security.kubernetes.io/enforce"
    spaces = list(of_kind(objects, "Namespace"))
    found = [name(one) for one in spaces if one["metadata"].get("labels", {}).get(label) != "restricted"]
    own = {one["metadata"]["name"] for one in spaces}
    if own:
        found += [name(one) for one in objects if one["metadata"].get("namespace", *own) not in own]
    return found


def tokens_are_where_they_are_needed(objects: list[Object]) -> list[str]:
    found = [name(one) for one in of_kind(objects, "ServiceAccount") if one.get("automountServiceAccountToken", True)]
    for who, spec, _ in pods(objects):
        if spec.get("serviceAccountName", "default") == "default":
            found.append(f"{who}: account")
        if spec.get("automountServiceAccountToken", True) and spec.get("serviceAccountName") not in TOKENS:
            found.append(f"{who}: token")
    return found


def access_is_named(objects: list[Object]) -> list[str]:
    """Verbs and resources by name, in the own namespace, to accounts that exist; never secrets."""
    found = [name(one) for one in of_kind(objects, "ClusterRole", "ClusterRoleBinding")]
    accounts = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in of_kind(objects, "ServiceAccount")}
    roles = {one["metadata"]["name"] for one in of_kind(objects, "Role")}
    for one in of_kind(objects, "Role"):
        for rule in one["rules"]:
            found += [f"{name(one)}: {verb}" for verb in rule["verbs"] if verb not in VERBS]
            banned = {"*", "secrets", "pods/exec", "roles", "rolebindings", "serviceaccounts/token"}
            found += [f"{name(one)}: {resource}" for resource in rule["resources"] if resource in banned]
            found += [f"{name(one)}: any group" for group in rule["apiGroups"] if group == "*"]
    for one in of_kind(objects, "RoleBinding"):
        if one["roleRef"]["kind"] != "Role" or one["roleRef"]["name"] not in roles:
            found.append(f"{name(one)}: {one['roleRef']['name']}")
        for subject in one["subjects"]:
            if subject["kind"] != "ServiceAccount" or (subject["namespace"], subject["name"]) not in accounts:
                found.append(f"{name(one)}: {subject['name']}")
    return found


def everything_is_probed(objects: list[Object]) -> list[str]:
    """What runs for ever is asked whether it lives and whether it is ready; readiness of a service is its release's."""
    found = []
    for one in of_kind(objects, "Deployment"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        for container in one["spec"]["template"]["spec"]["containers"]:
            who = f"{name(one)}/{container['name']}"
            probes = ("startupProbe", "readinessProbe", "livenessProbe")
            found += [f"{who}: {probe}" for probe in probes if probe not in container]
            if labels.get("app.kubernetes.io/component") != "serving":
                continue
            paths = {probe: container.get(probe, {}).get("httpGet", {}).get("path") for probe in probes}
            if paths["readinessProbe"] != "/readyz" or paths["livenessProbe"] != "/livez":
                found.append(f"{who}: {paths}")
            if "preStop" not in container.get("lifecycle", {}):
                found.append(f"{who}: preStop")
    return found


def secrets_are_references(objects: list[Object]) -> list[str]:
    found = []
    for who, one in containers(objects):
        for variable in one.get("env", []):
            named = variable["name"]
            is_secret = any(word in named for word in SECRET_WORDS) and not named.endswith(NAMES_OF_SECRETS)
            if is_secret and "secretKeyRef" not in variable.get("valueFrom", {}):
                found.append(f"{who}: {named}")
    for one in of_kind(objects, "ConfigMap"):
        found += [f"{name(one)}: {key}" for key in one["data"] if any(word in key for word in SECRET_WORDS)]
    return found + [name(one) for one in of_kind(objects, "Secret")]


def images_are_fixed(objects: list[Object]) -> list[str]:
    found = []
    for who, one in containers(objects):
        last = one["image"].rpartition("/")[2]
        if "@sha256:" not in last and (":" not in last or last.endswith(":latest")):
            found.append(f"{who}: {one['image']}")
    return found


def images_are_pinned(objects: list[Object]) -> list[str]:
    """By digest, so that nobody who may push a tag changes what runs."""
    pinned = re.compile(r".+@sha256:[0-9a-f]{64}")
    return [f"{who}: {one['image']}" for who, one in containers(objects) if not pinned.fullmatch(one["image"])]


def references_hold(objects: list[Object]) -> list[str]:
    """Selectors select a pod of these objects, and accounts and ConfigMaps that are named are among them."""
    labelled = [labels for _, _, labels in pods(objects)]

    def matches(selector: dict[str, str]) -> bool:
        return any(selector.items() <= labels.items() for labels in labelled)

    found = [name(one) for one in of_kind(objects, "Service") if not matches(one["spec"]["selector"])]
    for one in of_kind(objects, "Deployment", "PodDisruptionBudget"):
        if not matches(one["spec"]["selector"]["matchLabels"]):
            found.append(name(one))
    present = {name(one) for one in objects}
    for one in of_kind(objects, "HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        if f"{target['kind']} {target['name']}" not in present:
            found.append(name(one))
    if any(of_kind(objects, "ServiceAccount")):
        accounts = {one["metadata"]["name"] for one in of_kind(objects, "ServiceAccount")}
        found += [f"{who}: account" for who, spec, _ in pods(objects) if spec["serviceAccountName"] not in accounts]
        found += [f"{who}: {one}" for who, one in _config_maps(objects) if f"ConfigMap {one}" not in present]
        claims = {(who, one["persistentVolumeClaim"]["claimName"]) for who, one in _claimed(objects)}
        found += [f"{who}: {one}" for who, one in claims if f"PersistentVolumeClaim {one}" not in present]
    return found


def _claimed(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for who, spec, _ in pods(objects):
        yield from ((who, volume) for volume in spec.get("volumes", []) if "persistentVolumeClaim" in volume)


def _config_maps(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for who, one in containers(objects):
        for source in one.get("envFrom", []):
            if "configMapRef" in source:
                yield who, source["configMapRef"]["name"]
        for variable in one.get("env", []):
            if "configMapKeyRef" in variable.get("valueFrom", {}):
                yield who, variable["valueFrom"]["configMapKeyRef"]["name"]


def services_stay_inside(objects: list[Object]) -> list[str]:
    found = [name(one) for one in of_kind(objects, "Service") if one["spec"].get("type", "ClusterIP") != "ClusterIP"]
    return found + [name(one) for one in of_kind(objects, "Ingress")]


def replicas_survive_a_node(objects: list[Object]) -> list[str]:
    """Two or more are on several nodes; an online service has two or more, also while it changes."""
    found = []
    of = {kind: {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, kind)} for kind in (BUDGET, SCALE)}
    for one in of_kind(objects, "Deployment"):
        spec, own = one["spec"], one["metadata"]["name"]
        labels = spec["template"]["metadata"]["labels"]
        if labels.get("app.kubernetes.io/component") == "serving" and labels.get("perennial/track") == "stable":
            found += [f"{name(one)}: {what}" for what in _gaps(spec, of[BUDGET].get(own), of[SCALE].get(own))]
            wanted = {"topology.kubernetes.io/zone", NODE}
        else:
            wanted = {NODE} if spec.get("replicas", 1) > 1 else set()
        if not wanted <= _spread(spec["template"]["spec"], labels):
            found.append(f"{name(one)}: spread")
    return found


def _gaps(spec: Object, budget: Object | None, scale: Object | None) -> Iterator[str]:
    if budget is None or budget.get("maxUnavailable") != 1:
        yield "budget"
    if scale is None or not 2 <= scale["minReplicas"] < scale["maxReplicas"] or "replicas" in spec:
        yield "scale"
    if spec["strategy"].get("rollingUpdate", {}).get("maxUnavailable") != 0:
        yield "maxUnavailable"


def _spread(pod: Object, labels: dict[str, str]) -> set[str]:
    """Over what a pod and its like are spread, one at a time."""
    found = {}
    for one in pod.get("topologySpreadConstraints", []):
        alike = one["labelSelector"]["matchLabels"]
        found[one["topologyKey"]] = one["maxSkew"] == 1 and alike and alike.items() <= labels.items()
    return {key for key, is_spread in found.items() if is_spread}


POLICIES: list[Policy] = [
    kinds_are_known,
    pods_are_restricted,
    containers_are_restricted,
    resources_are_bounded,
    namespaces_enforce_it,
    tokens_are_where_they_are_needed,
    access_is_named,
    everything_is_probed,
    secrets_are_references,
    images_are_fixed,
    references_hold,
    services_stay_inside,
    replicas_survive_a_node,
]

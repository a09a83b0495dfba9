"""The promise of a service as a container of one host, in the words of a compose file; it starts nothing.

User, bounds and grace are those of the cluster's template, so that the two cannot say different things.
"""

from collections.abc import Sequence
from typing import Any

from perennial.hosting.manifests import Object
from perennial.hosting.promise import LIVE, PORT, REGION, SECRETS, Promise

_UNITS = {"Mi": "m", "Gi": "g"}


def container_service(template: Sequence[Object], promise: Promise) -> dict[str, Any]:
    """Return a service of a compose file. Secrets are taken from the environment of whoever starts it.

    Args:
        template: The objects of a service on a cluster, as they are written.
        promise: What is promised.
    """
    pod = next(one for one in template if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    user, limits = pod["securityContext"], container["resources"]["limits"]
    (volume,) = pod["volumes"]
    return {
        "image": promise.image,
        "command": list(promise.arguments),
        "environment": {
            **promise.told,
            **{name: _literal(container, name) for name in ("PERENNIAL_USE_CASES", "PERENNIAL_SERVING_RATE")},
            "PERENNIAL_HEALTH": f"http://127.0.0.1:{PORT}{LIVE}",
            **{name: f"${{{name}:?}}" for name in SECRETS},
            REGION: None,  # in the words of compose: as it is where this is started, if it is
        },
        "user": f"{user['runAsUser']}:{user['runAsGroup']}",
        "read_only": container["securityContext"]["readOnlyRootFilesystem"],
        "tmpfs": [f"/tmp:size={_bytes(volume['emptyDir']['sizeLimit'])},mode=1777"],  # noqa: S108
        "mem_limit": _bytes(limits["memory"]),
        "cap_drop": container["securityContext"]["capabilities"]["drop"],
        "security_opt": ["no-new-privileges"],
        "stop_grace_period": f"{pod['terminationGracePeriodSeconds']}s",
        "restart": "unless-stopped",
        "deploy": {"replicas": promise.replicas},
    }


def _literal(container: Object, name: str) -> str:
    found: str = next(one["value"] for one in container["env"] if one["name"] == name)
    return found


def _bytes(quantity: str) -> str:
    return quantity[:-2] + _UNITS[quantity[-2:]]

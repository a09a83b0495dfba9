"""Who may reach whom, as network policies say: what they let out and what they let in apart, as a flow needs both."""

from collections.abc import Iterator

from tests.deployments.kubernetes.policies import Object, of_kind

Flow = tuple[str, str, str]
"""From, to and port."""
WORDS = {"app.kubernetes.io/component", "perennial/service-account", "kubernetes.io/metadata.name", "k8s-app"}
"""Labels whose value alone says who is meant."""


def everything_is_denied_first(objects: list[Object]) -> list[str]:
    policies = [one["spec"] for one in of_kind(objects, "NetworkPolicy")]
    nothing = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return [] if nothing in policies else ["no policy denies everything"]


def allowed_out(objects: list[Object]) -> set[Flow]:
    return {(own, peer, port) for own, peer, port in _allowed(objects, "Egress", "to")}


def allowed_in(objects: list[Object]) -> set[Flow]:
    return {(peer, own, port) for own, peer, port in _allowed(objects, "Ingress", "from")}


def _allowed(objects: list[Object], direction: str, side: str) -> Iterator[Flow]:
    """What rules of a direction say; without it among the `policyTypes` they say nothing."""
    for one in of_kind(objects, "NetworkPolicy"):
        spec = one["spec"]
        for rule in spec.get(direction.lower(), []) if direction in spec["policyTypes"] else []:
            for peer in rule.get(side) or [{}]:
                yield from ((_who(spec["podSelector"]), _peer(peer), port) for port in _ports(rule))


def _ports(rule: Object) -> list[str]:
    return [_port(one) for one in rule.get("ports", [])] or ["any port"]


def _port(one: Object) -> str:
    last = f"-{one['endPort']}" if "endPort" in one else ""
    return f"{one.get('protocol', 'TCP')} {one.get('port', 'any')}{last}"


def _who(selector: Object) -> str:
    if selector.keys() - {"matchLabels"}:
        return str(selector)
    return ", ".join(_word(*one) for one in selector.get("matchLabels", {}).items()) or "every pod"


def _word(label: str, value: str) -> str:
    if value == "true":
        return label
    return value if label in WORDS else f"{label}={value}"


def _peer(peer: Object) -> str:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return " except ".join([str(block["cidr"]), *block.get("except", [])])
    parts = [_who(peer[one]) for one in ("namespaceSelector", "podSelector") if one in peer]
    return " / ".join(parts) or "anybody"

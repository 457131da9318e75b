"""NetworkPolicies that keep the controller's pods from one host and from nothing else.

Policies only allow, and what any of them allows is allowed. So those that select the controller's pods are
narrowed. If there are none, one is made that allows everything but the host.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Sequence
from typing import Any

from drill.errors import UndecidedError
from drill.game import Game
from drill.limit import LABEL

Json = Any
CUT = "gameday-cut"
EVERYWHERE = ("0.0.0.0/0", "::/0")
PODS: Json = {"namespaceSelector": {}}
"""All pods of the cluster. Some network plugins do not count pods among the addresses of a block."""
NAME_SERVERS: Json = {
    "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
    "ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")],
}


def addresses_of(host: str) -> list[str]:
    """Return the addresses of a host as this machine sees them. Raises :class:`UndecidedError`."""
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)}
    except OSError as error:
        raise UndecidedError(
            f"{host} has no address here ({error.strerror}): name one with --address SCENARIO=ADDRESS:PORT"
        ) from None
    return sorted(found)


def policies_for(game: Game) -> list[Json]:
    """Return the policies that limit what the controller's pods may connect to."""
    found = game.kubectl.get("networkpolicies", namespace=game.options.system_namespace)["items"]
    labels = [each["metadata"].get("labels", {}) for each in game.pods()]
    return [
        each
        for each in found
        if "Egress" in each["spec"].get("policyTypes", [])
        and any(selects(each["spec"].get("podSelector", {}), one) for one in labels)
    ]


def selects(selector: Json, labels: dict[str, str]) -> bool:
    """Whether a label selector selects these labels."""
    wanted = selector.get("matchLabels", {}).items()
    return wanted <= labels.items() and all(
        _meets(each, labels) for each in selector.get("matchExpressions", [])
    )


def _meets(expression: Json, labels: dict[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    return {
        "In": value is not None and value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]


def deny(game: Game, addresses: Sequence[str], host: str) -> Json:
    """Return a policy that allows the controller's pods everything but these addresses."""
    labels = dict(each.partition("=")[::2] for each in game.options.selector.split(","))
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": CUT, "namespace": game.options.system_namespace, "labels": {LABEL: game.name}},
        "spec": {
            "podSelector": {"matchLabels": labels}, "policyTypes": ["Egress"],
            "egress": [NAME_SERVERS, {"to": _peers(addresses, host)}],
        },
    }  # fmt: skip


def narrowed(policy: Json, addresses: Sequence[str], host: str) -> Json:
    """Return the policy without these addresses. What selects pods by labels stays."""
    copy: Json = json.loads(json.dumps(policy))
    rules = []
    for rule in copy["spec"].get("egress", []):
        if not rule.get("to"):
            rules.append({**rule, "to": _peers(addresses, host)})
            continue
        peers = [one for peer in rule["to"] for one in _without(peer, addresses)]
        if peers:  # no peers at all would mean everybody
            rules.append({**rule, "to": peers})
    copy["spec"]["egress"] = rules
    return copy


def _peers(addresses: Sequence[str], host: str) -> list[Json]:
    blocks = [one for block in EVERYWHERE for one in _without({"ipBlock": {"cidr": block}}, addresses)]
    # a Service of the cluster leads to pods, whose addresses nobody knows beforehand
    in_cluster = host.endswith((".svc", ".cluster.local"))
    return blocks if in_cluster else [*blocks, PODS]


def _without(peer: Json, addresses: Sequence[str]) -> list[Json]:
    """Return a peer without the addresses; nothing if it was one of them."""
    block = peer.get("ipBlock")
    if block is None:
        return [peer]
    network = ipaddress.ip_network(block["cidr"], strict=False)
    inside = [one for one in map(ipaddress.ip_address, addresses) if one in network]
    if not inside:
        return [peer]
    if network.num_addresses == 1:
        return []
    hosts = [f"{one}/{one.max_prefixlen}" for one in inside]
    return [{"ipBlock": {"cidr": block["cidr"], "except": [*block.get("except", []), *hosts]}}]

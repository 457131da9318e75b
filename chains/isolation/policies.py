"""What the NetworkPolicies of a namespace leave open to a pod, in each direction.

Policies are additive: what one of them allows is allowed. Each direction is judged alone, by the policies
that select the pod and have the direction among their types. Any rule opens its direction, whichever peers it
selects, because nothing records which pods and addresses those were.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chains.isolation.pod import doubt
from chains.tekton.network_policy import EGRESS, INGRESS, LabelExpression, NetworkPolicy, PolicyRule
from chains.tekton.pod import Pod
from chains.tekton.raw import Json
from chains.tekton.surroundings import Surroundings

_DNS_PORT = 53
_NAMED = 3


class Openness(StrEnum):
    """What the policies leave open in one direction. ``DNS`` means egress to port 53 only."""

    CLOSED = "closed"
    DNS = "dns"
    OPEN = "open"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Direction:
    """The answer for one direction with its reason. ``closed_by`` names the policies that deny all of it."""

    openness: Openness
    reason: str
    closed_by: tuple[str, ...] = ()


def judge_direction(
    pod: Pod, surroundings: Surroundings, asked: Mapping[str, Json], direction: str
) -> Direction:
    """Return what the known policies leave open to a pod in one direction (``INGRESS`` or ``EGRESS``).

    A pod's labels can be changed until it is deleted, and nothing counts these changes. So a policy is
    believed to have selected the pod only if the labels that its run ``asked`` for agree.
    """
    if why := surroundings.unread.get("NetworkPolicy"):
        return Direction(Openness.UNKNOWN, f"the network policies of the namespace {why}")
    selecting: list[NetworkPolicy] = []
    unclear: list[str] = []
    for policy in sorted(surroundings.policies, key=lambda policy: policy.name):
        if policy.types is not None and direction not in policy.types:
            continue
        # one that selects the pod now but not by the labels of its creation proves nothing, and the reverse
        matches, as_asked = _selects_pod(policy, pod.labels), _selects_pod(policy, asked)
        if matches is None or as_asked is None:
            unclear.append(f"the selector of network policy {policy.name} cannot be read")
        elif matches != as_asked:
            unclear.append(
                f"network policy {policy.name} selects by labels that are not the same at the run and at "
                "its pod, and so may have been changed"
            )
        elif matches and policy.types is None:
            unclear.append(f"the types of network policy {policy.name} cannot be read")
        elif matches:
            selecting.append(policy)
    if selecting:
        return _united(selecting, unclear, surroundings, pod.created, direction)
    if unclear:
        return Direction(Openness.UNKNOWN, unclear[0])
    # Kubernetes allows everything in a direction that no policy governs
    count = len(surroundings.policies)
    seen = f"none of {count} in the input" if count else "none is in the input"
    return Direction(Openness.OPEN, f"no network policy governs the pod's {direction.lower()}: {seen}")


def named(policies: Sequence[str]) -> str:
    """Return the names of policies as a text of bounded length."""
    return ", ".join(policies[:_NAMED]) + (" …" if policies[_NAMED:] else "")


def _united(
    selecting: Sequence[NetworkPolicy],
    unclear: Sequence[str],
    surroundings: Surroundings,
    moment: datetime | None,
    direction: str,
) -> Direction:
    dns = ""
    for policy in selecting:
        for rule in policy.rules[direction]:
            if direction == INGRESS or not _is_dns(rule):
                return Direction(Openness.OPEN, f"network policy {policy.name} {_allows(rule, direction)}")
            dns = policy.name
    doubts = (
        f"network policy {policy.name}: {why}" for policy in selecting if (why := doubt(policy, moment))
    )
    if problem := next(iter([*unclear, *surroundings.doubtful, *doubts]), ""):
        return Direction(Openness.UNKNOWN, problem)
    if dns:
        return Direction(Openness.DNS, f"network policy {dns} allows egress to port {_DNS_PORT}")
    names = tuple(policy.name for policy in selecting)
    reason = f"all {direction.lower()} is denied by network policy {named(names)}"
    return Direction(Openness.CLOSED, reason, names)


def _allows(rule: PolicyRule, direction: str) -> str:
    if direction == EGRESS:
        return "allows egress to some peers" if rule.names_peers else "allows egress everywhere"
    return "allows ingress from some peers" if rule.names_peers else "allows ingress from everywhere"


def _is_dns(rule: PolicyRule) -> bool:
    ports = rule.ports
    return bool(ports) and all(
        port is not None and port.first == _DNS_PORT and port.last == _DNS_PORT for port in ports
    )


def _selects_pod(policy: NetworkPolicy, labels: Mapping[str, Json]) -> bool | None:
    """Return whether a policy selects a pod with these labels; None if its selector cannot be read."""
    selector = policy.selector
    if selector is None:
        return None
    if any(labels.get(name) != value for name, value in selector.labels.items()):
        return False
    answers = [_holds(expression, labels) for expression in selector.expressions]
    return False if False in answers else None if None in answers else True


def _holds(expression: LabelExpression, labels: Mapping[str, Json]) -> bool | None:
    key, values = expression.key, expression.values
    if not key or values is None:
        return None
    if expression.operator == "Exists":
        return key in labels
    if expression.operator == "DoesNotExist":
        return key not in labels
    if expression.operator == "In":
        return labels.get(key) in values
    # a missing label is in no list, so NotIn holds
    return labels.get(key) not in values if expression.operator == "NotIn" else None

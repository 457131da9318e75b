"""What the NetworkPolicies of a namespace leave open to a pod, in each direction.

Policies add up: what one of them allows is allowed. Each direction is judged alone, by the policies that
select the pod and have it among their types. Any rule opens its direction, whatever its peers select: which
pods and addresses those were is not recorded.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from chains.isolation.pod import began, doubt
from chains.tekton.raw import Json, mapping_at, text_at
from chains.tekton.surroundings import Surroundings

_DNS_PORT = 53
_NAMED = 3
INGRESS, EGRESS = "Ingress", "Egress"


class Openness(Enum):
    """What the policies leave open in one direction; ``DNS`` is egress to port 53 alone."""

    CLOSED = "closed"
    DNS = "dns"
    OPEN = "open"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Direction:
    """The answer for one direction, with its reason; ``closed_by`` names the policies that deny all of it."""

    openness: Openness
    reason: str
    closed_by: tuple[str, ...] = ()


def judge_direction(
    pod: Mapping[str, Json], surroundings: Surroundings, asked: Mapping[str, Json], direction: str
) -> Direction:
    """Return what the policies of the input leave open to a pod in one direction (``INGRESS``, ``EGRESS``).

    The labels of a pod can be changed until it is gone, and nothing counts that. So a policy is believed to
    have selected the pod only where the labels that its run ``asked`` for say so too.
    """
    if why := surroundings.unread.get("NetworkPolicy"):
        return Direction(Openness.UNKNOWN, f"the network policies of the namespace {why}")
    labels = mapping_at(pod, "metadata", "labels")
    selecting: list[Mapping[str, Json]] = []
    unclear: list[str] = []
    for policy in sorted(surroundings.policies, key=_name):
        governs = _governs(policy, direction)
        if governs is False:
            continue
        matches, as_asked = _selects_pod(policy, labels), _selects_pod(policy, asked)
        if matches is None or as_asked is None:
            unclear.append(f"the selector of network policy {_name(policy)} cannot be read")
        elif matches != as_asked:
            unclear.append(
                f"network policy {_name(policy)} selects by labels that are not the same at the run and at "
                "its pod, and so may have been changed"
            )
        elif matches and governs is None:
            unclear.append(f"the types of network policy {_name(policy)} cannot be read")
        elif matches:
            selecting.append(policy)
    if selecting:
        return _united(selecting, unclear, surroundings, began(pod), direction)
    if unclear:
        return Direction(Openness.UNKNOWN, unclear[0])
    count = len(surroundings.policies)
    seen = f"none of {count} in the input" if count else "none is in the input"
    return Direction(Openness.OPEN, f"no network policy governs the pod's {direction.lower()}: {seen}")


def named(policies: Sequence[str]) -> str:
    """Return the names of policies as a text of bounded length."""
    return ", ".join(policies[:_NAMED]) + (" …" if policies[_NAMED:] else "")


def _united(
    selecting: Sequence[Mapping[str, Json]],
    unclear: Sequence[str],
    surroundings: Surroundings,
    moment: str,
    direction: str,
) -> Direction:
    dns = ""
    for policy in selecting:
        for rule in _rules(policy, direction):
            if direction == INGRESS or not _is_dns(rule):
                return Direction(Openness.OPEN, f"network policy {_name(policy)} {_allows(rule, direction)}")
            dns = _name(policy)
    doubts = (f"network policy {_name(item)}: {why}" for item in selecting if (why := doubt(item, moment)))
    if problem := next(iter([*unclear, *surroundings.doubtful, *doubts]), ""):
        return Direction(Openness.UNKNOWN, problem)
    if dns:
        return Direction(Openness.DNS, f"network policy {dns} allows egress to port {_DNS_PORT}")
    names = tuple(map(_name, selecting))
    reason = f"all {direction.lower()} is denied by network policy {named(names)}"
    return Direction(Openness.CLOSED, reason, names)


def _allows(rule: Mapping[str, Json], direction: str) -> str:
    if direction == EGRESS:
        return "allows egress to some peers" if rule.get("to") else "allows egress everywhere"
    return "allows ingress from some peers" if rule.get("from") else "allows ingress from everywhere"


def _rules(policy: Mapping[str, Json], direction: str) -> list[Mapping[str, Json]]:
    rules = mapping_at(policy, "spec").get(direction.lower())
    # what is no rule is read as the widest one
    found = rules if isinstance(rules, list) else [] if rules is None else [rules]
    return [rule if isinstance(rule, Mapping) else {} for rule in found]


def _governs(policy: Mapping[str, Json], direction: str) -> bool | None:
    """Whether a direction is among the policy types, None where they have no meaning.

    Without any, a policy is for ingress, and for egress too if it has rules for it: so the API server writes
    them out (``SetDefaults_NetworkPolicy``).
    """
    types = mapping_at(policy, "spec").get("policyTypes")
    if types is None or types == []:
        return direction == INGRESS or bool(_rules(policy, EGRESS))
    if not isinstance(types, list) or any(each not in (INGRESS, EGRESS) for each in types):
        return None
    return direction in types


def _is_dns(rule: Mapping[str, Json]) -> bool:
    ports = rule.get("ports")
    if not isinstance(ports, list) or not ports:
        return False
    return all(
        isinstance(port, Mapping)
        and port.get("port") == _DNS_PORT
        and port.get("endPort", _DNS_PORT) == _DNS_PORT
        for port in ports
    )


def _selects_pod(policy: Mapping[str, Json], labels: Mapping[str, Json]) -> bool | None:
    """Whether a selector selects; the empty one selects everything, None is one without a meaning."""
    selector = mapping_at(policy, "spec").get("podSelector")
    if selector is None:
        return True
    if not isinstance(selector, Mapping) or set(selector) - {"matchLabels", "matchExpressions"}:
        return None
    wanted, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    if not isinstance(wanted, Mapping) or not isinstance(expressions, list):
        return None
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    answers = [_holds(expression, labels) for expression in expressions]
    return False if False in answers else None if None in answers else True


def _holds(expression: Json, labels: Mapping[str, Json]) -> bool | None:
    key, operator = text_at(expression, "key"), text_at(expression, "operator")
    values = mapping_at(expression).get("values") or []
    if not key or not isinstance(values, list):
        return None
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator == "In":
        return labels.get(key) in values
    # a label that is not there is not in the list either
    return labels.get(key) not in values if operator == "NotIn" else None


def _name(policy: Mapping[str, Json]) -> str:
    return text_at(policy, "metadata", "name") or "(unnamed)"

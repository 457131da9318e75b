"""What a pod's network was by its own fields and by the NetworkPolicies that select it.

Policies add up: what one of them allows is allowed. Whether the cluster's network plugin enforces them cannot
be seen through the API, so they prove nothing unless the configuration vouches for it.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from chains.beside import Beside, Json, began, doubt, mapping_at, objects_at, parse_time, text_at, texts_at
from chains.finding import FALSE, TRUE, UNKNOWN, Finding

_DNS_PORT = 53
_SANDBOXES = ("runsc", "gvisor", "kata", "firecracker")
"""How the handlers of sandboxed runtimes are called, or how their names begin."""
_NAMED = 3
VOUCH_KEY = "execution.network-policies.enforced"


class Egress(Enum):
    """What the policies leave open."""

    CLOSED = "closed"
    DNS = "dns"
    OPEN = "open"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """The answers for the whole pod; ``true`` is what isolates, ``partly`` that all but DNS is closed."""

    own_namespace: Finding
    network_mode: Finding
    network_policy: Finding
    sandbox: Finding
    partly: bool = False

    @property
    def mechanisms(self) -> dict[str, Finding]:
        """The answers by name, in a fixed order."""
        return {
            "ownNetworkNamespace": self.own_namespace,
            "networkMode": self.network_mode,
            "networkPolicy": self.network_policy,
            "sandboxedRuntime": self.sandbox,
        }


def judge_network(
    pod: Mapping[str, Json], beside: Beside, asked: Mapping[str, Json], *, vouched: bool
) -> PodNetwork:
    """Return the answers for a pod; ``vouched`` is that the network plugin is known to enforce policies.

    ``asked`` are the labels that the run gives its pod.
    """
    own = _own_namespace(pod)
    mode = _network_mode(pod)
    if own.value == FALSE:
        reason = "network policies do not apply to the host's network"
        return PodNetwork(own, mode, Finding(FALSE, reason), _sandbox(beside, pod))
    egress, why = judge_egress(pod, beside, asked)
    policy = _policy_finding(egress, why, vouched=vouched)
    return PodNetwork(own, mode, policy, _sandbox(beside, pod), partly=vouched and egress is Egress.DNS)


def _own_namespace(pod: Mapping[str, Json]) -> Finding:
    spec = mapping_at(pod, "spec")
    if spec.get("hostNetwork") is True or text_at(spec, "networkMode") == "Host":
        return Finding(FALSE, "the pod uses the host's network")
    return Finding(TRUE, "the pod does not use the host's network")


def _network_mode(pod: Mapping[str, Json]) -> Finding:
    """Judge ``spec.networkMode`` (KEP-6313): a kubelet that does not know it gives the pod a network."""
    mode = text_at(pod, "spec", "networkMode")
    if mode != "None":
        return Finding(FALSE, f"spec.networkMode is {mode!r}" if mode else "the pod has no spec.networkMode")
    status = mapping_at(pod, "status")
    if not status.get("startTime"):
        return Finding(UNKNOWN, "spec.networkMode is None, but no kubelet has reported on the pod")
    addresses = [text_at(status, "podIP"), *(text_at(item, "ip") for item in objects_at(status, "podIPs"))]
    if any(addresses):
        return Finding(FALSE, "spec.networkMode is None, but the kubelet reports an address for the pod")
    return Finding(TRUE, "spec.networkMode is None, and the kubelet reports no address")


def _sandbox(beside: Beside, pod: Mapping[str, Json]) -> Finding:
    name = text_at(pod, "spec", "runtimeClassName")
    if not name:
        return Finding(FALSE, "no runtime class: containers share the node's kernel")
    if text_at(beside.runtime_class, "metadata", "name") != name:
        why = beside.unread.get("RuntimeClass", "is not in the input")
        return Finding(UNKNOWN, f"runtime class {name} {why}, so its handler is not known")
    handler = text_at(beside.runtime_class, "handler")
    created, then = parse_time(began(beside.runtime_class)), parse_time(began(pod))
    if created is None or then is None or created > then:
        return Finding(
            UNKNOWN, f"runtime class {name} may be younger than the pod: its handler can be changed so"
        )
    if handler.lower().startswith(_SANDBOXES):
        return Finding(TRUE, f"runtime class {name} has the handler {handler}, by its name a sandbox")
    return Finding(UNKNOWN, f"runtime class {name} has the handler {handler}, which is not known")


def _policy_finding(egress: Egress, why: str, *, vouched: bool) -> Finding:
    if egress is Egress.UNKNOWN:
        return Finding(UNKNOWN, why)
    if egress is Egress.OPEN:
        return Finding(FALSE, why)
    if egress is Egress.DNS:
        return Finding(FALSE, f"{why}: only partly closed, since names carry data out")
    if vouched:
        return Finding(TRUE, f"{why}, and the configuration vouches for the network plugin ({VOUCH_KEY})")
    return Finding(
        UNKNOWN, f"{why}, but whether the network plugin enforces it cannot be observed ({VOUCH_KEY})"
    )


def judge_egress(pod: Mapping[str, Json], beside: Beside, asked: Mapping[str, Json]) -> tuple[Egress, str]:
    """Return what the policies of the input leave open to a pod, and why.

    The labels of a pod can be changed until it is gone, and nothing counts that. So a policy is believed to
    have selected the pod only where the labels that its run ``asked`` for say so too.
    """
    if why := beside.unread.get("NetworkPolicy"):
        return Egress.UNKNOWN, f"the network policies of the namespace {why}"
    labels = mapping_at(pod, "metadata", "labels")
    selecting: list[tuple[str, Mapping[str, Json]]] = []
    unclear: list[str] = []
    for policy in sorted(beside.policies, key=_name):
        if not _governs_egress(policy):
            continue
        selector = mapping_at(policy, "spec", "podSelector")
        matches, as_asked = _selects(selector, labels), _selects(selector, asked)
        if matches is None or as_asked is None:
            unclear.append(f"the selector of network policy {_name(policy)} cannot be read")
        elif matches != as_asked:
            unclear.append(
                f"network policy {_name(policy)} selects by labels that are not the same at the run and at "
                "its pod, and so may have been changed"
            )
        elif matches:
            selecting.append((_name(policy), policy))
    if not selecting:
        count = len(beside.policies)
        seen = f"none of {count} in the input" if count else "none is in the input"
        if unclear:
            return Egress.UNKNOWN, unclear[0]
        return Egress.OPEN, f"no network policy governs the pod's egress: {seen}"
    return _united(selecting, unclear, beside, began(pod))


def _united(
    selecting: Sequence[tuple[str, Mapping[str, Json]]], unclear: list[str], beside: Beside, moment: str
) -> tuple[Egress, str]:
    names = ", ".join(name for name, _ in selecting[:_NAMED]) + (" …" if selecting[_NAMED:] else "")
    only_dns = ""
    for name, policy in selecting:
        for rule in _rules(policy):
            if not _is_dns(rule):
                where = "everywhere" if not rule.get("to") else "to some peers"
                return Egress.OPEN, f"network policy {name} allows egress {where}"
            only_dns = name
    unclear += beside.doubtful
    unclear += [f"network policy {name}: {why}" for name, item in selecting if (why := doubt(item, moment))]
    if unclear:
        return Egress.UNKNOWN, unclear[0]
    if only_dns:
        return Egress.DNS, f"network policy {only_dns} allows egress to port {_DNS_PORT}"
    return Egress.CLOSED, f"all egress is denied by network policy {names}"


def _rules(policy: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    rules = mapping_at(policy, "spec").get("egress")
    # what is no rule is read as the widest one
    found = rules if isinstance(rules, list) else [] if rules is None else [rules]
    return [rule if isinstance(rule, Mapping) else {} for rule in found]


def _governs_egress(policy: Mapping[str, Json]) -> bool:
    """Whether Egress is among the policy types; without any, having rules for it decides."""
    types = texts_at(policy, "spec", "policyTypes")
    return "Egress" in types if types else bool(_rules(policy))


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


def _selects(selector: Mapping[str, Json], labels: Mapping[str, Json]) -> bool | None:
    """Whether a label selector selects; the empty one selects everything, None is one that has no meaning."""
    if any(labels.get(name) != value for name, value in mapping_at(selector, "matchLabels").items()):
        return False
    answers = [_holds(expression, labels) for expression in objects_at(selector, "matchExpressions")]
    if False in answers:
        return False
    return None if None in answers or set(selector) - {"matchLabels", "matchExpressions"} else True


def _holds(expression: Mapping[str, Json], labels: Mapping[str, Json]) -> bool | None:
    key, values = text_at(expression, "key"), texts_at(expression, "values")
    operator = text_at(expression, "operator")
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

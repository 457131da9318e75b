"""A pod's network, by the pod's own fields and by the NetworkPolicies that select it.

Policies isolate only if they deny both directions, because data also comes in through a connection from
outside. The API does not show whether the cluster's network plugin enforces policies. So they prove nothing
unless the configuration vouches for the plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chains.isolation.finding import Answer, Finding
from chains.isolation.policies import Openness, judge_direction, named
from chains.tekton.network_policy import EGRESS, INGRESS
from chains.tekton.pod import Pod
from chains.tekton.raw import Json
from chains.tekton.surroundings import Surroundings

_SANDBOXES = ("runsc", "gvisor", "kata", "firecracker")
"""The handlers of sandboxed runtimes, or the prefixes of their names."""
VOUCH_KEY = "execution.network-policies.enforced"


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """The answers for the whole pod. ``true`` means that the mechanism isolates.

    ``partly`` says that policies which are vouched for close one direction, or all egress except DNS.
    """

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
    pod: Pod, surroundings: Surroundings, asked: Mapping[str, Json], *, vouched: bool
) -> PodNetwork:
    """Return the answers for a pod. ``vouched`` says that the network plugin is known to enforce policies.

    ``asked`` are the labels that the run gives its pod.
    """
    own = _own_namespace(pod)
    mode = _network_mode(pod)
    if own.value == Answer.FALSE:
        reason = "network policies do not apply to the host's network"
        return PodNetwork(own, mode, Finding(Answer.FALSE, reason), _sandbox(surroundings, pod))
    policies = _policies(pod, surroundings, asked)
    policy = policies.finding(vouched=vouched)
    return PodNetwork(own, mode, policy, _sandbox(surroundings, pod), partly=vouched and policies.partly)


def _own_namespace(pod: Pod) -> Finding:
    if pod.host_network or pod.network_mode == "Host":
        return Finding(Answer.FALSE, "the pod uses the host's network")
    return Finding(Answer.TRUE, "the pod does not use the host's network")


def _network_mode(pod: Pod) -> Finding:
    """Judge ``spec.networkMode`` (KEP-6313). A kubelet without this feature gives the pod a network."""
    mode = pod.network_mode
    if mode != "None":
        return Finding(
            Answer.FALSE, f"spec.networkMode is {mode!r}" if mode else "the pod has no spec.networkMode"
        )
    if not pod.has_started:
        return Finding(Answer.UNKNOWN, "spec.networkMode is None, but no kubelet has reported on the pod")
    if any(pod.addresses):
        return Finding(
            Answer.FALSE, "spec.networkMode is None, but the kubelet reports an address for the pod"
        )
    return Finding(Answer.TRUE, "spec.networkMode is None, and the kubelet reports no address")


def _sandbox(surroundings: Surroundings, pod: Pod) -> Finding:
    name, known = pod.runtime_class, surroundings.runtime_class
    if not name:
        return Finding(Answer.FALSE, "no runtime class: containers share the node's kernel")
    if known is None or known.name != name:
        why = surroundings.unread.get("RuntimeClass", "is not in the input")
        return Finding(Answer.UNKNOWN, f"runtime class {name} {why}, so its handler is not known")
    handler = known.handler
    if known.created is None or pod.created is None or known.created > pod.created:
        return Finding(
            Answer.UNKNOWN, f"runtime class {name} may be younger than the pod: its handler can be changed so"
        )
    if handler.lower().startswith(_SANDBOXES):
        return Finding(Answer.TRUE, f"runtime class {name} has the handler {handler}, by its name a sandbox")
    return Finding(Answer.UNKNOWN, f"runtime class {name} has the handler {handler}, which is not known")


@dataclass(frozen=True, slots=True)
class _Policies:
    value: Answer
    reason: str
    partly: bool = False

    def finding(self, *, vouched: bool) -> Finding:
        if self.value != Answer.TRUE:
            return Finding(self.value, self.reason)
        if vouched:
            return Finding(
                Answer.TRUE,
                f"{self.reason}, and the configuration vouches for the network plugin ({VOUCH_KEY})",
            )
        return Finding(
            Answer.UNKNOWN,
            f"{self.reason}, but whether the network plugin enforces it cannot be observed ({VOUCH_KEY})",
        )


def _policies(pod: Pod, surroundings: Surroundings, asked: Mapping[str, Json]) -> _Policies:
    """Return the answer of the policies, assuming that the network plugin enforces them."""
    egress = judge_direction(pod, surroundings, asked, EGRESS)
    ingress = judge_direction(pod, surroundings, asked, INGRESS)
    closed, dns, is_open = Openness.CLOSED, Openness.DNS, Openness.OPEN
    found = {egress.openness, ingress.openness}
    if found == {closed}:
        names = named(sorted({*egress.closed_by, *ingress.closed_by}))
        return _Policies(Answer.TRUE, f"all egress and ingress is denied by network policy {names}")
    # names that are looked up carry data to whoever runs a name server
    if egress.openness is dns:
        also = f"; {ingress.reason}" if ingress.openness is is_open else ""
        reason = f"{egress.reason}: only partly closed, since names carry data out{also}"
        return _Policies(Answer.FALSE, reason, partly=True)
    if found == {closed, is_open}:
        shut, left = (egress, ingress) if egress.openness is closed else (ingress, egress)
        why = "whoever connects to the pod can exchange data" if shut is egress else "data can be fetched"
        return _Policies(
            Answer.FALSE, f"{shut.reason}, but {left.reason}: only partly closed, since {why}", partly=True
        )
    # an open direction is certain, an unclear one is not: the certain reason is reported
    opened = next((direction for direction in (egress, ingress) if direction.openness is is_open), None)
    if opened is not None:
        return _Policies(Answer.FALSE, opened.reason)
    unclear = next(direction for direction in (egress, ingress) if direction.openness is Openness.UNKNOWN)
    return _Policies(Answer.UNKNOWN, unclear.reason)

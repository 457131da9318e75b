"""What NetworkPolicies leave open, by the rules of Kubernetes; and the other fields that decide the network."""

from __future__ import annotations

from typing import Any

import pytest

from chains.beside import Beside
from chains.hermetic_network import Egress, judge_egress, judge_network

Json = Any
POD: Json = {
    "metadata": {
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": {"app": "shop", "tier": "build"},
    },
    "spec": {},
    "status": {"startTime": "2026-01-02T03:04:05Z", "podIP": "10.0.0.7"},
}
EVERYTHING: Json = {}


def policy(name: str = "p", selector: Json = EVERYTHING, generation: int = 1, **spec: Json) -> Json:
    metadata = {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "generation": generation}
    return {"metadata": metadata, "spec": {"podSelector": selector, **spec}}


def egress(*policies: Json, doubtful: tuple[str, ...] = ()) -> tuple[Egress, str]:
    beside = Beside(pod=POD, policies=policies, doubtful=doubtful)
    return judge_egress(POD, beside, POD["metadata"]["labels"])


DENY = {"policyTypes": ["Egress"]}
DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"policyTypes": ["Egress"]}, Egress.CLOSED),
        ({"policyTypes": ["Ingress", "Egress"], "egress": []}, Egress.CLOSED),
        ({"policyTypes": ["Ingress"], "egress": []}, Egress.OPEN),
        ({}, Egress.OPEN),
        ({"egress": []}, Egress.OPEN),
        ({**DENY, "egress": {}}, Egress.OPEN),
        (
            {**DENY, "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["0.0.0.0/0"]}}]}]},
            Egress.OPEN,
        ),
        ({**DENY, "egress": [{"to": [{"ipBlock": {"cidr": "::/0"}}]}]}, Egress.OPEN),
        ({**DENY, "egress": [{"to": [{"namespaceSelector": {}}]}]}, Egress.OPEN),
        ({"policyTypes": [], "egress": [DNS]}, Egress.DNS),
        ({"egress": [DNS]}, Egress.DNS),
        ({**DENY, "egress": [{}]}, Egress.OPEN),
        ({**DENY, "egress": [None]}, Egress.OPEN),
        ({**DENY, "egress": [{"to": []}]}, Egress.OPEN),
        ({**DENY, "egress": [{"to": [{"podSelector": {}}]}]}, Egress.OPEN),
        ({**DENY, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}, Egress.OPEN),
        ({**DENY, "egress": [DNS, {"ports": [{"port": 443}]}]}, Egress.OPEN),
        ({**DENY, "egress": [{"ports": []}]}, Egress.OPEN),
        ({**DENY, "egress": [{"ports": [{"protocol": "UDP"}]}]}, Egress.OPEN),
        ({**DENY, "egress": [{"ports": [{"port": "dns"}]}]}, Egress.OPEN),
        ({**DENY, "egress": [{"ports": [{"port": 53, "endPort": 65535}]}]}, Egress.OPEN),
        ({**DENY, "egress": [{"ports": [{"port": 53, "endPort": 53}]}]}, Egress.DNS),
    ],
)
def test_a_policy_leaves_open_what_its_rules_say(spec: Json, expected: Egress) -> None:
    assert egress(policy(**spec))[0] is expected


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        ({}, True),
        ({"matchLabels": {"app": "shop"}}, True),
        ({"matchLabels": {"app": "shop", "tier": "test"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "shop"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": []}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["shop"]}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["shop"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "none", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"app": "shop"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}, False),
    ],
)
def test_a_policy_selects_by_labels_and_expressions(selector: Json, selects: bool) -> None:
    assert egress(policy(selector=selector, **DENY))[0] is (Egress.CLOSED if selects else Egress.OPEN)


@pytest.mark.parametrize(
    "selector",
    [{"matchExpressions": [{"key": "app", "operator": "Near", "values": []}]}, {"matchFields": []}],
)
def test_a_selector_that_cannot_be_read_leaves_all_unknown(selector: Json) -> None:
    assert egress(policy(selector=selector, **DENY)) == (
        Egress.UNKNOWN,
        "the selector of network policy p cannot be read",
    )
    assert egress(policy("q", **DENY), policy(selector=selector, **DENY))[0] is Egress.UNKNOWN


@pytest.mark.parametrize(
    ("selector", "then", "now", "expected"),
    [
        ({"matchLabels": {"net": "none"}}, {}, {"net": "none"}, Egress.UNKNOWN),
        ({"matchLabels": {"net": "none"}}, {"net": "none"}, {}, Egress.UNKNOWN),
        ({"matchLabels": {"net": "none"}}, {"net": "none"}, {"net": "none"}, Egress.CLOSED),
        ({"matchExpressions": [{"key": "net", "operator": "DoesNotExist"}]}, {"net": "x"}, {}, Egress.UNKNOWN),
        ({}, {"net": "x"}, {}, Egress.CLOSED),
    ],
)  # fmt: skip
def test_a_label_that_only_the_run_or_only_its_pod_has_proves_nothing(
    selector: Json, then: Json, now: Json, expected: Egress
) -> None:
    pod = {**POD, "metadata": {**POD["metadata"], "labels": now}}
    found, why = judge_egress(pod, Beside(pod=pod, policies=(policy(selector=selector, **DENY),)), then)
    assert found is expected
    assert expected is Egress.CLOSED or "not the same at the run and at its pod" in why


def test_policies_add_up() -> None:
    deny, dns, all_of_it = policy("deny", **DENY), policy("dns", egress=[DNS]), policy("all", egress=[{}])
    assert egress(deny) == (Egress.CLOSED, "all egress is denied by network policy deny")
    assert egress(deny, policy("also", **DENY))[1].endswith("network policy also, deny")
    assert egress(deny, dns) == (Egress.DNS, "network policy dns allows egress to port 53")
    assert egress(deny, dns, all_of_it) == (Egress.OPEN, "network policy all allows egress everywhere")
    assert egress() == (Egress.OPEN, "no network policy governs the pod's egress: none is in the input")
    many = [policy(f"deny-{number}", **DENY) for number in range(5)]
    assert egress(*many)[1].endswith("deny-0, deny-1, deny-2 …")


def test_what_may_have_read_otherwise_or_is_overruled_is_unknown() -> None:
    assert egress(policy(generation=2, **DENY))[0] is Egress.UNKNOWN
    assert egress(policy(**DENY), doubtful=("CiliumNetworkPolicy x may overrule",)) == (
        Egress.UNKNOWN,
        "CiliumNetworkPolicy x may overrule",
    )
    # what is open stays open
    assert egress(policy(generation=2, egress=[{}]))[0] is Egress.OPEN


def answers(
    vouched: bool = False, policies: tuple[Json, ...] = (), status: Json = None, **spec: Json
) -> Json:
    pod = {**POD, "spec": spec, "status": POD["status"] if status is None else status}
    runtime = spec.pop("runtime", None)
    beside = Beside(pod=pod, policies=policies, runtime_class=runtime)
    found = judge_network(pod, beside, POD["metadata"]["labels"], vouched=vouched)
    return {name: (answer.value, answer.reason) for name, answer in found.mechanisms.items()}, found.partly


def test_a_policy_proves_something_only_where_somebody_vouches_for_the_plugin() -> None:
    deny, dns = policy(**DENY), policy(egress=[DNS])
    for vouched, value in ((False, "unknown"), (True, "true")):
        found, partly = answers(vouched, (deny,))
        assert (found["networkPolicy"][0], partly) == (value, False)
        assert "execution.network-policies.enforced" in found["networkPolicy"][1]
        found, partly = answers(vouched, (dns,))
        assert (found["networkPolicy"][0], partly) == ("false", vouched)
        assert answers(vouched)[0]["networkPolicy"][0] == "false"
        assert answers(vouched, (policy(generation=2, **DENY),))[0]["networkPolicy"][0] == "unknown"


@pytest.mark.parametrize("spec", [{"hostNetwork": True}, {"networkMode": "Host"}])
def test_the_hosts_network_is_beyond_policies(spec: Json) -> None:
    found, _ = answers(True, (policy(**DENY),), **spec)
    assert found["ownNetworkNamespace"] == ("false", "the pod uses the host's network")
    assert found["networkPolicy"] == ("false", "network policies do not apply to the host's network")


@pytest.mark.parametrize(
    ("mode", "status", "value"),
    [
        ("None", {"startTime": "x"}, "true"),
        ("None", {"startTime": "x", "podIPs": []}, "true"),
        ("None", {"startTime": "x", "podIP": "10.0.0.7"}, "false"),
        ("None", {"startTime": "x", "podIPs": [{"ip": "fd00::7"}]}, "false"),
        ("None", {}, "unknown"),
        ("Cluster", {"startTime": "x"}, "false"),
        ("", {"startTime": "x"}, "false"),
    ],
)
def test_a_pod_without_a_network_is_believed_when_its_kubelet_gave_no_address(
    mode: str, status: Json, value: str
) -> None:
    found, _ = answers(status=status, networkMode=mode)
    assert found["networkMode"][0] == value


def runtime_class(name: str = "safe", created: str = "2026-01-01T00:00:00Z", *, handler: str) -> Json:
    return {"metadata": {"name": name, "creationTimestamp": created}, "handler": handler}


@pytest.mark.parametrize(
    ("runtime", "value"),
    [
        (runtime_class(handler="runsc"), "true"),
        (runtime_class(handler="kata-qemu"), "true"),
        (runtime_class(handler="runc"), "unknown"),
        (runtime_class("other", handler="runsc"), "unknown"),
        (runtime_class(created="2026-01-02T03:04:06Z", handler="runsc"), "unknown"),
        (runtime_class(created="", handler="runsc"), "unknown"),
        (None, "unknown"),
    ],
)
def test_a_sandbox_is_known_by_the_handler_of_its_class(runtime: Json, value: str) -> None:
    assert answers(runtimeClassName="safe", runtime=runtime)[0]["sandboxedRuntime"][0] == value
    assert answers(runtime=runtime)[0]["sandboxedRuntime"][0] == "false"

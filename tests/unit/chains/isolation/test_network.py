"""What NetworkPolicies leave open, by the rules of Kubernetes; and the other fields that decide the network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.isolation.network import judge_network
from chains.isolation.policies import Openness, judge_direction
from chains.tekton.network_policy import EGRESS, INGRESS
from chains.tekton.pod import parse_pod
from chains.tekton.surroundings import parse_surroundings

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


def judged(direction: str, *policies: Json, doubtful: tuple[str, ...] = ()) -> tuple[Openness, str]:
    surroundings = parse_surroundings(pod=POD, policies=policies, doubtful=doubtful)
    found = judge_direction(parse_pod(POD), surroundings, POD["metadata"]["labels"], direction)
    return found.openness, found.reason


def egress(*policies: Json, doubtful: tuple[str, ...] = ()) -> tuple[Openness, str]:
    return judged(EGRESS, *policies, doubtful=doubtful)


DENY = {"policyTypes": ["Egress"]}
DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"policyTypes": ["Egress"]}, Openness.CLOSED),
        ({"policyTypes": ["Ingress", "Egress"], "egress": []}, Openness.CLOSED),
        ({"policyTypes": ["Ingress"], "egress": []}, Openness.OPEN),
        ({}, Openness.OPEN),
        ({"egress": []}, Openness.OPEN),
        ({**DENY, "egress": {}}, Openness.OPEN),
        (
            {**DENY, "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["0.0.0.0/0"]}}]}]},
            Openness.OPEN,
        ),
        ({**DENY, "egress": [{"to": [{"ipBlock": {"cidr": "::/0"}}]}]}, Openness.OPEN),
        ({**DENY, "egress": [{"to": [{"namespaceSelector": {}}]}]}, Openness.OPEN),
        ({"policyTypes": [], "egress": [DNS]}, Openness.DNS),
        ({"egress": [DNS]}, Openness.DNS),
        ({**DENY, "egress": [{}]}, Openness.OPEN),
        ({**DENY, "egress": [None]}, Openness.OPEN),
        ({**DENY, "egress": [{"to": []}]}, Openness.OPEN),
        ({**DENY, "egress": [{"to": [{"podSelector": {}}]}]}, Openness.OPEN),
        ({**DENY, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}, Openness.OPEN),
        ({**DENY, "egress": [DNS, {"ports": [{"port": 443}]}]}, Openness.OPEN),
        ({**DENY, "egress": [{"ports": []}]}, Openness.OPEN),
        ({**DENY, "egress": [{"ports": [{"protocol": "UDP"}]}]}, Openness.OPEN),
        ({**DENY, "egress": [{"ports": [{"port": "dns"}]}]}, Openness.OPEN),
        ({**DENY, "egress": [{"ports": [{"port": 53, "endPort": 65535}]}]}, Openness.OPEN),
        ({**DENY, "egress": [{"ports": [{"port": 53, "endPort": 53}]}]}, Openness.DNS),
    ],
)
def test_a_policy_leaves_open_what_its_rules_say(spec: Json, expected: Openness) -> None:
    assert egress(policy(**spec))[0] is expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, Openness.CLOSED),
        ({"policyTypes": []}, Openness.CLOSED),
        ({"egress": [{}]}, Openness.CLOSED),
        ({"policyTypes": ["Ingress"]}, Openness.CLOSED),
        ({"policyTypes": ["Egress", "Ingress"], "ingress": []}, Openness.CLOSED),
        ({"policyTypes": ["Egress"]}, Openness.OPEN),
        ({"policyTypes": ["Egress"], "ingress": []}, Openness.OPEN),
        ({"ingress": [{}]}, Openness.OPEN),
        ({"ingress": [None]}, Openness.OPEN),
        ({"ingress": {}}, Openness.OPEN),
        ({"ingress": [{"from": []}]}, Openness.OPEN),
        ({"ingress": [{"from": [{"podSelector": {}}]}]}, Openness.OPEN),
        ({"ingress": [{"from": [{"podSelector": {"matchLabels": {"nobody": "has"}}}]}]}, Openness.OPEN),
        ({"ingress": [{"from": [{"namespaceSelector": {}}]}]}, Openness.OPEN),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "::/0"}}]}]}, Openness.OPEN),
        (
            {"ingress": [{"from": [{"ipBlock": {"cidr": "::/0", "except": ["::/1", "8000::/1"]}}]}]},
            Openness.OPEN,
        ),
        # names go out to port 53, and nothing like it comes in
        ({"ingress": [{"ports": [{"port": 53}]}]}, Openness.OPEN),
        ({"policyTypes": "Ingress"}, Openness.UNKNOWN),
        ({"policyTypes": ["Ingress", "Sideways"]}, Openness.UNKNOWN),
        ({"policyTypes": [["Ingress"]]}, Openness.UNKNOWN),
    ],
)
def test_ingress_is_closed_only_by_a_policy_for_it_that_has_no_rule(spec: Json, expected: Openness) -> None:
    assert judged(INGRESS, policy(**spec))[0] is expected


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
    assert egress(policy(selector=selector, **DENY))[0] is (Openness.CLOSED if selects else Openness.OPEN)


@pytest.mark.parametrize(
    "selector",
    [
        {"matchExpressions": [{"key": "app", "operator": "Near", "values": []}]},
        {"matchExpressions": [{"key": "app", "operator": "In", "values": "shop"}]},
        {"matchExpressions": [{"operator": "DoesNotExist"}]},
        {"matchExpressions": ["app"]},
        {"matchExpressions": {"key": "app"}},
        {"matchLabels": ["app"]},
        {"matchFields": []},
        "everything",
    ],
)
def test_a_selector_that_cannot_be_read_leaves_all_unknown(selector: Json) -> None:
    assert egress(policy(selector=selector, **DENY)) == (
        Openness.UNKNOWN,
        "the selector of network policy p cannot be read",
    )
    assert egress(policy("q", **DENY), policy(selector=selector, **DENY))[0] is Openness.UNKNOWN


@pytest.mark.parametrize(
    ("selector", "then", "now", "expected"),
    [
        ({"matchLabels": {"net": "none"}}, {}, {"net": "none"}, Openness.UNKNOWN),
        ({"matchLabels": {"net": "none"}}, {"net": "none"}, {}, Openness.UNKNOWN),
        ({"matchLabels": {"net": "none"}}, {"net": "none"}, {"net": "none"}, Openness.CLOSED),
        ({"matchExpressions": [{"key": "net", "operator": "DoesNotExist"}]}, {"net": "x"}, {}, Openness.UNKNOWN),
        ({}, {"net": "x"}, {}, Openness.CLOSED),
    ],
)  # fmt: skip
def test_a_label_that_only_the_run_or_only_its_pod_has_proves_nothing(
    selector: Json, then: Json, now: Json, expected: Openness
) -> None:
    pod = {**POD, "metadata": {**POD["metadata"], "labels": now}}
    answer = judge_direction(
        parse_pod(pod),
        parse_surroundings(pod=pod, policies=(policy(selector=selector, **DENY),)),
        then,
        EGRESS,
    )
    assert answer.openness is expected
    assert expected is Openness.CLOSED or "not the same at the run and at its pod" in answer.reason


def test_policies_add_up() -> None:
    deny, dns, all_of_it = policy("deny", **DENY), policy("dns", egress=[DNS]), policy("all", egress=[{}])
    assert egress(deny) == (Openness.CLOSED, "all egress is denied by network policy deny")
    assert egress(deny, policy("also", **DENY))[1].endswith("network policy also, deny")
    assert egress(deny, dns) == (Openness.DNS, "network policy dns allows egress to port 53")
    assert egress(deny, dns, all_of_it) == (Openness.OPEN, "network policy all allows egress everywhere")
    assert egress() == (Openness.OPEN, "no network policy governs the pod's egress: none is in the input")
    many = [policy(f"deny-{number}", **DENY) for number in range(5)]
    assert egress(*many)[1].endswith("deny-0, deny-1, deny-2 …")


def test_what_may_have_read_otherwise_or_is_overruled_is_unknown() -> None:
    assert egress(policy(generation=2, **DENY))[0] is Openness.UNKNOWN
    assert egress(policy(**DENY), doubtful=("CiliumNetworkPolicy x may overrule",)) == (
        Openness.UNKNOWN,
        "CiliumNetworkPolicy x may overrule",
    )
    # what is open stays open
    assert egress(policy(generation=2, egress=[{}]))[0] is Openness.OPEN


def answers(
    vouched: bool = False, policies: tuple[Json, ...] = (), status: Json = None, **spec: Json
) -> Json:
    pod = {**POD, "spec": spec, "status": POD["status"] if status is None else status}
    runtime = spec.pop("runtime", None)
    surroundings = parse_surroundings(pod=pod, policies=policies, runtime_class=runtime)
    found = judge_network(parse_pod(pod), surroundings, POD["metadata"]["labels"], vouched=vouched)
    return {name: (answer.value, answer.reason) for name, answer in found.mechanisms.items()}, found.partly


ALL = {"policyTypes": ["Egress", "Ingress"]}


def test_a_policy_proves_something_only_where_somebody_vouches_for_the_plugin() -> None:
    deny, dns = policy(**ALL), policy(**ALL, egress=[DNS])
    for vouched, value in ((False, "unknown"), (True, "true")):
        found, partly = answers(vouched, (deny,))
        assert (found["networkPolicy"][0], partly) == (value, False)
        assert "execution.network-policies.enforced" in found["networkPolicy"][1]
        found, partly = answers(vouched, (dns,))
        assert (found["networkPolicy"][0], partly) == ("false", vouched)
        assert answers(vouched)[0]["networkPolicy"][0] == "false"
        assert answers(vouched, (policy(generation=2, **ALL),))[0]["networkPolicy"][0] == "unknown"


OUT, IN = policy("out", **DENY), policy("in", policyTypes=["Ingress"])
ALLOW_OUT, ALLOW_IN = policy("open-out", egress=[{}], **DENY), policy("open-in", ingress=[{}])
UNREADABLE = policy("odd", {"matchFields": []}, policyTypes=["Ingress"])
NAMES = policy("names", egress=[DNS], **DENY)


@pytest.mark.parametrize(
    ("policies", "value", "partly", "words"),
    [
        ((OUT, IN), "true", False, "all egress and ingress is denied by network policy in, out, and the"),
        ((OUT,), "false", True, "denied by network policy out, but no network policy governs the pod's ingress: none of 1"),
        ((OUT, IN, ALLOW_IN), "false", True, "denied by network policy out, but network policy open-in allows ingress from everywhere: only partly"),
        ((OUT, ALLOW_IN), "false", True, "but network policy open-in allows ingress from everywhere"),
        ((IN,), "false", True, "denied by network policy in, but no network policy governs the pod's egress"),
        ((OUT, IN, ALLOW_OUT), "false", True, "denied by network policy in, but network policy open-out allows egress everywhere"),
        ((NAMES, IN), "false", True, "allows egress to port 53: only partly closed, since names carry data out"),
        ((NAMES,), "false", True, "names carry data out; no network policy governs the pod's ingress"),
        ((ALLOW_OUT, ALLOW_IN), "false", False, "network policy open-out allows egress everywhere"),
        ((OUT, UNREADABLE), "unknown", False, "the selector of network policy odd cannot be read"),
        ((ALLOW_OUT, UNREADABLE), "false", False, "network policy open-out allows egress everywhere"),
        ((OUT, policy("late", generation=2, policyTypes=["Ingress"])), "unknown", False, "network policy late: its generation is not 1"),
        ((), "false", False, "no network policy governs the pod's egress: none is in the input"),
    ],
)  # fmt: skip
def test_policies_isolate_only_where_they_close_both_directions(
    policies: tuple[Json, ...], value: str, partly: bool, words: str
) -> None:
    found, is_partly = answers(True, policies)
    assert (found["networkPolicy"][0], is_partly) == (value, partly)
    assert words in found["networkPolicy"][1]
    # without somebody's word for the plugin a policy closes nothing, not even partly
    found, is_partly = answers(False, policies)
    assert (found["networkPolicy"][0], is_partly) == ("unknown" if value == "true" else value, False)


@pytest.mark.parametrize("spec", [{"hostNetwork": True}, {"networkMode": "Host"}])
def test_the_hosts_network_is_beyond_policies(spec: Json) -> None:
    sandbox = {"runtimeClassName": "safe", "runtime": runtime_class(handler="runsc")}
    found, _ = answers(True, (policy(**ALL),), **spec, **sandbox)
    assert found["sandboxedRuntime"] == (
        "true",
        "runtime class safe has the handler runsc, by its name a sandbox",
    )
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
    if mode != "None":
        told = f"spec.networkMode is {mode!r}" if mode else "the pod has no spec.networkMode"
        assert found["networkMode"] == ("false", told)
    elif not status:
        assert "no kubelet has reported on the pod" in found["networkMode"][1]


def runtime_class(name: str = "safe", created: str = "2026-01-01T00:00:00Z", *, handler: str) -> Json:
    return {"metadata": {"name": name, "creationTimestamp": created}, "handler": handler}


YOUNGER = "runtime class safe may be younger than the pod: its handler can be changed so"
NOT_IN = "runtime class safe is not in the input, so its handler is not known"


@pytest.mark.parametrize(
    ("runtime", "value", "reason"),
    [
        (runtime_class(handler="runsc"), "true", "runtime class safe has the handler runsc, by its name a sandbox"),
        (runtime_class(handler="Kata-qemu"), "true", "runtime class safe has the handler Kata-qemu, by its name a sandbox"),
        (runtime_class(handler="runc"), "unknown", "runtime class safe has the handler runc, which is not known"),
        (runtime_class("other", handler="runsc"), "unknown", NOT_IN),
        (runtime_class(created="2026-01-02T03:04:05Z", handler="runsc"), "true", "runtime class safe has the handler runsc, by its name a sandbox"),
        (runtime_class(created="2026-01-02T03:04:06Z", handler="runsc"), "unknown", YOUNGER),
        (runtime_class(created="", handler="runsc"), "unknown", YOUNGER),
        (None, "unknown", NOT_IN),
    ],
)  # fmt: skip
def test_a_sandbox_is_known_by_the_handler_of_its_class(runtime: Json, value: str, reason: str) -> None:
    assert answers(runtimeClassName="safe", runtime=runtime)[0]["sandboxedRuntime"] == (value, reason)
    assert answers(runtime=runtime)[0]["sandboxedRuntime"][0] == "false"


def test_a_runtime_class_that_could_not_be_read_says_why() -> None:
    pod = {**POD, "spec": {"runtimeClassName": "safe"}}
    unread = {"RuntimeClass": "cannot be read: forbidden", "NetworkPolicy": "cannot be listed"}
    found = judge_network(
        parse_pod(pod), parse_surroundings(pod=pod, unread=unread), {}, vouched=True
    ).sandbox
    told = "runtime class safe cannot be read: forbidden, so its handler is not known"
    assert (found.value, found.reason) == ("unknown", told)


TYPES = st.sampled_from([None, [], ["Ingress"], ["Egress"], ["Egress", "Ingress"]])
RULES = st.sampled_from(
    [None, [], [{}], [{"ports": [{"port": 443}]}], [DNS], [{"to": [{"podSelector": {}}]}]]
)


@given(st.lists(st.tuples(TYPES, RULES, RULES), max_size=4))
def test_no_set_of_policies_isolates_with_a_rule_in_force_or_a_direction_that_none_governs(
    drawn: list[tuple[Json, Json, Json]],
) -> None:
    policies = tuple(
        policy(f"p{number}", policyTypes=types, ingress=into, egress=out)
        for number, (types, into, out) in enumerate(drawn)
    )
    # as the API server fills in the types, then as its documentation adds policies up
    governed: dict[str, list[Json]] = {"Ingress": [], "Egress": []}
    for types, into, out in drawn:
        for direction in types or (["Ingress", "Egress"] if out else ["Ingress"]):
            governed[direction].append((into if direction == "Ingress" else out) or [])
    isolated = all(rules and not any(rules) for rules in governed.values())
    one_closed = any(rules and not any(rules) for rules in governed.values())
    names_alone = bool(governed["Egress"]) and all(
        rule == DNS for rules in governed["Egress"] for rule in rules
    )
    found, partly = answers(True, policies)
    assert (found["networkPolicy"][0] == "true") == isolated
    assert partly == ((one_closed or names_alone) and not isolated)

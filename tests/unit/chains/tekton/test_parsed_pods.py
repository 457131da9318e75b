"""Pods and policies of any shape are read once into frozen types, and what cannot be read is read as empty."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from chains.isolation.judgement import judge_isolation
from chains.tekton.container import (
    EnvironmentSource,
    Mount,
    Reference,
    Variable,
    parse_container,
    parse_status,
    parse_variable,
)
from chains.tekton.network_policy import EGRESS, INGRESS, PodSelector, parse_network_policy
from chains.tekton.pod import Token, Volume, parse_pod, parse_volume
from chains.tekton.raw import Verbatim
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import parse_surroundings
from tests.faults.hermetic import objects

Json = Any
ODD = (
    None,
    0,
    1,
    True,
    "x",
    1.5,
    [],
    [1],
    [[]],
    {},
    {"a": 1},
    [{"name": "x"}],
    [{"name": 5}],
    {"name": None},
)


def deep(levels: int = 1000) -> Json:
    return orjson.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize("value", ODD)
def test_a_pod_is_read_whatever_stands_in_its_fields(value: Json) -> None:
    empty = parse_pod({})
    assert parse_pod(value) == empty or isinstance(value, dict)
    for field in ("metadata", "spec", "status"):
        assert parse_pod({field: value}) == empty or isinstance(value, dict)
    named = parse_pod({"metadata": {"name": value, "namespace": value, "uid": value}})
    assert (named.name, named.namespace) == (("x", "x") if value == "x" else ("", "default"))


@pytest.mark.parametrize("value", ODD)
def test_only_true_itself_shares_the_hosts_namespaces(value: Json) -> None:
    pod = parse_pod({"spec": {"hostNetwork": value, "hostPID": value, "hostIPC": value}})
    shared = value is True
    assert (pod.host_network, pod.shared_namespaces) == (shared, ("hostPID", "hostIPC") if shared else ())


def test_a_container_has_what_is_written_and_marks_what_is_there_but_unreadable() -> None:
    container = parse_container(
        {
            "name": "step-a",
            "command": ["/bin/x", 5],
            "env": "odd",
            "envFrom": [{"prefix": "P_", "secretRef": {"name": "s"}}, 5],
            "lifecycle": {"postStart": {}},
            "livenessProbe": {},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": "yes", "subPath": "a"}],
            "resources": {
                "limits": {"cpu": 1, "nvidia.com/gpu": 1},
                "requests": "x",
                "claims": [{"name": "c"}],
            },
            "securityContext": {"privileged": "true", "capabilities": {"add": ["NET_RAW", 5]}},
        }
    )
    assert (container.command, container.env, container.has_env) == (("/bin/x",), (), True)
    assert container.env_from == (EnvironmentSource("P_", "", "s"),)
    assert container.hooks == ("lifecycle",)
    assert container.mounts == (Mount("v", "/v", "yes", has_sub_path=True),)
    assert (container.resource_names, container.claims) == (("cpu", "nvidia.com/gpu"), ("c",))
    assert (container.security.is_privileged, container.security.added_capabilities) == (False, ("NET_RAW",))
    assert container.security.written == Verbatim(
        {"privileged": "true", "capabilities": {"add": ["NET_RAW", 5]}}
    )


def test_a_variable_keeps_its_references_and_what_it_is_called() -> None:
    source = {"z": 5, "secretKeyRef": {"key": "k", "name": "n", "optional": True}}
    found = parse_variable({"name": "A", "valueFrom": source})
    assert found.source == (
        Reference("secretKeyRef", (("name", "n"), ("key", "k")), is_object=True),
        Reference("z", (), is_object=False),
    )
    assert found.source[0].target == ("secretKeyRef", "n", "k", "", "")
    assert (found.secret, found.config_map, found.has_source, found.has_value) == ("n", "", True, False)
    assert parse_variable({"name": 5, "value": 7}) == Variable("", "", shown_name="5", has_value=True)
    assert parse_variable({"valueFrom": "x"}) == Variable("", "", has_source=True)


def test_a_status_tells_an_empty_report_from_one_that_says_little() -> None:
    assert not parse_status({}).is_reported
    assert parse_status({"name": "a"}).is_reported
    found = parse_status({"state": {"terminated": None}, "lastState": {"terminated": {}}})
    assert (found.now.is_terminated, found.now.terminated.is_empty, found.last.is_empty) == (True, True, True)


def test_a_volume_is_named_by_its_first_field_and_its_kind() -> None:
    assert parse_volume({"name": "h", "hostPath": {"path": "/run", "type": "Socket"}}) == Volume(
        "h", "hostPath", "/run", "Socket", "/run", is_empty_dir=False, is_downward=False, tokens=()
    )
    sources = [
        {"serviceAccountToken": {"audience": "a", "expirationSeconds": "5"}},
        {"serviceAccountToken": 5},
    ]
    found = parse_volume({"name": "p", "projected": {"sources": sources}})
    assert (found.kind, found.host_path, found.tokens) == ("projected", None, (Token("a", "5"),))
    assert parse_volume({"name": "s", "secret": {"secretName": "x", "name": "y"}}).source == "x"


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, (INGRESS,)),
        ({"policyTypes": []}, (INGRESS,)),
        ({"egress": 5}, (INGRESS, EGRESS)),
        ({"egress": []}, (INGRESS,)),
        ({"policyTypes": ["Egress"]}, (EGRESS,)),
        ({"policyTypes": "Egress"}, None),
        ({"policyTypes": ["Egress", "x"]}, None),
    ],
)
def test_the_types_of_a_policy_have_the_defaults_of_the_api_server(spec: Json, types: Json) -> None:
    assert parse_network_policy({"spec": spec}).types == types


@pytest.mark.parametrize("rules", [5, {}, [5], [None], [{}]])
def test_a_rule_that_cannot_be_read_is_the_widest(rules: Json) -> None:
    (rule,) = parse_network_policy({"spec": {"ingress": rules}}).rules[INGRESS]
    assert (rule.names_peers, rule.ports) == (False, ())


@pytest.mark.parametrize("selector", [5, [], {"x": 1}, {"matchLabels": 5}, {"matchExpressions": {"a": 1}}])
def test_a_selector_that_cannot_be_read_is_none(selector: Json) -> None:
    assert parse_network_policy({"spec": {"podSelector": selector}}).selector is None
    assert parse_network_policy({}).selector == PodSelector()


def test_what_is_nested_too_deeply_for_a_text_ends_no_judgement() -> None:
    run, pod = (objects("nothing-wrong")[kind] for kind in ("TaskRun", "Pod"))
    odd = {"name": deep(), "valueFrom": {"secretKeyRef": {"name": deep()}}}
    pod["spec"]["containers"][0]["env"].append(odd)
    found = judge_isolation(take_snapshot(run), {"taskrun/ci/build": parse_surroundings(pod=pod)})
    assert found.containers[0].observed.reason == "not as the task asks: variable  was added"
    assert parse_variable(odd).shown_name == "(nested too deeply)"


def test_what_was_read_cannot_be_changed() -> None:
    pod = parse_pod(objects("nothing-wrong")["Pod"])
    for item, field in ((pod, "name"), (pod.containers[0], "command"), (pod.volumes[0], "name")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(item, field, "other")
        assert not hasattr(item, "__dict__")

"""Where a run's pod was placed and what it was given is in the report, with who says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chains.attest.payloads import EXECUTION_REPORT, build_payloads
from chains.config.parse import parse_config
from chains.inspection.report import read_report
from chains.statements.pod_settings import LARGEST
from chains.statements.statement import parse_statement
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import parse_surroundings
from tests.faults.hermetic import objects

Json = Any
AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["train"]}]}
            ]
        }
    }
}
TOLERATIONS = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
GPU = {"requests": {"cpu": "2", "nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1", "memory": "8Gi"}}


def attested(run: Json, pod: Json = None) -> bytes:
    surroundings = {"taskrun/ci/build": parse_surroundings(pod=pod)}
    payloads = build_payloads(take_snapshot(run), parse_config({}), surroundings)
    return next(payload.statement for payload in payloads if payload.kind == EXECUTION_REPORT)


def settings(run: Json, pod: Json = None) -> list[Json]:
    """Return the settings in a report, each with the name of the run that it is about."""
    attributes = json.loads(attested(run, pod))["predicate"]["attributes"]
    return [
        {"about": one["target"]["name"], **one["conditions"]}
        for one in attributes
        if one["attribute"] == "POD_SETTINGS"
    ]


def told(run: Json, pod: Json = None) -> dict[str, str]:
    """Return what ``chains inspect`` shows besides."""
    return {one.name: one.value for one in read_report(parse_statement(attested(run, pod))).circumstances}


@pytest.fixture
def found() -> dict[str, Json]:
    return objects("nothing-wrong")


def test_the_pod_that_ran_is_told_and_not_what_was_asked_for(found: Json) -> None:
    run, pod = found["TaskRun"], found["Pod"]
    run["spec"]["podTemplate"]["nodeSelector"] = {"pool": "asked"}
    pod["spec"] |= {
        "nodeSelector": {"pool": "train"},
        "affinity": AFFINITY,
        "tolerations": TOLERATIONS,
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}],
        "runtimeClassName": "nvidia",
        "priorityClassName": "training",
        "priority": 1000,
        "schedulerName": "volcano",
        "resources": {"limits": {"cpu": "4"}},
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
    }
    for container in pod["spec"]["containers"]:
        container.pop("resources", None)
    pod["spec"]["containers"][0]["resources"] = GPU
    name = pod["spec"]["containers"][0]["name"]
    for container in pod["spec"].get("initContainers", []):
        container.pop("resources", None)
    assert settings(run, pod) == [
        {
            "about": "taskrun/ci/build",
            "source": "pod",
            "nodeSelector": {"pool": "train"},
            "affinity": AFFINITY,
            "tolerations": TOLERATIONS,
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}],
            "runtimeClassName": "nvidia",
            "priorityClassName": "training",
            "priority": 1000,
            "schedulerName": "volcano",
            "resources": {"limits": {"cpu": "4"}},
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
            "containerResources": {name: GPU},
            "devices": [{"container": name, "resource": "nvidia.com/gpu", "quantity": "1"}],
        }
    ]
    page = told(run, pod)
    assert page["nodeSelector"] == '{"pool":"train"}'
    assert "nvidia.com/gpu" in page["devices"]
    assert "asked for" not in page["devices"]


def test_without_a_believed_pod_what_the_run_asks_for_is_told_as_such(found: Json) -> None:
    run, pod = found["TaskRun"], found["Pod"]
    run["spec"]["podTemplate"] |= {"nodeSelector": {"pool": "train"}, "tolerations": TOLERATIONS}
    run["spec"]["computeResources"] = {"limits": {"memory": "1Gi"}}
    task = run["status"]["taskSpec"]
    step = task["steps"][0]
    task["stepTemplate"] = {"computeResources": {"limits": {"cpu": "1", "memory": "2Gi"}}}
    step["computeResources"] = {"limits": {"nvidia.com/gpu": "2", "memory": "4Gi"}}
    name = f"step-{step['name']}"
    expected = {
        "about": "taskrun/ci/build",
        "source": "requested",
        "nodeSelector": {"pool": "train"},
        "tolerations": TOLERATIONS,
        "resources": {"limits": {"memory": "1Gi"}},
        "containerResources": {name: {"limits": {"cpu": "1", "memory": "4Gi", "nvidia.com/gpu": "2"}}},
        "devices": [{"container": name, "resource": "nvidia.com/gpu", "quantity": "2"}],
    }
    task["steps"] = task["steps"][:1]
    assert settings(run) == [expected]
    # somebody else's pod says nothing about this run
    pod["metadata"]["ownerReferences"][0]["uid"] = "another"
    pod["spec"]["nodeSelector"] = {"pool": "foreign"}
    assert settings(run, pod) == [expected]
    assert told(run)["devices"].endswith(" (asked for)")
    # stepSpecs of the run replace what the Task asks for
    run["spec"]["stepSpecs"] = [{"name": step["name"], "computeResources": {"limits": {"cpu": "8"}}}]
    (replaced,) = settings(run)
    assert replaced["containerResources"] == {name: {"limits": {"cpu": "8"}}}
    assert "devices" not in replaced


def test_nothing_set_gives_no_attribute(found: Json) -> None:
    run = found["TaskRun"]
    for step in run["status"]["taskSpec"]["steps"]:
        step.pop("computeResources", None)
    for name in ("computeResources", "podTemplate"):
        run["spec"].pop(name, None)
    assert settings(run) == []


def test_native_resources_are_no_devices(found: Json) -> None:
    run = found["TaskRun"]
    step = run["status"]["taskSpec"]["steps"][0]
    names = ("cpu", "hugepages-2Mi", "ephemeral-storage", "requests.nvidia.com/gpu", "x.kubernetes.io/y")
    step["computeResources"] = {"limits": dict.fromkeys((*names, "example.com/rdma"), "1")}
    (found_settings,) = settings(run)
    assert [one["resource"] for one in found_settings["devices"]] == ["example.com/rdma"]


@pytest.mark.parametrize("odd", [7, "text", ["x"], {"limits": "x"}, {"limits": {"a.b/c": {"d": []}}}])
@pytest.mark.parametrize("field", ["resources", "affinity", "tolerations", "nodeSelector", "resourceClaims"])
def test_odd_values_of_a_pod_are_told_as_they_are(found: Json, field: str, odd: Json) -> None:
    run, pod = found["TaskRun"], found["Pod"]
    pod["spec"][field] = odd
    if field == "resources":
        pod["spec"]["containers"][0]["resources"] = odd
    (shown,) = settings(run, pod)
    assert shown.get(field) == odd


def test_a_large_setting_is_told_by_its_size(found: Json) -> None:
    run, pod = found["TaskRun"], found["Pod"]
    pod["spec"]["tolerations"] = [{"key": f"k{at}"} for at in range(5000)]
    pod["spec"]["nodeSelector"] = {"pool": "train"}
    (shown,) = settings(run, pod)
    assert shown["tolerations"]["omittedCharacters"] > LARGEST
    assert shown["nodeSelector"] == {"pool": "train"}


def test_a_pipeline_runs_report_has_the_settings_of_each_child() -> None:
    found = objects("nothing-wrong")
    child, pod = found["TaskRun"], found["Pod"]
    child["metadata"]["labels"]["tekton.dev/pipelineTask"] = "train"
    owner = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "name": "p",
        "uid": "p-uid",
        "controller": True,
    }
    child["metadata"]["ownerReferences"] = [owner]
    pod["spec"]["nodeSelector"] = {"pool": "train"}
    parent = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ci", "uid": "p-uid"},
        "spec": {"pipelineRef": {"name": "p"}},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}],
            "startTime": child["status"]["startTime"],
            "completionTime": "2099-01-01T00:00:00Z",
            "childReferences": [
                {
                    "apiVersion": "tekton.dev/v1",
                    "kind": "TaskRun",
                    "name": "build",
                    "pipelineTaskName": "train",
                }
            ],
        },
    }
    run = take_snapshot(parent, {("TaskRun", "ci", "build"): child})
    surroundings = {"taskrun/ci/build": parse_surroundings(pod=pod)}
    payloads = build_payloads(run, parse_config({}), surroundings)
    report = next(payload.statement for payload in payloads if payload.kind == EXECUTION_REPORT)
    (one,) = [
        one for one in json.loads(report)["predicate"]["attributes"] if one["attribute"] == "POD_SETTINGS"
    ]
    assert one["target"] == {
        "name": "taskrun/ci/build",
        "uri": f"taskrun/ci/build#{child['metadata']['uid']}",
    }
    assert one["evidence"]["name"] == "pod/ci/build-pod"
    assert one["conditions"]["source"] == "pod"
    assert one["conditions"]["pipelineTask"] == "train"
    assert one["conditions"]["nodeSelector"] == {"pool": "train"}
    page = {one.name: one.value for one in read_report(parse_statement(report)).circumstances}
    assert page["train: nodeSelector"] == '{"pool":"train"}'

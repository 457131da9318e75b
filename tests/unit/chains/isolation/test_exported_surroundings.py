"""What stands beside a run is found in an export, whatever else is in it, and costs no more for many runs."""

from __future__ import annotations

import json
import sys
from typing import Any

from chains.isolation.judgement import judge_isolation
from chains.tekton.pod import parse_pod
from chains.tekton.run_files import Intake
from tests.faults.hermetic import objects
from tests.owners import owned, task_reference

Json = Any
KEY = ("TaskRun", "ci", "build")
LABEL = "taskrun/ci/build"


def intake_of(*items: Json) -> Intake:
    intake = Intake()
    intake.add("in.json", json.dumps(list(items)).encode())
    assert not intake.problems
    return intake


def thing(kind: str, name: str, namespace: str = "ci", **more: Json) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, **more}


def policy(
    name: str, namespace: str = "ci", group: str = "networking.k8s.io/v1", kind: str = "NetworkPolicy"
) -> Json:
    return {**thing(kind, name, namespace), "apiVersion": group}


def surroundings(*more: Json, pod: Json = None) -> Any:
    found = objects("nothing-wrong")
    intake = intake_of(found["TaskRun"], pod or found["Pod"], *more)
    return intake.surroundings_of(intake.snapshot(KEY))[LABEL]


def test_policies_of_the_namespace_are_found_and_those_that_may_overrule_them_named() -> None:
    found = surroundings(
        policy("b"),
        policy("a"),
        policy("other", "elsewhere"),
        policy("calico", group="projectcalico.org/v3"),
        policy("cilium", group="cilium.io/v2", kind="CiliumNetworkPolicy"),
        policy("cilium", "elsewhere", group="cilium.io/v2", kind="CiliumNetworkPolicy"),
        policy("news", "", group="example.com/v1", kind="WideNetworkPolicy"),
        policy("admin", "", group="policy.networking.k8s.io/v1alpha1", kind="AdminNetworkPolicy"),
    )
    assert [item.name for item in found.policies] == ["a", "b"]
    assert [text.split(" may ")[0] for text in found.doubtful] == [
        "AdminNetworkPolicy admin",
        "CiliumNetworkPolicy cilium",
        "NetworkPolicy calico",
        "WideNetworkPolicy news",
    ]


def test_the_runtime_class_of_the_pod_is_found() -> None:
    pod = objects("nothing-wrong")["Pod"]
    pod["spec"]["runtimeClassName"] = "sandboxed"
    runtime = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "sandboxed"},
        "handler": "x",
    }
    found = surroundings(runtime, pod=pod)
    assert found.runtime_class is not None
    assert found.runtime_class.handler == "x"


def test_the_flags_of_the_only_tekton_are_believed() -> None:
    flags = thing(
        "ConfigMap", "feature-flags", "tekton-pipelines", data={"enable-api-fields": "alpha", "odd": 5}
    )
    assert surroundings(flags).feature_flags == {"enable-api-fields": "alpha"}
    other = thing("ConfigMap", "feature-flags", "openshift-pipelines", data={"enable-api-fields": "beta"})
    assert surroundings(flags, other).feature_flags == {}
    intake = intake_of(objects("nothing-wrong")["TaskRun"], flags)
    assert intake.surroundings_of(intake.snapshot(KEY))[LABEL].feature_flags == {"enable-api-fields": "alpha"}


def test_what_comes_twice_with_different_content_is_not_believed() -> None:
    pod = objects("nothing-wrong")["Pod"]
    twin = json.loads(json.dumps(pod))
    twin["spec"]["hostNetwork"] = True
    assert surroundings(pod).pod == parse_pod(pod)  # equal ones are one
    found = surroundings(twin)
    assert (found.pod, found.missing) == (None, "pod ci/build-pod comes twice with different content")
    twins = [{**policy("p"), "spec": {"podSelector": {"n": number}}} for number in range(2)]
    assert surroundings(*twins).doubtful == ("NetworkPolicy p comes twice with different content",)


def test_what_is_added_later_is_found_too() -> None:
    found = objects("nothing-wrong")
    intake = intake_of(found["TaskRun"])
    run = intake.snapshot(KEY)
    assert intake.surroundings_of(run)[LABEL].pod is None
    intake.add("more.json", json.dumps(found["Pod"]).encode())
    assert intake.surroundings_of(run)[LABEL].pod == parse_pod(found["Pod"])


def test_the_children_of_a_pipeline_have_what_stands_beside_them() -> None:
    found = objects("nothing-wrong")
    parent = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ci", "uid": "p-uid"},
        "status": {"childReferences": [task_reference("build")]},
    }
    found["TaskRun"]["metadata"]["ownerReferences"] = owned("p-uid")
    intake = intake_of(parent, found["TaskRun"], found["Pod"])
    run = intake.snapshot(("PipelineRun", "ci", "p"))
    known = intake.surroundings_of(run)
    assert list(known) == [LABEL]
    assert judge_isolation(run, known).level == "enforced"


def test_ten_times_the_runs_take_ten_times_the_work() -> None:
    def calls(count: int) -> int:
        text = json.dumps(objects("nothing-wrong"))
        items: list[Json] = [policy(f"p-{number}") for number in range(20)]
        for number in range(count):
            found = json.loads(text.replace("build-pod", f"build-{number}-pod"))
            for item in (found["TaskRun"], found["Pod"]):
                item["metadata"]["labels"]["tekton.dev/taskRun"] = f"build-{number}"
            found["TaskRun"]["metadata"]["name"] = f"build-{number}"
            items += found.values()
        intake = intake_of(*items)
        made = 0

        def counted(_frame: object, event: str, _argument: object) -> None:
            nonlocal made
            made += event == "call"

        sys.setprofile(counted)
        try:
            for key in list(intake.runs):
                run = intake.snapshot(key)
                assert judge_isolation(run, intake.surroundings_of(run)).level == "enforced"
        finally:
            sys.setprofile(None)
        return made

    calls(10)
    assert calls(500) < 11 * calls(50)

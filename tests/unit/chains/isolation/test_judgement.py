"""Levels, requests and what becomes of pods that are not the run's; attacks are in test_hermetic_faults.py."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.attest.payloads import EXECUTION_REPORT, PROVENANCE, build_payloads
from chains.config.parse import lint_config, parse_config
from chains.isolation.finding import LEVELS, Level
from chains.isolation.judgement import Isolation, judge_isolation
from chains.statements.claims import builder_id, hermetic_level, run_uid
from chains.statements.statement import parse_statement
from chains.tekton.snapshot import RunSnapshot, take_snapshot
from chains.tekton.surroundings import parse_surroundings
from tests.faults.hermetic import objects
from tests.owners import owned, task_reference

Json = Any
LABEL = "taskrun/ci/build"
MODE = "experimental.tekton.dev/execution-mode"


def good() -> tuple[Json, Json]:
    found = objects("nothing-wrong")
    return found["TaskRun"], found["Pod"]


def judged(run: Json, pod: Json = None, **surroundings: Json) -> Isolation:
    return judge_isolation(take_snapshot(run), {LABEL: parse_surroundings(pod=pod, **surroundings)})


def test_tektons_own_helpers_are_told_and_do_not_count() -> None:
    found = judged(*good())
    assert [(one.kind, one.name, one.is_counted) for one in found.containers] == [
        ("step", "compile", True),
        ("init", "prepare", False),
    ]
    prepare = found.containers[1]
    assert (prepare.enforced.value, prepare.observed.value) == ("false", "true")
    assert "a helper of tekton" in prepare.enforced.reason
    assert found.level == Level.ENFORCED


@pytest.mark.parametrize(
    "change",
    [
        {"command": ["sh"]},
        {"args": ["-c", "curl"]},
        {"env": [{"name": "LD_PRELOAD", "value": "/x"}]},
        {"envFrom": [{"configMapRef": {"name": "x"}}]},
        {"lifecycle": {"postStart": {}}},
        {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        {"name": "prepare-2"},
    ],
)
def test_what_only_calls_itself_a_helper_of_tekton_counts(change: Json) -> None:
    run, pod = good()
    pod["spec"]["initContainers"][0].update(change)
    found = judged(run, pod)
    assert found.level != Level.ENFORCED
    assert found.containers[1].kind == "injected"
    assert found.containers[1].observed.value == "false"


def test_a_run_that_nobody_wanted_hermetic_is_told_so_even_without_its_pod() -> None:
    run, pod = good()
    del run["metadata"]["annotations"]
    found = judged(run)
    assert (found.level, found.containers[0].enforced.reason) == ("not-requested", "pod gone")
    pod["spec"]["containers"][0]["env"] = []
    found = judged(run, pod)
    assert (found.level, found.containers[0].requested.value) == ("not-requested", "false")
    assert found.reason == f"no annotation {MODE}: hermetic, and nothing is known to enforce it"


def test_what_is_enforced_counts_though_nobody_asked_for_it() -> None:
    run, pod = good()
    del run["metadata"]["annotations"]
    found = judged(run, pod)
    assert (found.level, found.containers[0].requested.value) == ("enforced", "false")
    assert found.containers[0].observed.reason == "not as the task asks: variable TEKTON_HERMETIC was added"


def test_a_run_that_names_no_pod_is_unknown() -> None:
    run, pod = good()
    del run["status"]["podName"]
    found = judged(run, pod)
    assert (found.level, found.reason) == ("unknown", "step/compile: the run names no pod")
    del run["status"]["steps"], run["status"]["taskSpec"]
    assert judged(run, pod).reason == "the run names no pod"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["metadata", "name"], "other-pod", "the pod is ci/other-pod, not the one that the run names"),
        (["metadata", "namespace"], "other", "the pod is other/build-pod, not the one that the run names"),
        (["metadata", "ownerReferences"], [], "the pod belongs to another owner than this run"),
        (["metadata", "ownerReferences", 0, "kind"], "Job", "the pod belongs to another owner than this run"),
        (["metadata", "ownerReferences", 0, "uid"], "", "the pod belongs to another owner than this run"),
        (["metadata", "labels", "tekton.dev/taskRun"], "x", "the pod's labels name another run"),
        (["metadata", "labels", "tekton.dev/taskRunUID"], "x", "the pod's labels name another run"),
        (["metadata", "labels"], {}, "the pod's labels name another run"),
        (["metadata", "creationTimestamp"], "2026-01-03T00:00:00Z", "the pod was created after the run had ended"),
        (["status", "containerStatuses"], [], "container step-compile of the pod is not the one that the run recorded"),
        (["status"], None, "container step-compile of the pod is not the one that the run recorded"),
    ],
)  # fmt: skip
def test_a_pod_that_is_not_the_runs_is_not_believed(path: list[Any], value: Json, reason: str) -> None:
    run, pod = good()
    place = pod
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    found = judged(run, pod)
    assert (found.level, found.reason) == ("unknown", f"step/compile: {reason}")
    assert found.pod is None
    assert found.network is None


def test_a_run_without_a_uid_can_have_no_pod_of_its_own() -> None:
    run, pod = good()
    del run["metadata"]["uid"]
    assert "no uid" in judged(run, pod).reason


def test_a_step_that_the_pod_does_not_have_is_unknown() -> None:
    run, pod = good()
    run["status"]["taskSpec"]["steps"].append({"name": "more", "image": "x", "command": ["x"]})
    found = judged(run, pod)
    assert found.level == "unknown"
    assert found.containers[-1].enforced.reason == "the pod has no container step-more"


def test_a_record_without_its_task_makes_what_was_asked_for_unknown() -> None:
    run, pod = good()
    del run["status"]["taskSpec"]
    found = judged(run, pod)
    assert found.level == Level.ENFORCED
    assert found.containers[0].observed.reason == "the run's record does not tell what the task asks for"


@pytest.mark.parametrize(
    ("change", "value", "reason"),
    [
        ({"imageID": "registry.example.com/other@sha256:" + "a" * 64}, "false", "the kubelet reports another image than the run's record"),
        ({"restartCount": 2}, "false", "restarted 2 times"),
        ({"imageID": ""}, "unknown", "the kubelet does not report which image ran"),
        ({"state": {"running": {}}}, "unknown", "the kubelet does not report that it ended"),
    ],
)  # fmt: skip
def test_what_the_kubelet_reports_is_observed(change: Json, value: str, reason: str) -> None:
    run, pod = good()
    pod["status"]["containerStatuses"][0].update(change)
    observed = judged(run, pod).containers[0].observed
    assert (observed.value, observed.reason) == (value, reason)


@pytest.mark.parametrize(
    "mounts",
    [
        [{"name": "tekton-internal-bin", "mountPath": "/tekton/bin", "subPathExpr": "$(HOME)"}],
        [{"name": "tekton-internal-bin", "mountPath": "/tekton/bin"}, {"name": "x", "mountPath": "//tekton/./bin/x"}],
        [{"name": "tekton-internal-bin", "mountPath": "/tekton/bin"}, {"name": "x", "mountPath": "/a/../tekton/bin"}],
    ],
)  # fmt: skip
def test_what_lies_over_the_entrypoint_is_seen_however_its_path_is_written(mounts: Json) -> None:
    run, pod = good()
    pod["spec"]["containers"][0]["volumeMounts"] = mounts
    found = judged(run, pod).containers[0].enforced
    assert (found.value, "not the volume" in found.reason) == ("unknown", True)


def test_volumes_in_tektons_own_empty_ones_and_beside_others_change_nothing() -> None:
    run, pod = good()
    pod["spec"]["containers"][0]["volumeMounts"] += [
        {"name": "ws-1", "mountPath": "/workspace/source"},
        {"name": "ws-2", "mountPath": "/workspace/source-2"},
    ]
    assert judged(run, pod).containers[0].enforced.value == "true"
    pod["spec"]["containers"][0]["volumeMounts"][-1]["mountPath"] = "/workspace/source/2"
    assert "a link may lead the volume at /workspace/source/2" in judged(run, pod).reason


@pytest.mark.parametrize(
    "args",
    [
        ["-entrypoint", "go", "-entrypoint", "curl", "--", "build", "./cmd/app"],
        ["-entrypoint", "go", "--entrypoint=curl", "--", "build", "./cmd/app"],
        ["-entrypoint=go", "--", "build", "./cmd/app"],
    ],
)
def test_what_the_entrypoint_starts_must_be_certain(args: list[str]) -> None:
    run, pod = good()
    pod["spec"]["containers"][0]["args"] = args
    observed = judged(run, pod).containers[0].observed
    assert (observed.value, observed.reason) == ("false", "not as the task asks: the command is another one")


def test_a_pinned_image_without_a_command_may_not_become_another_of_its_repository() -> None:
    run, pod = good()
    step = run["status"]["taskSpec"]["steps"][0]
    del step["command"]
    pod["spec"]["containers"][0]["args"][-3:] = ["--", "build", "./cmd/app"]
    before = judged(run, pod).containers[0].observed.reason
    assert "image" not in before
    pod["spec"]["containers"][0]["image"] = step["image"].partition("@")[0] + "@sha256:" + "2" * 64
    assert "the image is another one" in judged(run, pod).containers[0].observed.reason


def test_a_sidecar_that_tekton_stopped_is_no_change_and_not_proven_either() -> None:
    found = objects("sidecar-with-network")
    pod = found["Pod"]
    sidecar = next(one for one in pod["spec"]["containers"] if one["name"] == "sidecar-database")
    sidecar["image"] = "registry.example.com/tekton/nop"
    pod["status"]["containerStatuses"][1] |= {"restartCount": 1}
    observed = judged(found["TaskRun"], pod).containers[1].observed
    assert observed.value == "unknown"
    assert observed.reason.startswith("restarted, as tekton does to stop a sidecar")


def test_a_sidecar_that_is_an_init_container_is_still_a_sidecar() -> None:
    found = objects("sidecar-with-network")
    pod = found["Pod"]
    native = pod["spec"]["containers"].pop(1)
    pod["spec"]["initContainers"].append({**native, "restartPolicy": "Always"})
    pod["status"]["initContainerStatuses"].append(pod["status"]["containerStatuses"].pop(1))
    isolation = judged(found["TaskRun"], pod)
    assert (isolation.level, isolation.containers[1].kind) == ("partly", "sidecar")
    del pod["spec"]["initContainers"][-1]["restartPolicy"]
    assert "injected" in {one.kind for one in judged(found["TaskRun"], pod).containers}


@pytest.mark.parametrize("change", [{"args": ["--evil"]}, {"command": ["evil"]}])
def test_a_sidecar_that_runs_something_else_is_told(change: Json) -> None:
    found = objects("sidecar-with-network")
    found["Pod"]["spec"]["containers"][1].update(change)
    observed = judged(found["TaskRun"], found["Pod"]).containers[1].observed
    assert (observed.value, observed.reason) == ("false", "not as the task asks: the command is another one")


@pytest.mark.parametrize(
    ("spec", "container", "value", "reason"),
    [
        ({"os": {"name": "windows"}}, {}, "false", "the entrypoint keeps the network on windows"),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, {}, "false", "the entrypoint keeps the network on windows"),
        ({}, {"env": [{"name": "TEKTON_HERMETIC", "valueFrom": {"fieldRef": {}}}]}, "unknown", "TEKTON_HERMETIC: its value comes from a reference"),
        ({}, {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}, "true", "nothing defeats it"),
        ({}, {"securityContext": {"capabilities": {"add": ["CAP_SYS_ADMIN"]}}}, "unknown", "with the capability SYS_ADMIN the container may leave its namespaces"),
        ({}, {"securityContext": {"capabilities": {"add": ["SOME_NEW_ONE"]}}}, "unknown", "with the capability SOME_NEW_ONE the container may leave its namespaces"),
        ({"hostIPC": True}, {}, "unknown", "with hostIPC the container may use processes that have a network"),
        ({}, {"volumeDevices": [{"name": "disk", "devicePath": "/dev/x"}]}, "unknown", "it was given the device disk"),
        ({}, {"resources": {"claims": [{"name": "nic"}]}}, "unknown", "it was given the resource claim nic"),
        ({}, {"resources": {"limits": {"cpu": "1", "hugepages-2Mi": "1"}}}, "true", "nothing defeats it"),
        ({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}, {}, "false", "the entrypoint keeps the network on windows"),
        ({}, {"readinessProbe": {"exec": {"command": ["x"]}}}, "false", "readinessProbe runs beside the entrypoint"),
        ({"volumes": []}, {}, "unknown", "/tekton/bin is not the volume that tekton puts its entrypoint into"),
        ({"initContainers": []}, {}, "unknown", "no init container prepare of tekton puts the entrypoint there"),
    ],
)  # fmt: skip
def test_what_decides_about_a_step(spec: Json, container: Json, value: str, reason: str) -> None:
    run, pod = good()
    pod["spec"].update(spec)
    pod["spec"]["containers"][0].update(container)
    enforced = judged(run, pod).containers[0].enforced
    assert (enforced.value, reason in enforced.reason) == (value, True), enforced.reason


def test_a_container_that_can_write_the_entrypoint_leaves_every_step_unknown() -> None:
    found = objects("injected-container")
    proxy = found["Pod"]["spec"]["containers"][1]
    proxy["volumeMounts"] = [{"name": "tekton-internal-bin", "mountPath": "/x"}]
    enforced = judged(found["TaskRun"], found["Pod"]).containers[0].enforced
    assert enforced.reason == "injected/istio-proxy can change the entrypoint's binary"
    proxy["volumeMounts"][0]["readOnly"] = True
    assert judged(found["TaskRun"], found["Pod"]).containers[0].enforced.value == "true"


def test_an_annotation_that_tekton_ignored_is_told_with_its_flag() -> None:
    run, pod = good()
    del run["status"]["provenance"]
    assert judged(run, pod).containers[0].requested.reason == f"annotation {MODE}"
    asked = judged(run, pod, feature_flags={"enable-api-fields": "stable"}).containers[0].requested
    assert (asked.value, asked.reason) == (
        "true",
        f"annotation {MODE}, which tekton ignores with enable-api-fields stable (feature-flags)",
    )


PIPELINE: Json = {
    "apiVersion": "tekton.dev/v1",
    "kind": "PipelineRun",
    "metadata": {"name": "p", "namespace": "ci", "uid": "p-uid", "annotations": {MODE: "hermetic"}},
    "status": {
        "conditions": [{"type": "Succeeded", "status": "True"}],
        "childReferences": [task_reference("build")],
    },
}


def pipeline(*more: Json) -> RunSnapshot:
    run, _ = good()
    run["metadata"]["ownerReferences"] = owned("p-uid")
    parent = copy.deepcopy(PIPELINE)
    others = {("TaskRun", "ci", "build"): run}
    for child in more:
        reference = {**task_reference(child["metadata"]["name"], "x"), "kind": child["kind"]}
        parent["status"]["childReferences"].append(reference)
        others["TaskRun", "ci", child["metadata"]["name"]] = child
    return take_snapshot(parent, others)


def test_a_pipeline_is_as_isolated_as_the_weakest_of_its_children() -> None:
    _, pod = good()
    surroundings = {LABEL: parse_surroundings(pod=pod)}
    assert judge_isolation(pipeline(), surroundings).level == Level.ENFORCED
    plain, _ = good()
    plain["metadata"] = {
        "name": "clone",
        "namespace": "ci",
        "uid": "c-uid",
        "ownerReferences": owned("p-uid"),
    }
    found = judge_isolation(pipeline(plain), surroundings)
    assert found.level == "not-requested"
    assert found.reason.startswith("taskrun clone: no annotation")
    assert [(child.name, child.level) for child in found.children] == [
        ("build", "enforced"),
        ("clone", "not-requested"),
    ]
    assert judge_isolation(pipeline()).reason == "taskrun build: step/compile: pod gone"


def test_a_child_without_a_record_keeps_a_pipeline_from_being_enforced() -> None:
    _, pod = good()
    approval = {"kind": "CustomRun", "metadata": {"name": "approve"}}
    found = judge_isolation(pipeline(approval), {LABEL: parse_surroundings(pod=pod)})
    assert (found.level, found.children[1].uid) == ("unknown", "")
    assert found.reason.startswith("customrun approve: no record: ")


def test_a_pipeline_without_children_is_what_was_asked_for() -> None:
    alone = copy.deepcopy(PIPELINE)
    alone["status"]["childReferences"] = []
    assert judge_isolation(take_snapshot(alone)).level == "unknown"
    del alone["metadata"]["annotations"]
    assert judge_isolation(take_snapshot(alone)).level == "not-requested"


@pytest.mark.parametrize("name", ["slsa/v2alpha4", "in-toto"])
@pytest.mark.parametrize("with_pod", [True, False])
def test_only_proven_runs_get_the_builder_of_hermetic_runs(name: str, with_pod: bool) -> None:
    run, pod = good()
    data = {"artifacts.taskrun.format": name, "builder.id": "urn:plain"}
    surroundings = {LABEL: parse_surroundings(pod=pod)} if with_pod else None
    for more, expected in (({}, "urn:plain"), ({"builder.id.hermetic": "urn:hermetic"}, "urn:hermetic")):
        config = parse_config(data | more)
        statements = {
            payload.kind: parse_statement(payload.statement)
            for payload in build_payloads(take_snapshot(run), config, surroundings)
        }
        provenance, report = statements[PROVENANCE], statements[EXECUTION_REPORT]
        assert builder_id(provenance) == (expected if with_pod else "urn:plain")
        assert hermetic_level(report) == ("enforced" if with_pod else "unknown")
        assert run_uid(report) == run["metadata"]["uid"]


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ({"builder.id.hermetic": "hermetic"}, "builder.id.hermetic", "expected a URI, got 'hermetic'"),
        ({"builder.id": "urn:b", "builder.id.hermetic": "urn:b"}, "builder.id.hermetic", "verifiers cannot distinguish hermetic runs"),
        ({"execution.report": "false", "execution.redaction.arguments": "x"}, "execution.redaction.arguments", "execution.report is false"),
        ({"execution.redaction.arguments": "("}, "execution.redaction.arguments", "expected a regular expression, got '('"),
    ],
)  # fmt: skip
def test_lint_tells_what_is_wrong_with_our_keys(data: Json, key: str, words: str) -> None:
    assert [words in problem.message for problem in lint_config(data) if problem.key == key] == [True]
    assert not [one for one in lint_config({"builder.id.hermetic": "urn:h"}) if one.key.startswith("builder")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


def places(value: Json, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


RICH = objects("injected-container")["Pod"]
PLACES = places(RICH)[1:]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=3), st.booleans())
def test_no_pod_whatever_its_shape_fails_the_provenance(
    changes: list[tuple[Any, Json]], vouched: bool
) -> None:
    run, pod = good()[0], copy.deepcopy(RICH)
    for path, value in changes:
        place = pod
        for key in path[:-1]:
            place = place[key] if isinstance(place, dict | list) and _has(place, key) else {}
        if isinstance(place, dict | list) and _has(place, path[-1]):
            place[path[-1]] = value
    policy = {"spec": pod.get("spec"), "metadata": pod.get("metadata")}
    surroundings = parse_surroundings(pod=pod, policies=(policy,), runtime_class=pod)
    config = parse_config({"execution.network-policies.enforced": str(vouched).lower()})
    payloads = build_payloads(take_snapshot(run), config, {LABEL: surroundings})
    report = next(payload for payload in payloads if payload.kind == EXECUTION_REPORT)
    assert hermetic_level(parse_statement(report.statement)) in LEVELS


def _has(place: Json, key: Any) -> bool:
    return key in place if isinstance(place, dict) else isinstance(key, int) and key < len(place)

"""What is told of each container and of a whole run: its image, its part, and what keeps it from more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chains.isolation.judgement import ChildLevel, ContainerIsolation, Isolation, judge_isolation
from chains.tekton.container import parse_container
from chains.tekton.pod import parse_pod
from chains.tekton.snapshot import ChildGap, RunSnapshot, take_snapshot
from chains.tekton.surroundings import parse_runtime_class, parse_surroundings
from tests.faults.hermetic import objects
from tests.owners import owned, task_reference

Json = Any
LABEL = "taskrun/ci/build"
MODE = "experimental.tekton.dev/execution-mode"
IMAGE = "registry.example.com/mirror/golang@sha256:" + "1f" * 32
OTHER = "registry.example.com/other@sha256:" + "2f" * 32
DENY: Json = {
    "metadata": {"name": "none", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1},
    "spec": {"podSelector": {}, "policyTypes": ["Egress", "Ingress"]},
}


def good() -> tuple[Json, Json]:
    found = objects("nothing-wrong")
    return found["TaskRun"], found["Pod"]


def judged(run: Json, pod: Json = None, **more: Json) -> Isolation:
    return judge_isolation(take_snapshot(run), {LABEL: parse_surroundings(pod=pod, **more)})


def step_of(run: Json, pod: Json = None, **more: Json) -> ContainerIsolation:
    return judged(run, pod, **more).containers[0]


def parent(run: Json, *gaps: ChildGap, annotations: Json = None) -> RunSnapshot:
    """Return a PipelineRun with that one child, and what is missing or in doubt."""
    run["metadata"]["ownerReferences"] = owned("p-uid")
    raw = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ci", "uid": "p-uid"}
        | {"annotations": {MODE: "hermetic"} if annotations is None else annotations},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True"}],
            "childReferences": [task_reference("build")],
        },
    }
    return replace(take_snapshot(raw, {("TaskRun", "ci", "build"): run}), gaps=gaps)


def test_policies_close_a_network_only_where_the_caller_vouches_for_them() -> None:
    run, pod = good()
    pod["spec"]["containers"][0]["env"] = []
    surroundings = {LABEL: parse_surroundings(pod=pod, policies=(DENY,))}
    snapshot = take_snapshot(run)
    assert judge_isolation(snapshot, surroundings).level == "unknown"
    assert judge_isolation(snapshot, surroundings, policies_vouched=False).level == "unknown"
    assert judge_isolation(snapshot, surroundings, policies_vouched=True).level == "enforced"
    pipeline = parent(run)
    assert judge_isolation(pipeline, surroundings).level == "unknown"
    assert judge_isolation(pipeline, surroundings, policies_vouched=True).level == "enforced"


def test_a_run_beside_which_nothing_stands_has_no_pod() -> None:
    run, pod = good()
    for surroundings in (None, {}, {"taskrun/ci/other": parse_surroundings(pod=pod)}):
        found = judge_isolation(take_snapshot(run), surroundings)
        assert (found.level, found.reason) == ("unknown", "step/compile: pod gone")
        assert (found.pod, found.network, found.runtime_class) == (None, None, None)
        children = judge_isolation(parent(run), surroundings)
        assert (children.level, children.reason) == ("unknown", "taskrun build: step/compile: pod gone")


def test_a_child_in_doubt_is_no_more_than_what_is_known_of_nothing() -> None:
    run, pod = good()
    uid = run["metadata"]["uid"]
    surroundings = {LABEL: parse_surroundings(pod=pod)}
    assert judge_isolation(parent(run), surroundings).children == (
        ChildLevel("TaskRun", "build", uid, "enforced", "no network for 1 of 1 containers"),
    )
    doubt = ChildGap("TaskRun", "build", "build", "it was put back", uid=uid)
    assert judge_isolation(parent(run, doubt), surroundings).children == (
        ChildLevel("TaskRun", "build", uid, "unknown", "in doubt: it was put back"),
    )
    unasked = judge_isolation(parent(run, doubt, annotations={}), surroundings)
    assert (unasked.level, unasked.reason) == ("not-requested", "taskrun build: in doubt: it was put back")
    # what is no better without the doubt has its own reason
    gone = judge_isolation(parent(run, doubt), {})
    assert (gone.level, gone.reason) == ("unknown", "taskrun build: step/compile: pod gone")
    others = ChildGap("TaskRun", "build", "build", "it was put back", uid="another")
    assert judge_isolation(parent(run, others), surroundings).level == "enforced"


def test_a_child_without_a_record_is_unknown_and_one_without_children_says_so() -> None:
    run, pod = good()
    gap = ChildGap("CustomRun", "approve", "approve", "no object of it was found")
    found = judge_isolation(parent(run, gap), {LABEL: parse_surroundings(pod=pod)})
    assert found.children[1] == ChildLevel(
        "CustomRun", "approve", "", "unknown", "no record: no object of it was found"
    )
    assert (found.level, found.reason) == (
        "unknown",
        "customrun approve: no record: no object of it was found",
    )
    alone = judge_isolation(replace(parent(run), children=(), gaps=()))
    assert (alone.level, alone.reason) == ("unknown", "the run has no children")


def test_what_an_answer_was_found_by_is_told_with_it() -> None:
    run, pod = good()
    sandbox = {"metadata": {"name": "safe"}, "handler": "runsc"}
    found = judged(run, pod, runtime_class=sandbox)
    assert (found.pod, found.runtime_class) == (parse_pod(pod), parse_runtime_class(sandbox))
    assert found.network is not None
    step = found.containers[0]
    assert step.placed is not None
    assert step.placed.container == parse_container(pod["spec"]["containers"][0])
    assert (step.observed.value, step.observed.reason) == ("true", "ran once, as the task asks")
    helper = found.containers[1]
    assert (helper.observed.value, helper.observed.reason) == ("true", "ran once, as tekton makes it")
    assert step_of(run).placed is None


def test_a_pod_that_is_too_large_to_be_judged_is_not_believed() -> None:
    run, pod = good()
    pod["spec"]["containers"] += [{"name": f"n{number}"} for number in range(250)]
    found = judged(run, pod)
    reason = "the pod has 252 containers, more than the 250 that are judged"
    assert (found.level, found.reason, found.pod) == ("unknown", f"step/compile: {reason}", None)


def test_the_image_is_the_one_that_ran_whether_the_pod_is_there_or_not() -> None:
    run, pod = good()
    assert step_of(run, pod).image == IMAGE
    assert step_of(run).image == IMAGE
    pod["status"]["containerStatuses"][0]["imageID"] = OTHER
    assert step_of(run, pod).image == OTHER, "the kubelet knows what ran"
    del pod["status"]["containerStatuses"][0]["imageID"]
    assert step_of(run, pod).image == IMAGE
    del run["status"]["steps"][0]["imageID"]
    assert step_of(run, pod).image == ""
    assert step_of(run).image == ""
    run["status"]["steps"] = []
    assert step_of(run).image == ""
    run, pod = good()
    pod["spec"]["containers"].append({"name": "injected"})
    assert [(one.kind, one.image) for one in judged(run, pod).containers][1:] == [
        ("init", "registry.example.com/tekton/entrypoint@sha256:" + "e" * 64),
        ("injected", ""),
    ]


def test_a_step_of_which_no_image_was_recorded_is_observed_all_the_same() -> None:
    run, pod = good()
    del run["status"]["steps"][0]["imageID"]
    assert step_of(run, pod).observed.value == "true"
    run["status"]["steps"][0]["imageID"] = OTHER
    assert step_of(run, pod).observed.reason == "the kubelet reports another image than the run's record"
    run["status"]["taskSpec"]["steps"][0]["name"] = "other"
    pod["spec"]["containers"][0]["name"] = "step-other"
    pod["status"]["containerStatuses"].append(pod["status"]["containerStatuses"][0] | {"name": "step-other"})
    assert step_of(run, pod).observed.value == "true"


def test_without_its_task_a_run_has_the_images_that_it_recorded_by_name() -> None:
    run, _ = good()
    del run["status"]["taskSpec"]
    run["status"]["steps"] = [{"imageID": "first"}, {"imageID": "second"}, {"name": "a", "imageID": "third"}]
    run["status"]["sidecars"] = [{"name": "a", "imageID": "fourth"}, {"imageID": "fifth"}]
    assert [(one.kind, one.name, one.image) for one in judged(run).containers] == [
        ("step", "", "first"),
        ("step", "", "first"),
        ("step", "a", "third"),
        ("sidecar", "a", "fourth"),
        ("sidecar", "", "fifth"),
    ]


STOPPED = "Sidecar container successfully stopped by nop image"


def with_sidecar(record: Json, reported: Json) -> tuple[Json, Json]:
    """Return a run with a sidecar of the step's name: what it recorded of it, and what the kubelet reports."""
    run, pod = good()
    run["status"]["taskSpec"]["sidecars"] = [{"name": "compile", "image": "d"}]
    run["status"]["sidecars"] = [
        {"name": "compile", "container": "sidecar-compile", "imageID": "d@1", **record}
    ]
    pod["spec"]["containers"].append({"name": "sidecar-compile", "image": "d"})
    pod["status"]["containerStatuses"].append({"name": "sidecar-compile", **reported})
    return run, pod


LATER = {"startedAt": "2026-01-02T03:09:35Z", "finishedAt": "2026-01-02T03:09:36Z"}


@pytest.mark.parametrize(
    ("record", "reported", "with_pod", "alone"),
    [
        # it ended by itself: both know what ran
        ({}, {"imageID": "d@1", "state": {"terminated": {"finishedAt": "2026-01-02T03:09:00Z"}}}, "d@1", "d@1"),
        ({}, {"imageID": "d@2", "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}, "d@2", "d@1"),
        # tekton stopped it: the kubelet reports the replacement, the run still what ran
        ({}, {"imageID": "nop", "state": {"terminated": LATER}}, "d@1", "d@1"),
        # and then wrote that over the record
        ({"imageID": "nop", "terminated": {"message": STOPPED, "exitCode": 0}}, {"imageID": "nop", "state": {"terminated": LATER}}, "", ""),
        ({"imageID": "nop", "terminated": {"message": STOPPED, "exitCode": 0}}, {"imageID": "d@1", "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}, "d@1", ""),
    ],
)  # fmt: skip
def test_the_image_by_which_tekton_stops_a_sidecar_is_never_told_as_the_one_that_ran(
    record: Json, reported: Json, with_pod: str, alone: str
) -> None:
    run, pod = with_sidecar(record, reported)
    for found, image in ((judged(run, pod), with_pod), (judged(run), alone)):
        assert [(one.kind, one.image) for one in found.containers[:2]] == [
            ("step", IMAGE),
            ("sidecar", image),
        ]


def test_a_step_that_is_not_isolated_says_why_though_it_has_not_ended_either() -> None:
    run, pod = good()
    pod["status"]["containerStatuses"][0]["state"] = {"running": {}}
    unended = step_of(run, pod).enforced
    assert (unended.value, unended.reason) == ("unknown", "the kubelet does not report that it ended")
    pod["spec"]["containers"][0]["command"] = ["sh"]
    isolated = step_of(run, pod).enforced
    assert isolated.value == "false"
    assert isolated.reason.startswith("the container does not run /tekton/bin/entrypoint; ")


@pytest.mark.parametrize("count", [5, 6, 7, 9])
def test_of_many_differences_six_are_named_and_the_others_counted(count: int) -> None:
    run, pod = good()
    names = [f"V{number}" for number in range(count)]
    pod["spec"]["containers"][0]["env"] += [{"name": name, "value": "x"} for name in names]
    named = ", ".join(f"variable {name} was added" for name in names[:6])
    more = f" and {count - 6} more" if count > 6 else ""
    observed = step_of(run, pod).observed
    assert (observed.value, observed.reason) == ("false", f"not as the task asks: {named}{more}")


@pytest.mark.parametrize(
    ("count", "value"), [(0, "true"), (1, "false"), ("1", "true"), (None, "true"), ([1], "true")]
)
def test_a_step_was_restarted_where_the_kubelet_counts_it(count: Json, value: str) -> None:
    run, pod = good()
    pod["status"]["containerStatuses"][0]["restartCount"] = count
    assert step_of(run, pod).observed.value == value
    del pod["status"]["containerStatuses"][0]["restartCount"]
    assert step_of(run, pod).observed.value == "true"

"""Whether the entrypoint is Tekton's own where a step finds it, and whose image decides whether it isolates."""

from __future__ import annotations

from typing import Any

import pytest

from chains.isolation.entrypoint import images_that_decide
from chains.isolation.finding import Finding
from chains.isolation.judgement import judge_isolation
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import parse_surroundings
from tests.faults.hermetic import objects

Json = Any
NOT_TEKTONS = "/tekton/bin is not the volume that tekton puts its entrypoint into"
IMAGE = "registry.example.com/mirror/golang@sha256:" + "1f" * 32
BIN = {"name": "tekton-internal-bin", "mountPath": "/tekton/bin", "readOnly": True}


def good() -> tuple[Json, Json]:
    found = objects("nothing-wrong")
    return found["TaskRun"], found["Pod"]


def entrypoint_of(run: Json, pod: Json) -> Finding:
    found = judge_isolation(take_snapshot(run), {"taskrun/ci/build": parse_surroundings(pod=pod)})
    assert found.containers[0].entrypoint is not None
    return found.containers[0].entrypoint


def with_mounts(*mounts: Json, volumes: Json = ()) -> Finding:
    """Return the answer for a step that has the entrypoint's volume and these."""
    run, pod = good()
    pod["spec"]["containers"][0]["volumeMounts"] = [BIN, *mounts]
    pod["spec"]["volumes"] += volumes
    return entrypoint_of(run, pod)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({}, "true"),
        ({"readOnly": False}, "unknown"),
        ({"subPath": "x"}, "unknown"),
        ({"subPathExpr": "$(A)"}, "unknown"),
        ({"name": "ws-1"}, "unknown"),
        ({"mountPath": "/tekton/bin/"}, "unknown"),
        ({"mountPath": "/tekton"}, "unknown"),
    ],
)
def test_the_binary_is_tektons_where_its_volume_lies_at_its_place_and_whole(change: Json, value: str) -> None:
    run, pod = good()
    pod["spec"]["containers"][0]["volumeMounts"] = [BIN | change]
    assert entrypoint_of(run, pod).value == value


@pytest.mark.parametrize(
    ("path", "is_over"),
    [
        ("/tekton/bin/x", True),
        ("tekton/bin", True),
        ("//tekton//bin/", True),
        ("/a/../tekton/bin/entrypoint", True),
        ("/tekton/binX", False),
        ("/Xtekton/bin", False),
        ("/x/tekton/bin", False),
        ("/tekton", False),
        ("/", False),
    ],
)
def test_what_is_mounted_at_the_entrypoints_folder_or_below_hides_it(path: str, is_over: bool) -> None:
    found = with_mounts({"name": "any", "mountPath": path})
    # a volume above the entrypoint's is one in which links may lie
    is_above = path in {"/tekton", "/"}
    assert (found.reason == NOT_TEKTONS) is is_over
    assert found.value == ("unknown" if is_over or is_above else "true")


@pytest.mark.parametrize(
    ("outer", "kind", "value"),
    [
        ("tekton-internal-home", "emptyDir", "true"),
        ("tekton-creds-init-home-9", "emptyDir", "true"),
        ("tekton-internal-other", "hostPath", "unknown"),
        ("scratch", "emptyDir", "unknown"),
        ("scratch", "persistentVolumeClaim", "unknown"),
        ("my-tekton-internal-home", "emptyDir", "unknown"),
    ],
)
def test_a_volume_in_another_is_where_it_seems_only_if_the_outer_one_began_empty_and_is_tektons(
    outer: str, kind: str, value: str
) -> None:
    inner = {"name": "inner", "mountPath": "/outer/inner"}
    found = with_mounts({"name": outer, "mountPath": "/outer"}, inner, volumes=[{"name": outer, kind: {}}])
    if kind == "hostPath":
        run, pod = good()
        pod["spec"]["containers"][0]["volumeMounts"] = [BIN, {"name": outer, "mountPath": "/outer"}, inner]
        pod["spec"]["volumes"].append({"name": outer, kind: {"path": "/x"}})
        found = entrypoint_of(run, pod)
    assert found.value == value
    if value == "unknown":
        assert found.reason == "a link may lead the volume at /outer/inner over /tekton/bin"


def test_a_container_may_change_the_binary_by_any_of_its_mounts() -> None:
    run, pod = good()
    other: Json = {
        "name": "other",
        "volumeMounts": [{"name": "x", "mountPath": "/x"}, BIN | {"readOnly": False}],
    }
    pod["spec"]["containers"].append(other)
    assert entrypoint_of(run, pod).reason == "injected/other can change the entrypoint's binary"
    other["volumeMounts"][1]["readOnly"] = True
    assert entrypoint_of(run, pod).value == "true"


def affine(key: str, operator: str, value: str) -> Json:
    terms = [{"matchExpressions": [{"key": key, "operator": operator, "values": [value]}]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


@pytest.mark.parametrize(
    ("key", "operator", "system", "value"),
    [
        ("kubernetes.io/os", "In", "windows", "false"),
        ("beta.kubernetes.io/os", "In", "windows", "false"),
        ("kubernetes.io/os", "In", "linux", "true"),
        ("kubernetes.io/os", "NotIn", "windows", "true"),
        ("pool", "In", "windows", "true"),
    ],
)
def test_a_pod_that_asks_for_a_node_with_windows_keeps_its_network(
    key: str, operator: str, system: str, value: str
) -> None:
    run, pod = good()
    pod["spec"]["affinity"] = affine(key, operator, system)
    assert entrypoint_of(run, pod).value == value


def test_the_images_that_decide_are_those_of_hermetic_steps_of_a_pod_that_is_believed() -> None:
    run, pod = good()

    def images() -> list[str]:
        return images_that_decide(take_snapshot(run), parse_surroundings(pod=pod))

    assert images() == [], "the pod sets the variable to nothing itself"
    pod["spec"]["containers"][0]["env"] = [{"name": "TEKTON_HERMETIC", "value": "1"}]
    assert images() == [IMAGE]
    assert images_that_decide(take_snapshot(run), parse_surroundings()) == []
    volumes = pod["spec"]["volumes"]
    pod["spec"]["volumes"] = [*volumes, *({"name": f"n{number}"} for number in range(500))]
    assert images() == [], "it is too large to be judged"
    pod["spec"]["volumes"] = volumes
    pod["metadata"]["labels"] = {}
    assert images() == [], "it is not the run's"

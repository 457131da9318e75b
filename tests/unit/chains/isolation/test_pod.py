"""Which pod is a run's own, what part each of its containers plays, and what leads out of one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from chains.isolation.expected_pod import Part
from chains.isolation.pod import Placed, asked_labels, missing, not_ended, unrecorded
from chains.isolation.pod import distrust as _distrust
from chains.isolation.pod import place as _place
from chains.isolation.pod import too_large as _too_large
from chains.isolation.pod import way_out as _way_out
from chains.tekton.container import NO_STATUS, parse_container
from chains.tekton.pod import parse_pod
from chains.tekton.snapshot import RunSnapshot, take_snapshot

Json = Any
UID = "6f4a2c1e"
BEGAN, ENDED = "2026-01-02T03:04:05Z", "2026-01-02T03:09:05Z"
OF_ANOTHER = "container step-a of the pod is not the one that the run recorded"
NO_CONTAINER = "the run recorded no container, so nothing ties a pod to it"


def distrust(run: RunSnapshot, pod: Json) -> str:
    return _distrust(run, parse_pod(pod))


def place(run: RunSnapshot, pod: Json) -> list[Placed]:
    return _place(run, parse_pod(pod))


def too_large(pod: Json) -> str:
    return _too_large(parse_pod(pod))


def way_out(container: Json, pod: Json) -> str:
    return _way_out(parse_container(container), parse_pod(pod))


def end(container: str, **more: Json) -> Json:
    return {"containerID": container, "exitCode": 0, "reason": "Completed", "finishedAt": ENDED, **more}


def raw_run(**status: Json) -> Json:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": "build", "namespace": "ci", "uid": UID, "labels": {"app": "shop"}},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}],
            "podName": "build-pod",
            "completionTime": ENDED,
            "steps": [{"name": "a", "container": "step-a", "terminated": end("c1")}],
            "taskSpec": {"steps": [{"name": "a", "image": "i"}], "sidecars": [{"name": "db", "image": "d"}]},
        }
        | status,
    }


def run_of(**status: Json) -> RunSnapshot:
    return take_snapshot(raw_run(**status))


def pod_of(*, metadata: Json = None, spec: Json = None, status: Json = None) -> Json:
    return {
        "metadata": {
            "name": "build-pod",
            "namespace": "ci",
            "creationTimestamp": BEGAN,
            "labels": {"tekton.dev/taskRun": "build", "tekton.dev/taskRunUID": UID},
            "ownerReferences": [{"kind": "TaskRun", "uid": UID}],
        }
        | (metadata or {}),
        "spec": {"containers": [{"name": "step-a"}, {"name": "sidecar-db"}]} | (spec or {}),
        "status": {"containerStatuses": [{"name": "step-a", "containerID": "c1"}]} | (status or {}),
    }


OWN = {"kind": "TaskRun", "uid": UID}
NAMED = {"tekton.dev/taskRun": "build"}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, ""),
        ({"name": "other"}, "the pod is ci/other, not the one that the run names"),
        ({"namespace": "other"}, "the pod is other/build-pod, not the one that the run names"),
        ({"namespace": ""}, "the pod is default/build-pod, not the one that the run names"),
        ({"ownerReferences": []}, "the pod belongs to another owner than this run"),
        ({"ownerReferences": [OWN | {"uid": "x"}]}, "the pod belongs to another owner than this run"),
        ({"ownerReferences": [OWN, OWN | {"uid": "x"}]}, "the pod belongs to another owner than this run"),
        ({"ownerReferences": [OWN | {"kind": "Pod"}]}, "the pod belongs to another owner than this run"),
        ({"ownerReferences": [{"kind": "Node", "uid": "n"}, OWN]}, ""),
        ({"labels": {}}, "the pod's labels name another run"),
        ({"labels": {"tekton.dev/taskRun": "other", "tekton.dev/taskRunUID": UID}}, "the pod's labels name another run"),
        ({"labels": NAMED | {"tekton.dev/taskRunUID": "x"}}, "the pod's labels name another run"),
        ({"labels": NAMED}, ""),
        ({"creationTimestamp": ENDED}, ""),
        ({"creationTimestamp": "2026-01-02T03:09:06Z"}, "the pod was created after the run had ended"),
        ({"creationTimestamp": "?"}, ""),
    ],
)  # fmt: skip
def test_a_pod_is_the_runs_by_name_owner_labels_and_time(metadata: Json, reason: str) -> None:
    assert distrust(run_of(), pod_of(metadata=metadata)) == reason


def test_a_pod_without_a_namespace_is_of_the_default_one() -> None:
    raw = raw_run()
    raw["metadata"]["namespace"] = "default"
    pod = pod_of()
    del pod["metadata"]["namespace"]
    assert distrust(take_snapshot(raw), pod) == ""


def test_a_run_without_a_uid_or_an_end_has_what_it_has() -> None:
    raw = raw_run()
    del raw["metadata"]["uid"]
    unowned = pod_of(metadata={"ownerReferences": [{"kind": "TaskRun"}]})
    assert (
        distrust(take_snapshot(raw), unowned)
        == "the run has no uid that its pod's owner could be compared with"
    )
    raw = raw_run()
    del raw["status"]["completionTime"]
    assert distrust(take_snapshot(raw), pod_of(metadata={"creationTimestamp": "2027-01-01T00:00:00Z"})) == ""
    raw = raw_run()
    del raw["status"]["podName"]
    assert distrust(take_snapshot(raw), pod_of()) == "the pod is ci/build-pod, not the one that the run names"


@pytest.mark.parametrize(
    ("steps", "states", "reason"),
    [
        ([{"name": "a", "terminated": end("c1")}], [{"name": "step-a", "containerID": "c1"}], ""),
        ([{"name": "a", "running": {"startedAt": BEGAN}}], [{"name": "step-a", "containerID": "c1"}], NO_CONTAINER),
        ([{"name": "a", "terminated": end("c1")}], [{"name": "step-a", "state": {"terminated": end("c1")}}], ""),
        ([{"name": "a", "terminated": end("c1")}], [{"name": "step-a", "state": {"terminated": end("c2")}}], OF_ANOTHER),
        ([{"name": "a", "terminated": end("c1")}], [{"name": "step-a", "containerID": "c2", "state": {"terminated": end("c1")}}], OF_ANOTHER),
        ([{"name": "a", "terminated": end("c1")}], [{"name": "step-b", "containerID": "c1"}], OF_ANOTHER),
        ([{"name": "a", "terminated": end("c1")}], [], OF_ANOTHER),
        ([{"name": "b", "container": "step-a", "terminated": end("c1")}], [{"name": "step-a", "containerID": "c1"}], ""),
        ([{"name": "b", "container": "step-a", "terminated": end("c1")}], [{"name": "step-b", "containerID": "c1"}], OF_ANOTHER),
        ([{"name": "a"}], [{"name": "step-a", "containerID": "c1"}], NO_CONTAINER),
        ([], [{"name": "step-a", "containerID": "c1"}], NO_CONTAINER),
        ([{"name": "z"}, {"name": "a", "terminated": end("c1")}], [{"name": "step-a", "containerID": "c1"}], ""),
        ([{"name": "z", "terminated": end("c0")}, {"name": "a", "terminated": end("c1")}], [{"name": "step-z", "containerID": "c0"}, {"name": "step-a", "containerID": "c2"}], OF_ANOTHER),
    ],
)  # fmt: skip
def test_a_pod_is_tied_to_its_run_by_the_ids_of_containers(steps: Json, states: Json, reason: str) -> None:
    assert distrust(run_of(steps=steps), pod_of(status={"containerStatuses": states})) == reason


@pytest.mark.parametrize("field", ["initContainers", "containers", "ephemeralContainers"])
def test_a_pod_with_more_containers_or_mounts_than_can_be_compared_is_too_large(field: str) -> None:
    def sized(count: int, mounts: int = 0) -> Json:
        return {"spec": {field: [{"name": f"n{one}", "volumeMounts": [{}] * mounts} for one in range(count)]}}

    assert too_large(sized(250)) == ""
    assert too_large(sized(251)) == "the pod has 251 containers, more than the 250 that are judged"
    assert too_large(sized(2, 100)) == ""
    assert too_large(sized(2, 101)) == "container n0 has 101 volume mounts, more than the 100 that are judged"


def test_containers_of_all_kinds_and_volumes_are_counted() -> None:
    assert too_large({}) == ""
    mixed = {"initContainers": [{}] * 100, "containers": [{}] * 100, "ephemeralContainers": [{}] * 51}
    assert too_large({"spec": mixed}) == "the pod has 251 containers, more than the 250 that are judged"
    assert too_large({"spec": {"volumes": [{}] * 500}}) == ""
    assert (
        too_large({"spec": {"volumes": [{}] * 501}})
        == "the pod has 501 volumes, more than the 500 that are judged"
    )


def test_a_run_asks_for_its_labels_and_tektons() -> None:
    own = {"tekton.dev/taskRun": "build", "tekton.dev/taskRunUID": UID}
    assert asked_labels(run_of()) == {"app": "shop", **own}
    raw = raw_run()
    raw["metadata"]["labels"] = {"tekton.dev/taskRun": "forged", "tekton.dev/taskRunUID": "forged"}
    assert asked_labels(take_snapshot(raw)) == own
    del raw["metadata"]["labels"]
    assert asked_labels(take_snapshot(raw)) == own


ENDED_BY_TEKTON = (
    "tekton ended the run before its steps had ended, and recorded no container that would tie a pod to it"
)
CANCELLED = [{"type": "Succeeded", "status": "False", "reason": "TaskRunCancelled"}]
ENDS = {"name": "a", "terminated": {"exitCode": 1, "reason": "TaskRunCancelled"}}


@pytest.mark.parametrize(
    ("conditions", "steps", "reason"),
    [
        (CANCELLED, [ENDS], ENDED_BY_TEKTON),
        (CANCELLED, [{"name": "z"}, ENDS], ENDED_BY_TEKTON),
        (CANCELLED, [ENDS, {"name": "b", "terminated": end("c2")}], ""),
        (CANCELLED, [{"name": "a", "terminated": {"exitCode": 1, "reason": "Error"}}], ""),
        (CANCELLED, [{"name": "a"}], ""),
        (CANCELLED, [], ""),
        ([{"type": "Succeeded", "status": "True", "reason": "TaskRunCancelled"}], [ENDS], ""),
        ([{"type": "Succeeded", "status": "False", "reason": ""}], [{"name": "a", "terminated": {"exitCode": 1, "reason": ""}}], ""),
        ([{"type": "Succeeded", "status": "False"}], [{"name": "a", "terminated": {"exitCode": 1}}], ""),
    ],
)  # fmt: skip
def test_a_run_that_tekton_ended_says_so_in_its_steps(conditions: Json, steps: Json, reason: str) -> None:
    assert unrecorded(run_of(conditions=conditions, steps=steps)) == reason


UNRECORDED_END = "the run does not record that it ended by itself"
UNREPORTED_END = "the kubelet does not report that it ended"


@pytest.mark.parametrize(
    ("steps", "state", "reason"),
    [
        ([{"name": "a", "terminated": end("c1")}], {"terminated": end("c1")}, ""),
        ([{"name": "a", "terminated": end("c1")}], {"running": {}}, UNREPORTED_END),
        ([{"name": "a", "terminated": end("c1")}], {}, UNREPORTED_END),
        ([{"name": "a", "terminated": {"exitCode": 0}}], {"terminated": end("c1")}, UNRECORDED_END),
        ([{"name": "a", "running": {"containerID": "c1"}}], {"terminated": end("c1")}, UNRECORDED_END),
        ([{"name": "b", "terminated": end("c1")}], {"terminated": end("c1")}, UNRECORDED_END),
        ([{"terminated": end("c1")}], {"terminated": end("c1")}, UNRECORDED_END),
        ([{"name": "b"}, {"name": "a", "terminated": end("c1")}], {"terminated": end("c1")}, ""),
        ([], {"terminated": end("c1")}, UNRECORDED_END),
    ],
)
def test_a_step_has_ended_where_both_the_record_and_the_kubelet_say_so(
    steps: Json, state: Json, reason: str
) -> None:
    pod = pod_of(status={"containerStatuses": [{"name": "step-a", "state": state}]})
    step = place(run_of(), pod)[0]
    assert (step.kind, step.name) == (Part.STEP, "a")
    assert not_ended(run_of(steps=steps), step) == reason


def parts(pod: Json, run: RunSnapshot | None = None) -> list[tuple[str, str, bool, bool]]:
    """Return kind, name, whether it is Tekton's own, whether it was stopped, of each container."""
    found = place(run or run_of(), pod)
    return [(one.kind, one.name, one.is_tektons_own, one.is_stopped) for one in found]


PREPARE = {
    "name": "prepare",
    "command": ["/ko-app/entrypoint", "init", "/ko-app/entrypoint", "/tekton/bin/entrypoint"],
}
FOLDERS = {"name": "working-dir-initializer", "command": ["/ko-app/workingdirinit"]}


def test_containers_come_in_the_tasks_order_and_all_others_by_place() -> None:
    spec = {
        "ephemeralContainers": [{"name": "debug"}],
        "containers": [{"name": "x"}, {"name": "sidecar-db"}, FOLDERS, {"name": "step-a"}],
        "initContainers": [{"name": "y"}, PREPARE],
    }
    found = place(run_of(), pod_of(spec=spec))
    assert [(one.kind, one.name, one.is_tektons_own) for one in found] == [
        (Part.STEP, "a", False),
        (Part.SIDECAR, "db", False),
        (Part.INJECTED, "y", False),
        (Part.INIT, "prepare", True),
        (Part.INJECTED, "x", False),
        (Part.SIDECAR, "working-dir-initializer", True),
        (Part.EPHEMERAL, "debug", False),
    ]
    assert [one.expected.container if one.expected else "" for one in found] == [
        "step-a", "sidecar-db", "", "", "", "", "",
    ]  # fmt: skip
    assert [one.container.name for one in found][:2] == ["step-a", "sidecar-db"]
    assert missing(run_of(), found) == []


def test_a_container_counts_as_the_tasks_once_and_only_where_tekton_puts_it() -> None:
    twice = pod_of(spec={"containers": [{"name": "step-a", "image": "1"}, {"name": "step-a", "image": "2"}]})
    found = place(run_of(), twice)
    assert [(one.kind, one.name, one.container.image) for one in found] == [
        (Part.STEP, "a", "1"),
        (Part.INJECTED, "step-a", "2"),
    ]
    assert [one.container for one in missing(run_of(), found)] == ["sidecar-db"]
    for field in ("initContainers", "ephemeralContainers"):
        for policy in ("Always", "Never"):
            there = [{"name": name, "restartPolicy": policy} for name in ("step-a", "sidecar-db")]
            kinds = [one[0] for one in parts(pod_of(spec={"containers": [], field: there}))]
            if field == "ephemeralContainers":
                assert kinds == [Part.EPHEMERAL, Part.EPHEMERAL]
            else:
                assert kinds == (
                    [Part.SIDECAR, Part.INJECTED] if policy == "Always" else [Part.INJECTED, Part.INJECTED]
                )
    assert [one.container for one in missing(run_of(), place(run_of(), {}))] == ["step-a", "sidecar-db"]


def test_what_the_kubelet_reports_belongs_to_the_container_of_that_name() -> None:
    spec = {"initContainers": [PREPARE], "ephemeralContainers": [{"name": "debug"}]}
    status = {
        "initContainerStatuses": [{"name": "prepare", "restartCount": 1}],
        "containerStatuses": [
            {"name": "sidecar-db", "restartCount": 2},
            {"name": "step-a", "restartCount": 3},
        ],
        "ephemeralContainerStatuses": [{"name": "debug", "restartCount": 4}],
    }
    found = {one.name: one.status.restarts for one in place(run_of(), pod_of(spec=spec, status=status))}
    assert found == {"a": 3, "db": 2, "prepare": 1, "debug": 4}
    assert [one.status for one in place(run_of(), pod_of(status={"containerStatuses": []}))] == [
        NO_STATUS
    ] * 2


@pytest.mark.parametrize("method", ["sidecar-logs", "termination-message"])
def test_the_reader_of_results_is_tektons_only_where_the_run_says_that_tekton_adds_it(method: str) -> None:
    reader = {
        "name": "sidecar-tekton-log-results",
        "command": ["/ko-app/sidecarlogresults"],
        "env": [{"name": "SIDECAR_LOG_POLLING_INTERVAL"}],
    }
    run = run_of(provenance={"featureFlags": {"resultExtractionMethod": method}})
    (found,) = [
        one for one in place(run, pod_of(spec={"containers": [reader]})) if one.name == reader["name"]
    ]
    expected = (Part.SIDECAR, True) if method == "sidecar-logs" else (Part.INJECTED, False)
    assert (found.kind, found.is_tektons_own) == expected


LATER = "2026-01-02T03:09:06Z"


@pytest.mark.parametrize(
    ("state", "last", "stopped"),
    [
        ({"running": {"startedAt": LATER}}, {}, True),
        ({"running": {"startedAt": ENDED}}, {}, False),
        ({"terminated": {"startedAt": LATER, "finishedAt": LATER}}, {}, True),
        ({"terminated": {"startedAt": BEGAN, "finishedAt": LATER}}, {}, False),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"startedAt": BEGAN}}, True),
        ({"waiting": {"reason": "ContainerCreating"}}, {}, False),
        ({"waiting": {"reason": "ContainerCreating"}}, {"running": {"startedAt": BEGAN}}, False),
        ({"running": {"startedAt": BEGAN}}, {"terminated": {"startedAt": BEGAN}}, False),
        ({}, {"terminated": {"startedAt": BEGAN}}, False),
    ],
)
def test_what_began_anew_after_the_run_is_tektons_replacement_and_no_step_ever_is(
    state: Json, last: Json, stopped: bool
) -> None:
    states = [
        {"name": name, "state": state, "lastState": last} for name in ("step-a", "sidecar-db", "x", "native")
    ]
    spec = {
        "containers": [{"name": "step-a"}, {"name": "sidecar-db"}, {"name": "x"}],
        "initContainers": [{"name": "native"}],
    }
    pod = pod_of(spec=spec, status={"containerStatuses": states})
    assert {name: is_stopped for _, name, _, is_stopped in parts(pod)} == {
        "a": False, "db": stopped, "x": stopped, "native": False,
    }  # fmt: skip
    unended = raw_run()
    del unended["status"]["completionTime"]
    waits = "waiting" in state and "terminated" in last
    assert parts(pod, take_snapshot(unended))[1][3] is waits, (
        "only what ended before can be told without an end"
    )


CAPABILITIES = [
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "KILL", "MKNOD", "NET_ADMIN",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    "SYS_NICE", "SYS_RESOURCE",
]  # fmt: skip
MASKED = "its /proc is not masked, so it may set what the node's kernel runs"
ALONE = "the container is privileged, so it may leave its namespaces"


@pytest.mark.parametrize(
    ("container", "spec", "way"),
    [
        ({}, {}, ""),
        ({"securityContext": {"privileged": True}}, {}, ALONE),
        ({"securityContext": {"privileged": False}}, {}, ""),
        ({"securityContext": {"capabilities": {"add": CAPABILITIES}}}, {}, ""),
        ({"securityContext": {"capabilities": {"add": [f"CAP_{name}".lower() for name in CAPABILITIES]}}}, {}, ""),
        ({"securityContext": {"capabilities": {"add": ["SYS_PTRACE", "BPF"]}}}, {}, "with the capability BPF the container may leave its namespaces"),
        ({"securityContext": {"capabilities": {"add": ["cap_sys_admin", "CHOWN"]}}}, {}, "with the capability SYS_ADMIN the container may leave its namespaces"),
        ({"securityContext": {"capabilities": {"add": ["ALL"]}}}, {}, "with the capability ALL the container may leave its namespaces"),
        ({"securityContext": {"capabilities": {"drop": ["SYS_ADMIN"]}}}, {}, ""),
        ({"securityContext": {"procMount": "Default"}}, {}, ""),
        ({"securityContext": {"procMount": "Unmasked"}}, {}, MASKED),
        ({}, {"hostPID": True}, "with hostPID the container may use processes that have a network"),
        ({}, {"hostIPC": True}, "with hostIPC the container may use processes that have a network"),
        ({}, {"hostPID": False, "hostIPC": False, "hostUsers": True}, ""),
        ({"volumeDevices": [{"name": "disk"}]}, {}, "it was given the device disk, which may lead outside"),
        ({"resources": {"claims": [{"name": "nic"}]}}, {}, "it was given the resource claim nic, which may lead outside"),
        ({"resources": {"limits": {"rdma/hca": "1"}}}, {}, "it was given the node's rdma/hca, which may lead outside"),
        ({"resources": {"requests": {"intel.com/sriov": "1"}}}, {}, "it was given the node's intel.com/sriov, which may lead outside"),
        ({"resources": {"limits": {"kubernetes.io/x": "1", "batch.kubernetes.io/x": "1", "cpu": "1"}}}, {}, ""),
        ({"resources": {"limits": {"notkubernetes.io/x": "1"}}}, {}, "it was given the node's notkubernetes.io/x, which may lead outside"),
        ({"resources": {"limits": {"kubernetes.io.evil/x": "1"}}}, {}, "it was given the node's kubernetes.io.evil/x, which may lead outside"),
        ({"resources": {"limits": {"evil.example/x.kubernetes.io/y": "1"}}}, {}, "it was given the node's evil.example/x.kubernetes.io/y, which may lead outside"),
        ({"volumeMounts": [{"name": "h"}]}, {"volumes": [{"name": "h", "hostPath": {"path": "/run"}}]}, "the host's /run is mounted, and a socket in it may lead outside"),
        ({"volumeMounts": [{"name": "e"}]}, {"volumes": [{"name": "h", "hostPath": {"path": "/run"}}, {"name": "e", "emptyDir": {}}]}, ""),
        ({"volumeMounts": [{"name": "e"}, {"name": "h"}]}, {"volumes": [{"name": "e", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/run"}}]}, "the host's /run is mounted, and a socket in it may lead outside"),
        ({"securityContext": {"privileged": True, "procMount": "Unmasked"}}, {"hostPID": True}, ALONE),
        ({"securityContext": {"procMount": "Unmasked"}}, {"hostPID": True}, MASKED),
    ],
)  # fmt: skip
def test_whatever_may_lead_past_a_missing_network_is_named(container: Json, spec: Json, way: str) -> None:
    assert way_out(container, {"spec": spec}) == way
    before = copy.deepcopy(container)
    assert way_out(before, {"spec": spec}) == way
    assert before == container

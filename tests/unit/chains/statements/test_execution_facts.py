"""What auditors ask about a run and its pod is in the report, and what is not set is not."""

from __future__ import annotations

import json
from typing import Any

from chains.attest.payloads import EXECUTION_REPORT, build_payloads
from chains.config.parse import parse_config
from chains.statements.execution_facts import ordered
from chains.tekton.late_changes import STOPPED
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import parse_surroundings
from tests.faults.hermetic import objects

Json = Any


def facts(run: Json, pod: Json = None, **surroundings: Json) -> dict[str, Json]:
    """Return the facts of a report, by attribute and target."""
    label = "taskrun/ci/build"
    payloads = build_payloads(
        take_snapshot(run), parse_config({}), {label: parse_surroundings(pod=pod, **surroundings)}
    )
    report = next(payload for payload in payloads if payload.kind == EXECUTION_REPORT)
    return {
        f"{found['attribute']} {found['target']['name']}": found["conditions"]
        for found in json.loads(report.statement)["predicate"]["attributes"]
        if found["attribute"].endswith("_FACTS")
    }


def test_the_runs_own_facts_are_told_without_its_pod() -> None:
    run = objects("nothing-wrong")["TaskRun"]
    run["metadata"]["labels"] |= {
        "triggers.tekton.dev/eventlistener": "push",
        "triggers.tekton.dev/trigger": "github",
        "triggers.tekton.dev/triggers-eventid": "e-1",
        "pipelinesascode.tekton.dev/sender": "jane",
    }
    run["metadata"]["annotations"] |= {
        "pipeline.openshift.io/started-by": "kube:admin",
        "pipeline.tekton.dev/release": "v1.15.0",
    }
    run["metadata"]["ownerReferences"] = [
        {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "p", "uid": "p-uid"}
    ]
    run["spec"]["workspaces"] = [
        {"name": "source", "persistentVolumeClaim": {"claimName": "sources"}, "subPath": "app"},
        {"name": "cache", "emptyDir": {}},
        {"name": "scratch", "volumeClaimTemplate": {"spec": {}}},
        {"name": "keys", "secret": {"secretName": "signing"}},
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "csi", "csi": {"driver": "csi.example.com"}},
    ]
    run["spec"]["podTemplate"] |= {
        "hostNetwork": True,
        "volumes": [{"name": "x", "hostPath": {"path": "/x"}}],
        "nodeSelector": {"b": "2", "a": "1"},
    }
    run["status"]["retriesStatus"] = [{"podName": "build-pod-first"}]
    assert facts(run) == {
        "RUN_FACTS taskrun/ci/build": {
            "workspaces": [
                {"name": "source", "type": "persistentVolumeClaim", "source": "sources", "subPath": "app"},
                {"name": "cache", "type": "emptyDir"},
                {"name": "scratch", "type": "volumeClaimTemplate"},
                {"name": "keys", "type": "secret", "source": "signing"},
                {"name": "settings", "type": "configMap", "source": "settings"},
                {"name": "csi", "type": "csi", "source": "csi.example.com"},
            ],
            "podTemplate": {
                "env": [{"name": "TEKTON_RESOURCE_NAME", "redacted": True}],
                "hostNetwork": True,
                "nodeSelector": {"a": "1", "b": "2"},
                "volumes": [{"name": "x", "kind": "hostPath", "source": "/x"}],
            },
            "trigger": {"eventListener": "push", "trigger": "github", "eventId": "e-1"},
            "createdBy": {"pipelinesascode.tekton.dev/sender": "jane", "pipeline.openshift.io/started-by": "kube:admin"},
            "owners": [{"kind": "PipelineRun", "name": "p", "uid": "p-uid"}],
            "earlierAttempts": ["build-pod-first"],
            "tektonRelease": "v1.15.0",
        }
    }  # fmt: skip


def test_the_pods_facts_are_told() -> None:
    found = objects("nothing-wrong")
    run, pod = found["TaskRun"], found["Pod"]
    pod["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/step-compile"] = (
        "runtime/default"
    )
    pod["spec"] |= {
        "automountServiceAccountToken": False,
        "nodeName": "node-2",
        "runtimeClassName": "sandboxed",
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "hostPID": True,
        "hostIPC": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 0},
    }
    pod["spec"]["volumes"] += [
        {"name": "host", "hostPath": {"path": "/run/x.sock", "type": "Socket"}},
        {
            "name": "token",
            "projected": {
                "sources": [
                    {
                        "serviceAccountToken": {
                            "path": "token",
                            "audience": "sigstore",
                            "expirationSeconds": 600,
                        }
                    },
                    {"configMap": {"name": "ca"}},
                ]
            },
        },
        {"name": "model", "image": {"reference": "r.example.com/model:1", "pullPolicy": "Always"}},
    ]
    runtime = {"metadata": {"name": "sandboxed"}, "handler": "runsc"}
    told = facts(run, pod, runtime_class=runtime)["POD_FACTS pod/ci/build-pod"]
    assert told == {
        "uid": "b7e1d9c0-52a4-4c6b-8f7a-3f1c5a9e2d44",
        "serviceAccountName": "builder",
        "automountServiceAccountToken": False,
        "nodeName": "node-2",
        "runtimeClassName": "sandboxed",
        "runtimeHandler": "runsc",
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "hostNamespaces": {"hostPID": True, "hostIPC": False},
        "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
        "appArmor": {"step-compile": "runtime/default"},
        "volumes": [
            {"name": "host", "kind": "hostPath", "source": "/run/x.sock", "type": "Socket"},
            {"name": "token", "kind": "projected"},
            {"name": "model", "kind": "image", "source": "r.example.com/model:1"},
        ],
        "tokenVolumes": [{"volume": "token", "audience": "sigstore", "expirationSeconds": 600}],
        "qosClass": "BestEffort",
        "startedOn": "2026-01-02T03:04:05Z",
    }


def test_a_containers_facts_are_told() -> None:
    found = objects("nothing-wrong")
    run, pod = found["TaskRun"], found["Pod"]
    step = run["status"]["taskSpec"]["steps"][0]
    step["image"] = "registry.example.com/mirror/golang:1.25"
    container = pod["spec"]["containers"][0]
    container |= {
        "image": "registry.example.com/mirror/golang:1.25",
        "securityContext": {"privileged": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"limits": {"memory": "1Gi"}},
        "envFrom": [{"prefix": "X_", "secretRef": {"name": "settings"}}],
    }
    told = facts(run, pod)["CONTAINER_FACTS step/compile"]
    assert told.pop("imageAsRun").startswith("registry.example.com/mirror/golang@sha256:1f1f")
    assert told.pop("containerId").startswith("containerd://")
    assert told == {
        "container": "step-compile",
        "imageAsWritten": "registry.example.com/mirror/golang:1.25",
        "imageInPod": "registry.example.com/mirror/golang:1.25",
        "imagePinned": False,
        "securityContext": {"capabilities": {"drop": ["ALL"]}, "privileged": False},
        "resources": {"limits": {"memory": "1Gi"}},
        "env": [
            {"name": "TEKTON_RESOURCE_NAME", "redacted": True},
            {"name": "TEKTON_HERMETIC", "value": "1"},
        ],
        "envFrom": [{"prefix": "X_", "secret": "settings"}],
        "commandLine": ["go", "build", "./cmd/app"],
        "volumeMounts": [{"name": "tekton-creds-init-home-0", "path": "/tekton/creds"}],
        "exitCode": 0,
        "endedAs": "Completed",
        "startedOn": "2026-01-02T03:04:05Z",
        "finishedOn": "2026-01-02T03:09:05Z",
        "restarts": 0,
    }


def test_an_image_pinned_by_digest_is_told() -> None:
    found = objects("nothing-wrong")
    told = facts(found["TaskRun"], found["Pod"])
    assert told["CONTAINER_FACTS step/compile"]["imagePinned"] is True
    assert "commandLine" not in told["CONTAINER_FACTS init/prepare"]


def test_a_pod_that_is_not_believed_gives_no_facts() -> None:
    found = objects("pod-of-another-run")
    assert [name.split()[0] for name in facts(found["TaskRun"], found["Pod"])] == ["RUN_FACTS"]


def test_equal_objects_in_another_order_give_the_same_bytes() -> None:
    def turned(value: Json) -> Json:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    found = objects("injected-container")
    run, pod = take_snapshot(found["TaskRun"]), found["Pod"]
    first = build_payloads(run, parse_config({}), {run.label: parse_surroundings(pod=pod)})
    again = build_payloads(run, parse_config({}), {run.label: parse_surroundings(pod=turned(pod))})
    assert [payload.statement for payload in first] == [payload.statement for payload in again]


def test_what_is_nested_deeper_than_any_field_is_left_out() -> None:
    deep: Json = "x"
    for _ in range(5000):
        deep = {"deeper": deep}
    assert json.dumps(ordered(deep)).count("deeper") == 16
    assert ordered([{"b": 1, "a": [2]}]) == [{"a": [2], "b": 1}]


def test_of_a_sidecar_that_tekton_stopped_the_replacement_is_told_nowhere() -> None:
    found = objects("sidecar-with-network")
    run, pod = found["TaskRun"], found["Pod"]
    (record,) = run["status"]["sidecars"]
    state = next(one for one in pod["status"]["containerStatuses"] if one["name"] == "sidecar-database")
    container = next(one for one in pod["spec"]["containers"] if one["name"] == "sidecar-database")
    own, ended = record["imageID"], record.pop("terminated")
    nop = "ghcr.io/tektoncd/pipeline/nop@sha256:" + "ea" * 32
    record["running"] = {"startedAt": ended["startedAt"]}
    began = ended["startedAt"]

    def report() -> tuple[Json, str]:
        payloads = build_payloads(
            take_snapshot(run), parse_config({}), {"taskrun/ci/build": parse_surroundings(pod=pod)}
        )
        statement = next(one for one in payloads if one.kind == EXECUTION_REPORT).statement.decode()
        return facts(run, pod)["CONTAINER_FACTS sidecar/database"], statement

    # the pod as it is a moment after the run's end: its image is changed, and the container still goes on
    container["image"], state["state"] = nop, {"running": {"startedAt": began}}
    told, statement = report()
    assert (told["imageInPod"], told["imageAsRun"]) == (state["image"], own)
    assert "stoppedBy" not in told
    assert nop not in statement

    # half a minute later; the record is the one of the run's end
    last = {**ended, "exitCode": 137, "finishedAt": "2026-01-02T03:09:35Z", "containerID": "containerd://own"}
    state |= {
        "image": nop, "imageID": nop, "restartCount": 1, "containerID": "containerd://nop", "lastState": {"terminated": last},
        "state": {"terminated": {"exitCode": 0, "startedAt": "2026-01-02T03:09:36Z", "containerID": "containerd://nop"}},
    }  # fmt: skip
    told, statement = report()
    assert told["stoppedBy"] == "tekton"
    assert (told["imageAsRun"], told["exitCode"], told["containerId"]) == (own, 137, "containerd://own")
    assert (told["startedOn"], told["finishedOn"]) == (began, "2026-01-02T03:09:35Z")
    assert "imageInPod" not in told
    assert nop not in statement

    # where the image has no program of the sidecar's command, and the kubelet has forgotten what ran
    failed = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}
    failed |= {"finishedAt": "2026-01-02T03:09:36Z", "containerID": "containerd://nop"}
    state |= {"lastState": {}, "state": {"terminated": failed}}
    told, statement = report()
    assert told["stoppedBy"] == "tekton"
    assert told["imageAsRun"] == own
    assert {"exitCode", "containerId", "startedOn", "imageInPod"}.isdisjoint(told)
    assert nop not in statement

    # and if the record is the replacement's too, nobody knows which image ran
    record |= {"imageID": nop, "terminated": {**last, "reason": "Completed", "message": STOPPED}}
    del record["running"]
    told, statement = report()
    assert "imageAsRun" not in told
    assert told["imageAsWritten"] != nop
    attributes = json.loads(statement)["predicate"]["attributes"]
    named = {one["attribute"] for one in attributes if nop in json.dumps(one["target"])}
    assert named == set()
    assert {one["attribute"] for one in attributes if nop in json.dumps(one)} == {
        "SIDECAR_STATE",
        "SIDECAR_REPLACED",
    }

"""Talks to ``tests/testbed/pods``: Tekton's own pod builder as a program."""

from __future__ import annotations

import copy
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

Json = Any
BEGAN, ENDED = "2026-01-02T03:04:05Z", "2026-01-02T03:09:05Z"
ALPHA = {"enable-api-fields": "alpha"}


@dataclass(frozen=True, slots=True)
class Built:
    """A TaskRun as Tekton's controller leaves it, and its pod as nodes leave it."""

    run: Json
    pod: Json


class PodBuilder:
    """The running program. It reads one request and writes one answer per line."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([str(binary)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def build(self, run: Json, *, flags: Json = None, defaults: Json = None, secrets: Json = None) -> Json:
        """Return ``{"run", "pod", "taskSpec", "featureFlags"}`` for a TaskRun with a ``taskSpec``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"run": run, "flags": flags or {}, "defaults": defaults or {}, "secrets": secrets or []}
        self._process.stdin.write(orjson.dumps(request) + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    def finished(self, run: Json, **options: Json) -> Built:
        """Return a run and its pod after every container succeeded, as far as tests need them."""
        answer = self.build(run, **options)
        return finish(answer["run"], answer["pod"], answer["taskSpec"], answer["featureFlags"])

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


def finish(run: Json, pod: Json, task: Json, flags: Json) -> Built:
    """Write the status that Tekton and the kubelet write when every container succeeded."""
    run, pod = copy.deepcopy(run), copy.deepcopy(pod)
    pod["metadata"] |= {"uid": "pod-uid", "creationTimestamp": BEGAN}
    pod["status"] = pod_status(pod)
    states = {state["name"]: state for state in pod["status"]["containerStatuses"]}
    natives = {state["name"]: state for state in pod["status"]["initContainerStatuses"]}
    steps = [_step_state(state) for name, state in states.items() if name.startswith("step-")]
    sidecars = [
        _step_state(state) for name, state in {**natives, **states}.items() if name.startswith("sidecar-")
    ]
    run["status"] = {
        "podName": pod["metadata"]["name"],
        "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}],
        "startTime": BEGAN,
        "completionTime": ENDED,
        "steps": steps,
        "taskSpec": task,
        "provenance": {"featureFlags": flags},
    } | ({"sidecars": sidecars} if sidecars else {})
    return Built(run, pod)


def pod_status(pod: Json) -> Json:
    """Return the status of a pod whose containers all succeeded."""
    spec = pod["spec"]
    return {
        "phase": "Succeeded",
        "startTime": BEGAN,
        "podIP": "10.0.0.7",
        "podIPs": [{"ip": "10.0.0.7"}],
        "qosClass": "BestEffort",
        "initContainerStatuses": [container_status(one) for one in spec.get("initContainers", [])],
        "containerStatuses": [container_status(one) for one in spec["containers"]],
    }


def container_status(container: Json) -> Json:
    """Return the status of a container that succeeded. Its ids depend on its name and image."""
    repository = container["image"].partition("@")[0].rpartition(":")
    name = (
        repository[0] if repository[0] and "/" not in repository[2] else container["image"].partition("@")[0]
    )
    digest = container["image"].partition("@sha256:")[2] or f"{sum(container['image'].encode()):064x}"
    identity = f"containerd://{sum(container['name'].encode()):064x}"
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"{name}@sha256:{digest}",
        "containerID": identity,
        "ready": False,
        "restartCount": 0,
        "lastState": {},
        "state": {
            "terminated": {
                "exitCode": 0,
                "reason": "Completed",
                "startedAt": BEGAN,
                "finishedAt": ENDED,
                "containerID": identity,
            }
        },
    }


def _step_state(state: Json) -> Json:
    kind, _, name = state["name"].partition("-")
    del kind
    return {
        "name": name,
        "container": state["name"],
        "imageID": state["imageID"],
        "terminated": state["state"]["terminated"],
    }

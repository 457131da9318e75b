"""One Pipeline with everything that Tekton's have, and what its evidence says of it beside what the node shows.

A matrix, finally, retries, when, a custom task, a sidecar, a StepAction, and all of it resolved from elsewhere: the
Pipeline and a Task from another namespace, another Task and the StepAction from a bundle in a registry.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.manifests import HERMETIC, REPORTED, SCAI, images_of, step, told, told_of_run, written
from tests.testbed.cluster import MERGE
from tests.testbed.cosign import Cosign
from tests.testbed.images import CONFIG, LAYER, MANIFEST, Registry, descriptor, digest_of
from tests.testbed.node.cluster import Node, has_ended, mark_of
from tests.testbed.node.images import push_shell

pytestmark = pytest.mark.server
Json = Any
PROVENANCE = "https://slsa.dev/provenance/v1"
TASK_OF_PIPELINE = "tekton.dev/pipelineTask"
HINTS = [{"name": "IMAGE_URL"}, {"name": "IMAGE_DIGEST"}]
APPEND = r"""
set -e
mkdir srv && echo "decided: $DECISION" > srv/app.txt && tar -cf layer.tar srv
pushed=$(crane append --base REGISTRY/busybox:1 --new_layer layer.tar --new_tag $IMAGE)
printf $IMAGE > $(step.results.IMAGE_URL.path)
printf ${pushed#*@} > $(step.results.IMAGE_DIGEST.path)
"""


def string(*names: str) -> list[Json]:
    """Return declarations of parameters."""
    return [{"name": name, "type": "string"} for name in names]


def values(**given: Json) -> list[Json]:
    """Return parameters or other pairs of a name and a value."""
    return [{"name": name, "value": value} for name, value in given.items()]


def kind(name: str, version: str, of: str, spec: Json) -> Json:
    return {"apiVersion": f"tekton.dev/{version}", "kind": of, "metadata": {"name": name}, "spec": spec}


def bundled(bundle: str) -> tuple[Json, Json]:
    """Return the StepAction and the Task of a bundle."""
    variables = [{"name": "IMAGE", "value": "$(params.image)"}, {"name": "DECISION", "value": "$(params.decision)"}]
    action = {
        "image": "REGISTRY/crane:1", "script": f"#!/bin/sh\n{APPEND}", "env": variables, "workingDir": "/workspace",
        "params": string("image", "decision"), "results": HINTS,
    }  # fmt: skip
    scan = {"steps": [step("scan", f"echo {bundle}")]}
    return kind("append", "v1beta1", "StepAction", action), kind("scan", "v1", "Task", scan)


def push_bundle(registry: Registry, name: str, *objects: Json) -> str:
    """Push a Tekton bundle, a layer for each object with its name as annotations, and return its digest."""
    layers, archives = [], []
    for each in objects:
        text = json.dumps(each).replace("REGISTRY", registry.host).encode()
        output = io.BytesIO()
        with tarfile.open(fileobj=output, mode="w") as archive:
            entry = tarfile.TarInfo(each["metadata"]["name"])
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
        archives.append(output.getvalue())
        layer = gzip.compress(archives[-1], mtime=0)
        registry.push_blob(name, layer)
        told = {
            "dev.tekton.image.apiVersion": each["apiVersion"].removeprefix("tekton.dev/"),
            "dev.tekton.image.kind": each["kind"].lower(),
            "dev.tekton.image.name": each["metadata"]["name"],
        }
        layers.append({**descriptor(LAYER, layer), "annotations": told})
    root = {"type": "layers", "diff_ids": [digest_of(archive) for archive in archives]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode()
    registry.push_blob(name, config)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config), "layers": layers}
    return registry.push_manifest(name, json.dumps(manifest).encode(), MANIFEST, "v1")


def of_bundle(bundle: str, kind: str, name: str) -> Json:
    return {"resolver": "bundles", "params": values(bundle=bundle, kind=kind, name=name)}


def of_cluster(namespace: str, kind: str, name: str) -> Json:
    return {"resolver": "cluster", "params": values(namespace=namespace, kind=kind, name=name)}


def pipeline(catalog: str, bundle: str) -> Json:
    """Return the Pipeline."""
    made = {"taskSpec": {"results": [{"name": "made"}]}}
    platform = made["taskSpec"] | {
        "params": string("os"), "steps": [step("make", "printf $(params.os) > $(results.made.path)")],
    }  # fmt: skip
    append = {
        "name": "append",
        "ref": of_bundle(bundle, "stepaction", "append"),
        "params": values(image="$(params.image)", decision="$(params.decision)"),
    }
    build = {
        "params": string("image", "decision"),
        "results": [
            {**hint, "type": "string", "value": f"$(steps.append.results.{hint['name']})"} for hint in HINTS
        ],
        "steps": [append],
        "sidecars": [{"name": "db", "image": "REGISTRY/breadth-db:1", "command": ["sleep", "600"]}],
    }
    decision = "$(tasks.approval.results.decision)"
    tasks = [
        {"name": "platform", "taskSpec": platform, "matrix": {"params": values(os=["linux", "plan9"])}},
        {
            "name": "flaky", "retries": 1,
            "taskSpec": {"steps": [step("only", "[ $(context.task.retry-count) -ge 1 ]")]},
        },
        {
            "name": "skipped", "taskSpec": {"steps": [step("never", "true")]},
            "when": [{"input": "yes", "operator": "in", "values": ["no"]}],
        },
        {
            "name": "approval", "taskRef": {"apiVersion": "tests.example/v1", "kind": "Approval", "name": "somebody"},
        },
        {
            "name": "build", "taskSpec": build, "params": values(image="$(params.image)", decision=decision),
        },
        {"name": "lint", "taskRef": of_cluster(catalog, "task", "lint")},
        {"name": "scan", "taskRef": of_bundle(bundle, "task", "scan"), "runAfter": ["platform"]},
    ]  # fmt: skip
    tidy = {"params": string("state"), "steps": [step("tidy", "echo $(params.state)")]}
    spec = {
        "params": string("image"), "tasks": tasks,
        "finally": [{"name": "tidy", "taskSpec": tidy, "params": values(state="$(tasks.status)")}],
        "results": [{**hint, "value": f"$(tasks.build.results.{hint['name']})"} for hint in HINTS],
    }  # fmt: skip
    return kind("everything", "v1", "Pipeline", spec)


@dataclass(frozen=True, slots=True)
class Breadth:
    """The PipelineRun when it was marked, and what there was of it on the node."""

    node: Node
    run: Json
    children: dict[str, list[Json]]
    """Its TaskRuns and CustomRuns by the name of their task."""
    bundle: str
    """The digest of the bundle."""
    db: str
    """The digest of the sidecar's image."""
    pods: dict[str, Json]
    """Every pod of the namespace, as the kubelet reports it."""

    @property
    def definition(self) -> Json:
        return self.statement["predicate"]["buildDefinition"]

    @property
    def statement(self) -> Json:
        return self.node.statements(self.run)[PROVENANCE]

    def child(self, task: str) -> Json:
        (found,) = self.children[task]
        return found


@pytest.fixture(scope="module")
def breadth(node: Node) -> Breadth:
    namespace, catalog = node.namespace("breadth"), node.namespace("breadth-catalog")
    db = push_shell(node.registry, "breadth-db", ["DB=1"])
    digest = push_bundle(node.registry, "breadth-bundle", *bundled("a bundle"))
    bundle = f"REGISTRY/breadth-bundle@{digest}"
    lint = kind("lint", "v1", "Task", {"steps": [step("lint", "true")]})
    node.apply(catalog, written(pipeline(catalog, bundle), lint))
    spec = {"pipelineRef": of_cluster(catalog, "pipeline", "everything"), "params": values(image="REGISTRY/breadth/app:v1")}
    with node.configured(REPORTED):
        node.apply(namespace, written(kind("run", "v1", "PipelineRun", spec)))
        approve(node, namespace)
        run = node.marked("PipelineRun", namespace, "run")
        children: dict[str, list[Json]] = {}
        for reference in run["status"]["childReferences"]:
            name = reference["name"]
            found = (
                node.marked("TaskRun", namespace, name)
                if reference["kind"] == "TaskRun"
                else node.api.request("GET", f"{customs(namespace)}/{name}")
            )
            children.setdefault(reference["pipelineTaskName"], []).append(found)
    pods = node.api.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return Breadth(node, run, children, digest, db, {pod["metadata"]["name"]: pod for pod in pods})


def customs(namespace: str) -> str:
    return f"/apis/tekton.dev/v1beta1/namespaces/{namespace}/customruns"


def approve(node: Node, namespace: str) -> None:
    """Do what a controller of custom tasks does, once: end the first CustomRun of its kind, with a result."""
    found: list[Json] = []

    def look() -> bool:
        found[:] = node.api.request("GET", customs(namespace))["items"]
        return bool(found)

    node.wait(look, "tekton asks for an approval")
    (run,) = found
    assert run["spec"]["customRef"] == {"apiVersion": "tests.example/v1", "kind": "Approval", "name": "somebody"}
    now = "2026-01-01T00:00:00Z"
    status = {
        "startTime": now, "completionTime": now, "results": values(decision="granted"),
        "conditions": [{"type": "Succeeded", "status": "True", "reason": "Approved", "lastTransitionTime": now}],
    }  # fmt: skip
    path = f"{customs(namespace)}/{run['metadata']['name']}/status"
    node.api.request("PATCH", path, {"status": status}, kind=MERGE)


def test_tekton_ran_all_of_it_and_everything_is_attested(breadth: Breadth) -> None:
    run = breadth.run
    assert run["status"]["conditions"][0]["reason"] == "Completed", run["status"]["conditions"]
    assert {name: len(found) for name, found in breadth.children.items()} == {
        "platform": 2, "flaky": 1, "approval": 1, "build": 1, "lint": 1, "scan": 1, "tidy": 1,
    }  # fmt: skip
    assert [each["name"] for each in run["status"]["skippedTasks"]] == ["skipped"]
    tasks = [each for found in breadth.children.values() for each in found if each["kind"] == "TaskRun"]
    assert {mark_of(each) for each in (run, *tasks)} == {"true"}


def test_x(breadth: Breadth) -> None:
    print(json.dumps(breadth.statement, indent=1))
    print(json.dumps(breadth.node.statements(breadth.run)[SCAI], indent=1))
    print(json.dumps(breadth.run, indent=1))
    for name in breadth.children:
        print(json.dumps(breadth.children[name], indent=1))
    assert 0

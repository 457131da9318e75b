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

from tests.e2e.manifests import REPORTED, SCAI, images_of, step, told, told_of_run, written
from tests.testbed.cluster import MERGE
from tests.testbed.cosign import Cosign
from tests.testbed.images import CONFIG, LAYER, MANIFEST, Registry, descriptor, digest_of
from tests.testbed.node.cluster import Node, mark_of
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
    variables = [
        {"name": "IMAGE", "value": "$(params.image)"},
        {"name": "DECISION", "value": "$(params.decision)"},
    ]
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
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": layers,
    }
    return registry.push_manifest(name, json.dumps(manifest).encode(), MANIFEST, "v1")


def of_bundle(bundle: str, kind: str, name: str) -> Json:
    return {"resolver": "bundles", "params": values(bundle=bundle, kind=kind, name=name)}


def of_cluster(namespace: str, kind: str, name: str) -> Json:
    return {"resolver": "cluster", "params": values(namespace=namespace, kind=kind, name=name)}


def pipeline(catalog: str, bundle: str) -> Json:
    """Return the Pipeline."""
    platform = {
        "params": string("os"), "results": [{"name": "made"}],
        "steps": [step("make", "printf $(params.os) > $(results.made.path)")],
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
    spec = {
        "pipelineRef": of_cluster(catalog, "pipeline", "everything"),
        "params": values(image="REGISTRY/breadth/app:v1"),
    }
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
    assert run["spec"]["customRef"] == {
        "apiVersion": "tests.example/v1",
        "kind": "Approval",
        "name": "somebody",
    }
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


def test_provenance_names_exactly_the_images_that_the_kubelet_ran(breadth: Breadth) -> None:
    states = [each for pod in breadth.pods.values() for each in pod["status"]["containerStatuses"]]
    steps = {each["imageID"] for each in states if each["name"].startswith("step-")}
    # tekton has put its own image in the sidecar's place, or will: what was pushed is known
    assert images_of(breadth.definition) == {*steps, f"{breadth.node.registry.host}/breadth-db@{breadth.db}"}
    # of both attempts of the task that was tried twice
    flaky = breadth.child("flaky")
    pods = {flaky["status"]["podName"], *(each["podName"] for each in flaky["status"]["retriesStatus"])}
    assert {name for name in breadth.pods if name.startswith("run-flaky")} == pods
    assert len(pods) == 2


def test_provenance_names_the_definitions_as_tekton_resolved_them(breadth: Breadth) -> None:
    node = breadth.node
    named = {
        each["uri"]: each["digest"]["sha256"]
        for each in breadth.definition["resolvedDependencies"]
        if not each["uri"].startswith("oci://")
    }
    catalog = "breadth-catalog"
    expected = {}
    for plural, name in (("pipelines", "everything"), ("tasks", "lint")):
        path = f"/apis/tekton.dev/v1/namespaces/{catalog}/{plural}"
        uid = node.api.request("GET", f"{path}/{name}")["metadata"]["uid"]
        uri = f"{path.removesuffix('s')}/{name}@{uid}"
        (holder,) = [breadth.run] if name == "everything" else breadth.children["lint"]
        recorded = holder["status"]["provenance"]["refSource"]
        assert recorded["uri"] == uri
        expected[uri] = recorded["digest"]["sha256"]
    # the registry says which bundle it is
    expected[f"{node.registry.host}/breadth-bundle"] = breadth.bundle.removeprefix("sha256:")
    assert named == expected


def test_the_subject_is_what_the_registry_has_and_cosign_verifies_it(
    breadth: Breadth, cosign: Cosign
) -> None:
    registry = breadth.node.registry
    manifest = registry.manifest("breadth/app", "v1")
    digest = digest_of(manifest)
    name = f"{registry.host}/breadth/app"
    assert breadth.statement["subject"] == [
        {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
    ]
    layer = registry.blob("breadth/app", json.loads(manifest)["layers"][-1]["digest"])
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        built = archive.extractfile("srv/app.txt")
        assert built is not None
        assert built.read() == b"decided: granted\n"  # the custom task's result went into the step
    key = ["--key", breadth.node.public_key, "--insecure-ignore-tlog=true", "--type", "slsaprovenance1"]
    told = cosign("verify-attestation", *key, f"{name}@{digest}", env={"NO_PROXY": "*"}).stdout
    statements = [json.loads(b64decode(json.loads(line)["payload"])) for line in told.splitlines()]
    assert breadth.statement in statements


def test_the_report_names_every_child_once_and_says_which_has_no_statement(breadth: Breadth) -> None:
    node, run = breadth.node, breadth.run
    children = [each for found in breadth.children.values() for each in found]
    levels = told(node, run, "HERMETIC_CHILD_LEVEL")
    names = {f"{each['kind'].lower()}/breadth/{each['metadata']['name']}": each for each in children}
    assert levels.keys() == names.keys()
    for name, one in levels.items():
        if names[name]["kind"] == "TaskRun":
            assert one["uid"] == names[name]["metadata"]["uid"]
    gaps = told(node, run, "CHILD_WITHOUT_RECORD")
    approval = breadth.child("approval")["metadata"]["name"]
    assert {name: one["pipelineTask"] for name, one in gaps.items()} == {
        f"customrun/breadth/{approval}": "approval"
    }
    statement = json.dumps(node.statements(run)[SCAI])
    assert "skipped" not in {one["metadata"]["labels"][TASK_OF_PIPELINE] for one in children}
    assert "run-skipped" not in statement
    (before,) = breadth.child("flaky")["status"]["retriesStatus"]
    assert told_of_run(node, breadth.child("flaky"), "RUN_FACTS")["earlierAttempts"] == [before["podName"]]
    ended = breadth.pods[before["podName"]]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 1


@pytest.mark.parametrize("task", ["platform", "flaky", "build", "lint", "scan", "tidy"])
def test_the_report_of_each_task_tells_its_containers_as_the_kubelet_does(
    breadth: Breadth, task: str
) -> None:
    for run in breadth.children[task]:
        states = breadth.pods[run["status"]["podName"]]["status"]["containerStatuses"]
        facts = told(breadth.node, run, "CONTAINER_FACTS")
        for state in states:
            if not state["name"].startswith("step-"):
                continue
            found, ended = facts[f"step/{state['name'].removeprefix('step-')}"], state["state"]["terminated"]
            assert found["imageAsRun"] == state["imageID"]
            assert found["containerId"] == state["containerID"] == ended["containerID"]
            assert (found["startedOn"], found["finishedOn"]) == (ended["startedAt"], ended["finishedAt"])
            assert found.get("exitCode", 0) == ended["exitCode"] == 0

"""An image that a task builds without a network: a later task pushes it, or nobody does."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from typing import Any

import pytest

from tests.e2e.manifests import HERMETIC, REPORTED, SCAI, pipeline_run, step, task_run, told_of_run, written
from tests.testbed.cosign import Cosign
from tests.testbed.node.cluster import Node, mark_of

pytestmark = pytest.mark.server
Json = Any
OUTCOME = "chains.tekton.dev/outcome"
HINTS = [{"name": "IMAGE_URL"}, {"name": "IMAGE_DIGEST"}]
HERE = {"workspaces": [{"name": "work"}]}


def packed(image: str, folder: str) -> list[Json]:
    """Return steps that build an image into a layout in a folder, and find no network."""
    within = {"workingDir": folder}
    told = ["-url=$(results.IMAGE_URL.path)", "-digest=$(results.IMAGE_DIGEST.path)"]
    pack = [*told, "pack", image, "out", "layout"]
    return [
        step("compile", f"mkdir out && echo {image} > out/app.txt; ! push get http://REGISTRY/v2/", **within),
        {"name": "pack", "image": "REGISTRY/busybox:1", "command": ["push"], "args": pack, **within},
    ]


def offline(image: str) -> Json:
    """Return a PipelineRun whose second task pushes what the first has built, once a file ``go`` is there."""
    folder = "$(workspaces.work.path)"
    push = f"until [ -e go ]; do sleep 0.1; done; push send {image} layout"
    build = {"results": HINTS, "steps": packed(image, folder), "metadata": {"annotations": HERMETIC}, **HERE}
    publish = {"steps": [step("send", push, workingDir=folder)], **HERE}
    made = pipeline_run(
        "offline",
        {"name": "build", "taskSpec": build, **HERE},
        {"name": "publish", "taskSpec": publish, "runAfter": ["build"], **HERE},
        workspaces=[{"name": "work", "persistentVolumeClaim": {"claimName": "work"}}],
    )
    made["spec"]["pipelineSpec"] |= HERE
    return made


def volume(namespace: str, path: str) -> list[Json]:
    """Return a volume in a folder of the node, and the claim for it."""
    name = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    size = {"storage": "1Mi"}
    held = {**name, "capacity": size, "hostPath": {"path": path}}
    asked = {**name, "resources": {"requests": size}, "volumeName": f"{namespace}-work"}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{namespace}-work"}, "spec": held},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "work"}, "spec": asked},
    ]  # fmt: skip


def outcome(run: Json) -> Json:
    return json.loads(run["metadata"].get("annotations", {}).get(OUTCOME, "{}"))


def results(run: Json) -> dict[str, str]:
    return {each["name"]: each["value"] for each in run["status"]["results"]}


def test_an_image_that_a_later_task_pushes_is_waited_for_and_cosign_verifies_it(
    node: Node, cosign: Cosign
) -> None:
    namespace = node.namespace("late-image")
    folder = node.folder / "work" / namespace
    folder.mkdir(parents=True)
    with node.configured(REPORTED):
        node.apply(namespace, written(*volume(namespace, str(folder)), offline("REGISTRY/late/offline:v1")))

        def waits() -> bool:
            found = node.api.request("GET", f"/apis/tekton.dev/v1/namespaces/{namespace}/taskruns")["items"]
            return any(outcome(run).get("state") == "waiting" for run in found)

        node.wait(waits, "the build waits for its image")
        waiting = node.run("TaskRun", namespace, "offline-build")
        digest = results(waiting)["IMAGE_DIGEST"]
        assert outcome(waiting)["absent"] == [digest]
        assert mark_of(waiting) == ""
        (folder / "go").touch()
        build = node.marked("TaskRun", namespace, "offline-build")
        whole = node.marked("PipelineRun", namespace, "offline")

    assert [mark_of(run) for run in (build, whole)] == ["true", "true"], outcome(build)
    assert {each["form"] for each in outcome(build)["entries"] if "form" in each} >= {
        "att",
        "sig",
        "referrer",
    }
    assert told_of_run(node, build, "HERMETIC_LEVEL")["level"] == "enforced"
    assert told_of_run(node, whole, "HERMETIC_LEVEL")["level"] == "not-requested"  # that task pushes

    image = f"{node.registry.host}/late/offline@{digest}"
    assert results(build)["IMAGE_URL"] == f"{node.registry.host}/late/offline:v1"
    key = ["--key", node.public_key, "--insecure-ignore-tlog=true"]
    direct = {"NO_PROXY": "*"}
    for form in ([], ["--new-bundle-format=false"]):
        cosign("verify", *key, *form, image, env=direct)
        for kind in ("slsaprovenance1", SCAI):
            told = cosign("verify-attestation", *key, *form, "--type", kind, image, env=direct).stdout
            statements = [json.loads(b64decode(json.loads(line)["payload"])) for line in told.splitlines()]
            subjects = [each["digest"] for one in statements for each in one["subject"]]
            assert {"sha256": digest.removeprefix("sha256:")} in subjects


def test_an_image_that_nobody_pushes_is_a_stated_failure_when_the_time_is_over(node: Node) -> None:
    namespace = node.namespace("never-image")
    steps = packed("REGISTRY/late/never:v1", "/workspace")
    with node.configured({"storage.oci.wait-for-image": "5s"}):
        node.apply(namespace, written(task_run("never", *steps, task={"results": HINTS})))
        run = node.marked("TaskRun", namespace, "never")

    assert run["status"]["conditions"][0]["status"] == "True"
    assert mark_of(run) == "failed"
    reason = outcome(run)["reason"]
    assert f"{node.registry.host}/late/never does not have {results(run)['IMAGE_DIGEST']}" in reason
    looked = re.search(r"; it was looked for until (\d+) s after the run's end", reason)
    assert looked, reason
    assert int(looked[1]) >= 5

    def told() -> list[str]:
        events = node.api.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
        ours = [event for event in events if event["involvedObject"]["uid"] == run["metadata"]["uid"]]
        return [event["message"] for event in ours if event["reason"] == "AttestationFailed"]

    node.wait(told, "an event tells of the failure")
    assert "does not have" in told()[0]

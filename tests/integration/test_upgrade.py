"""A namespace goes from Tekton Chains' own controller to ours and back: nothing signed is signed again."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_controller import NO_LOG, Running, controller, finished
from tests.integration.test_runbooks import Tried
from tests.owners import owned
from tests.testbed.cluster import MERGE, ApiError, free_ports
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry
from tests.testbed.peer_controller import peer_controller as running_peer

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
CONFIG = {
    # as users of Tekton Chains have it: nothing in it is ours
    "artifacts.taskrun.format": "slsa/v1",
    "artifacts.taskrun.storage": "tekton, oci",
    "artifacts.pipelinerun.format": "slsa/v2alpha3",
    "artifacts.pipelinerun.storage": "tekton",
    "artifacts.oci.storage": "oci",
    "builder.id": "https://builder.example.com/tekton",
    "transparency.enabled": "false",
}
PAGE = "../upgrade"
PREFIX = "chains.tekton.dev/"
HELD, LEGACY = ["chains.tekton.dev/taskrun"], ["chains.tekton.dev"]


class Moved:
    """The runs and images of a namespace that two controllers work in, one after the other."""

    def __init__(self, running: Running, registry: Registry) -> None:
        self.running, self.registry = running, registry
        self.digests: dict[str, str] = {}

    def build(self, name: str, *, ended: bool = True, **metadata: Json) -> Json:
        """Create a run that builds an image of its own; return the status of its end."""
        repository = f"{self.running.namespace}/{name}"
        self.digests[name] = digest = self.registry.push_image(repository)
        run = finished(self.running.namespace, name, f"{self.registry.host}/{repository}", digest)
        run["metadata"] |= metadata
        status = run["status"] if ended else run.pop("status")
        self.running.server.create_run(run)
        return status

    def path(self, name: str, kind: str = "TaskRun") -> str:
        return f"/apis/tekton.dev/v1/namespaces/{self.running.namespace}/{kind.lower()}s/{name}"

    def end(self, name: str, status: Json, kind: str = "TaskRun") -> None:
        path = f"{self.path(name, kind)}/status"
        self.running.server.request("PATCH", path, {"status": status}, kind=MERGE)

    def delete(self, name: str, kind: str = "TaskRun") -> None:
        self.running.server.request("DELETE", self.path(name, kind))

    def is_gone(self, name: str, kind: str = "TaskRun") -> bool:
        try:
            self.running.run(kind, name)
        except ApiError as error:
            return error.status == 404
        return False

    def metadata(self, name: str, kind: str = "TaskRun") -> Json:
        return self.running.run(kind, name)["metadata"]

    def finalizers(self, name: str, kind: str = "TaskRun") -> list[str]:
        found: list[str] = self.metadata(name, kind).get("finalizers", [])
        return found

    def annotations(self, name: str, kind: str = "TaskRun") -> dict[str, str]:
        found = self.metadata(name, kind).get("annotations", {})
        return {key: value for key, value in found.items() if key.startswith(PREFIX)}

    def evidence(self, name: str) -> tuple[list[str], list[Json]]:
        """Return the tags of a run's image and the layers of its ``.att`` and ``.sig``, signatures in them."""
        repository = f"{self.running.namespace}/{name}"
        tag = self.digests[name].replace(":", "-")
        layers = [
            json.loads(self.registry.manifest(repository, f"{tag}.{form}"))["layers"]
            for form in ("att", "sig")
        ]
        return self.registry.tags(repository), layers

    def everything(self, *names: str) -> Json:
        return {name: (self.annotations(name), self.evidence(name)) for name in names}

    def is_done(self, name: str, kind: str = "TaskRun") -> bool:
        metadata = self.metadata(name, kind)
        return "provenance.chains/done" in metadata.get("labels", {}) and not metadata.get("finalizers")


def pipeline_of(running: Running, name: str, child: str) -> Json:
    return {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": name, "namespace": running.namespace},
        "spec": {"pipelineRef": {"name": "p"}},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True"}],
            "startTime": "2026-01-02T03:04:05Z", "completionTime": "2026-01-02T03:10:05Z",
            "pipelineSpec": {"tasks": [{"name": "build", "taskRef": {"name": "buildah"}}]},
            "childReferences": [
                {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": child, "pipelineTaskName": "build"}
            ],
        },
    }  # fmt: skip


def test_a_namespace_of_tekton_chains_is_taken_over_and_given_back_without_signing_again(
    controller: Callable[..., Running],
    peer_controller: Path,
    referrers_registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
) -> None:
    running = controller(**CONFIG)
    running.log.touch()
    tried = Tried(running)
    assert ": 0 errors" in tried.shell(PAGE, only="config lint")
    moved = Moved(running, referrers_registry)

    def peer() -> AbstractContextManager[Path]:
        return running_peer(
            peer_controller,
            running.server,
            tmp_path,
            system=running.system,
            namespace=running.namespace,
            keys=running.keys,
        )

    with peer():
        for name in ("one", "two"):
            moved.build(name)
        whole = running.server.create_run(pipeline_of(running, "whole", "child"))
        moved.build("child", ownerReferences=owned(whole["metadata"]["uid"], "whole"))
        # nobody listens there, and it gives up within seconds
        lost = finished(running.namespace, "lost", f"127.0.0.1:{free_ports(1)[0]}/lost")
        running.server.create_run(lost)
        ends = {name: moved.build(name, ended=False) for name in ("held", "deleted")}
        pipeline = pipeline_of(running, "held", "one")
        end_of_pipeline = pipeline.pop("status")
        running.server.create_run(pipeline)
        for name in ("one", "two", "child"):
            running.wait(lambda name=name: running.signed(name) == "true", 60)  # type: ignore[misc]
        running.wait(lambda: running.signed("whole", "PipelineRun") == "true")
        running.wait(lambda: running.signed("lost") == "failed", 60)
        running.wait(lambda: moved.finalizers("held") == moved.finalizers("deleted") == HELD)
        running.wait(lambda: moved.finalizers("held", "PipelineRun") != [])
    assert moved.finalizers("one") == HELD  # it keeps it until the run is deleted
    before = moved.everything("one", "two", "child")
    marks = {
        name: moved.annotations(name, kind) for name, kind in (("lost", "TaskRun"), ("whole", "PipelineRun"))
    }
    for _, (_, layers) in before.values():
        assert [len(each) for each in layers] == [1, 1]

    # what else such a namespace has: an older generation's finalizer, a run between two attempts, one that ended
    # while nobody looked, and deletions that wait
    ends["old"] = moved.build("old", ended=False, finalizers=LEGACY)
    moved.build("old-signed", finalizers=LEGACY, annotations={f"{PREFIX}signed": "true"})
    moved.build("tried", finalizers=HELD, annotations={f"{PREFIX}retries": "2"})
    moved.build("between")
    moved.delete("deleted")
    moved.delete("two")
    assert not moved.is_gone("two")

    running.start()
    for name in ("one", "child", "lost", "old-signed", "tried", "between"):
        running.wait(lambda name=name: moved.is_done(name))  # type: ignore[misc]
    running.wait(lambda: moved.is_done("whole", "PipelineRun"))
    running.wait(lambda: moved.is_gone("deleted") and moved.is_gone("two"))
    for name in ("held", "old"):
        moved.end(name, ends[name])
        running.wait(lambda name=name: moved.is_done(name))  # type: ignore[misc]
    moved.end("held", end_of_pipeline, "PipelineRun")
    running.wait(lambda: moved.is_done("held", "PipelineRun"))
    ours = ("tried", "between", "held", "old")
    assert {running.signed(name) for name in ours} == {running.signed("held", "PipelineRun")} == {"true"}
    assert {name: found for name, found in before.items() if name != "two"} == moved.everything(
        "one", "child"
    )
    assert marks == {"lost": moved.annotations("lost"), "whole": moved.annotations("whole", "PipelineRun")}
    assert moved.annotations("old-signed") == {f"{PREFIX}signed": "true"}
    assert referrers_registry.tags(f"{running.namespace}/old-signed") == []
    assert (
        f'chains_runs_total{{kind="taskrun",namespace="{running.namespace}",state="signed"}} 4.0'
        in running.ask("/metrics")[1]
    )
    for name in ("one", "between"):
        reference = f"{referrers_registry.host}/{running.namespace}/{name}@{moved.digests[name]}"
        cosign("verify", "--key", running.keys / "x509.pub", NO_LOG, reference)
        cosign(
            "verify-attestation",
            "--key",
            running.keys / "x509.pub",
            NO_LOG,
            "--type",
            "slsaprovenance02",
            reference,
        )
    same_meaning(moved, "one", "between")
    moved.delete("one")
    moved.delete("whole", "PipelineRun")
    assert moved.is_gone("one")
    assert moved.is_gone("whole", "PipelineRun")
    held = moved.build("still-running", ended=False)
    running.wait(lambda: moved.finalizers("still-running") == HELD)
    assert running.stop() == 0

    # and back; it knows no "skipped", and would sign such a run again and again
    moved.build(
        "left-out", annotations={f"{PREFIX}signed": "skipped"}, labels={"provenance.chains/done": "true"}
    )
    assert f"{running.namespace}/left-out" in tried.shell(PAGE, only="skipped")
    after = moved.everything("child", *ours)
    with peer():
        moved.end("still-running", held)
        for name in ("still-running", "left-out"):
            running.wait(lambda name=name: running.signed(name) == "true", 60)  # type: ignore[misc]
        for name in ("child", *ours):
            running.wait(lambda name=name: moved.finalizers(name) == HELD, 60)  # type: ignore[misc]
    assert moved.everything("child", *ours) == after

    # forward again: what the other put its finalizer on is let go by hand, as docs/upgrade.md says
    running.start()
    for name in ("still-running", "left-out"):
        running.wait(lambda name=name: moved.is_done(name))  # type: ignore[misc]
        assert [len(each) for each in moved.evidence(name)[1]] == [1, 1]
    assert f"taskrun/{running.namespace}/child" in tried.shell(PAGE, only="chains finalizers release")
    for name in ("child", *ours):
        moved.delete(name)
        assert moved.is_gone(name)
    assert running.stop() == 0


def same_meaning(moved: Moved, theirs: str, ours: str) -> None:
    """Assert that the two controllers told the same of two runs, but for what makes them two."""
    told = []
    for name in (theirs, ours):
        metadata = moved.metadata(name)
        payload = b64decode(metadata["annotations"][f"{PREFIX}payload-taskrun-{metadata['uid']}"]).decode()
        own = (
            metadata["uid"],
            moved.digests[name].removeprefix("sha256:"),
            f"{moved.running.namespace}/{name}",
        )
        for text in own:
            payload = payload.replace(text, "…")
        told.append(json.loads(payload))
    assert told[0] == told[1]

"""Images that a later task pushes: the controller against a real API server and real registries."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.integration.test_controller import NO_LOG, Running, controller, finished
from tests.interop.attested import run_of, slug
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry, digest_of

pytestmark = pytest.mark.server
Json = Any
__all__ = ["controller"]
STORED = {
    "artifacts_taskrun_format": "slsa/v2alpha4",
    "artifacts_taskrun_storage": "oci",
    "artifacts_pipelinerun_storage": "oci",
    "storage_oci_encoding__format": "both",
}


@pytest.fixture(params=["referrers_registry", "plain_registry"])
def registry(request: pytest.FixtureRequest) -> Registry:
    found: Registry = request.getfixturevalue(request.param)
    return found


def now(seconds: float = 0.0) -> str:
    return (
        (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds").replace("+00:00", "Z")
    )


def pipeline(running: Running, *tasks: str) -> Json:
    """Create a PipelineRun that is still going on, and return it as the API server has it."""
    running.server.create_run(
        {
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
            "metadata": {"name": "offline", "namespace": running.namespace},
            "spec": {"pipelineRef": {"name": "offline"}},
            "status": {
                "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running"}], "startTime": now(),
                "pipelineSpec": {"tasks": [{"name": name, "taskRef": {"name": name}} for name in tasks]},
                "childReferences": [
                    {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": name, "pipelineTaskName": name}
                    for name in tasks
                ],
            },
        }
    )  # fmt: skip
    return running.run("PipelineRun", "offline")


def task(running: Running, parent: Json, name: str, image: str = "", digest: str = "") -> None:
    """Create a TaskRun of the PipelineRun that ended just now."""
    run = finished(running.namespace, name, image, digest)
    run["status"] |= {"startTime": now(-5), "completionTime": now()}
    if not image:
        run["status"]["results"] = []
    owner = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    run["metadata"] |= {
        "labels": {"tekton.dev/pipelineTask": name},
        "ownerReferences": [{**owner, "name": "offline", "uid": parent["metadata"]["uid"]}],
    }
    running.server.create_run(run)


def outcome(running: Running, name: str, kind: str = "TaskRun") -> Json:
    annotations = running.run(kind, name)["metadata"].get("annotations", {})
    return json.loads(annotations.get("chains.tekton.dev/outcome", "{}"))


def events(running: Running) -> list[tuple[str, str]]:
    found = running.server.request("GET", f"/api/v1/namespaces/{running.namespace}/events")["items"]
    return [(event["reason"], event["involvedObject"]["name"]) for event in found]


def late(registry: Registry, running: Running) -> tuple[str, str, Callable[[], str]]:
    """Return an image's repository and digest, and what pushes it."""
    name = f"{running.namespace}/app"
    digest = registry.push_image(f"{running.namespace}/elsewhere", content=b"late")
    return f"{registry.host}/{name}", digest, lambda: registry.push_image(name, content=b"late")


def test_an_image_that_the_next_task_pushes_is_waited_for_and_gets_both_forms(
    controller: Callable[..., Running], registry: Registry, cosign: Cosign
) -> None:
    running = controller(**STORED)
    running.start()
    parent = pipeline(running, "build", "publish")
    image, digest, push = late(registry, running)
    task(running, parent, "build", image, digest)
    running.wait(lambda: outcome(running, "build").get("state") == "waiting")
    assert outcome(running, "build")["absent"] == [digest]
    assert running.signed("build") == ""
    metrics = running.ask("/metrics")[1]
    for line in ("chains_runs_waiting 1.0", "chains_backlog_runs 0.0", "chains_retries_total 0.0"):
        assert line in metrics
    assert push() == digest
    task(running, parent, "publish")
    assert running.attested("build")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    assert {one["form"] for one in outcome(running, "build")["entries"]} == {"att", "sig", "referrer"}
    assert "run waits for its image" in running.log.read_text()
    assert events(running) == []
    assert "chains_runs_waiting 0.0" in running.ask("/metrics")[1]
    key = running.keys / "x509.pub"
    for flags in ([], ["--new-bundle-format=false"]):
        cosign("verify", "--key", key, NO_LOG, *flags, f"{image}@{digest}")
        cosign(
            "verify-attestation",
            "--key",
            key,
            NO_LOG,
            "--type",
            "slsaprovenance1",
            *flags,
            f"{image}@{digest}",
        )


def test_a_pipeline_run_does_not_wait_for_a_child_that_waits_for_its_image(
    controller: Callable[..., Running], referrers_registry: Registry
) -> None:
    running = controller(**STORED)
    running.start()
    parent = pipeline(running, "build")
    image, digest, push = late(referrers_registry, running)
    task(running, parent, "build", image, digest)
    running.wait(lambda: outcome(running, "build").get("state") == "waiting")
    path = f"/apis/tekton.dev/v1/namespaces/{running.namespace}/pipelineruns/offline/status"
    ended = {"conditions": [{"type": "Succeeded", "status": "True"}], "completionTime": now()}
    running.server.request("PATCH", path, {"status": ended}, kind="application/merge-patch+json")
    running.wait(lambda: running.signed("offline", "PipelineRun") != "")
    assert running.signed("build") == ""
    push()
    assert running.attested("build")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"


def test_a_restart_goes_on_waiting_and_the_time_that_is_over_is_a_stated_failure(
    controller: Callable[..., Running], referrers_registry: Registry
) -> None:
    running = controller(**STORED, storage_oci_wait__for__image="20s")
    running.start()
    parent = pipeline(running, "build", "never")
    image, digest, push = late(referrers_registry, running)
    task(running, parent, "build", image, digest)
    never = digest_of(b"never")
    task(running, parent, "never", image, never)
    running.wait(lambda: {outcome(running, name).get("state") for name in ("build", "never")} == {"waiting"})
    assert running.stop() == 0
    push()
    running.start()
    assert running.attested("build")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    assert running.signed("never") == ""
    assert running.attested("never")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "failed"
    reason = outcome(running, "never")["reason"]
    assert f"{image} does not have {never}" in reason
    assert "; it was looked for until 2" in reason
    assert " s after the run's end" in reason
    running.wait(lambda: events(running) == [("AttestationFailed", "never")])


def test_the_command_line_says_at_once_that_an_image_is_absent_and_does_the_rest_when_it_is_there(
    referrers_registry: Registry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    name = slug(request)
    digest = referrers_registry.push_image(f"{name}/elsewhere", content=b"late")
    run_file, key = tmp_path / "run.json", tmp_path / "signing.key"
    run_file.write_text(json.dumps(run_of(f"{referrers_registry.host}/{name}", digest)))
    assert chains(["keys", "generate", str(key)]) == 0
    given = ["attest", str(run_file), "--key", str(key), "--store", "oci:"]
    capsys.readouterr()
    assert chains([*given, "--output", "json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert {(one["form"], one["state"], one["absent"]) for one in told["entries"]} == {
        ("att", "stored", False), ("sig", "stored", False), ("referrer", "failed", True),
    }  # fmt: skip
    assert chains(given) == 1
    printed = capsys.readouterr()
    assert f"{referrers_registry.host}/{name} does not have {digest}" in printed.out + printed.err
    referrers_registry.push_image(name, content=b"late")
    assert chains([*given, "--output", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert {(one["form"], one["state"]) for one in told["entries"]} == {
        ("att", "unchanged"), ("sig", "unchanged"), ("referrer", "stored"),
    }  # fmt: skip


def test_the_platforms_of_an_index_that_comes_late_are_attested_too(
    controller: Callable[..., Running], referrers_registry: Registry
) -> None:
    running = controller(**STORED, storage_oci_attach__to__platforms="true")
    running.start()
    parent = pipeline(running, "build", "publish")
    digest = referrers_registry.push_index(f"{running.namespace}/elsewhere")
    name = f"{running.namespace}/app"
    task(running, parent, "build", f"{referrers_registry.host}/{name}", digest)
    running.wait(lambda: outcome(running, "build").get("state") == "waiting")
    images = [
        referrers_registry.push_image(
            name, content=f"{running.namespace}/elsewhere".encode(), platform=platform
        )
        for platform in ("amd64", "arm64")
    ]
    assert referrers_registry.push_index(name, images) == digest
    task(running, parent, "publish")
    assert running.attested("build")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    assert {one["subject"] for one in outcome(running, "build")["entries"]} == {digest, *images}

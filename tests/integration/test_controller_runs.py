"""What the controller does with runs out of the ordinary, against a real API server."""

from __future__ import annotations

import json
import signal
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.integration.test_controller import Running, controller, finished
from tests.owners import owned
from tests.testbed.cluster import MERGE, free_ports

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
RUNS = "/apis/tekton.dev/v1/namespaces"


def outcome(run: Json) -> Json:
    return json.loads(run["metadata"]["annotations"]["chains.tekton.dev/outcome"])


def pipeline_run(namespace: str, name: str, children: list[str]) -> Json:
    return {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": name, "namespace": namespace},
        "spec": {"pipelineRef": {"name": "p"}},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "Unknown"}],
            "pipelineSpec": {"tasks": [{"name": child, "taskRef": {"name": "t"}} for child in children]},
            "childReferences": [
                {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": child, "pipelineTaskName": child}
                for child in children
            ],
        },
    }  # fmt: skip


def child_of(parent: Json, name: str, namespace: str) -> Json:
    child = finished(namespace, name)
    child["metadata"]["labels"] = {"tekton.dev/pipelineTask": name}
    child["metadata"]["ownerReferences"] = owned(parent["metadata"]["uid"], parent["metadata"]["name"])
    return child


def end(running: Running, name: str, kind: str = "pipelineruns") -> None:
    status = {
        "conditions": [{"type": "Succeeded", "status": "True"}],
        "completionTime": "2026-01-02T03:10:05Z",
    }
    path = f"{RUNS}/{running.namespace}/{kind}/{name}/status"
    running.server.request("PATCH", path, {"status": status}, kind=MERGE)


def payload(run: Json, kind: str = "pipelinerun") -> Json:
    annotations, uid = run["metadata"]["annotations"], run["metadata"]["uid"]
    return json.loads(b64decode(annotations[f"chains.tekton.dev/payload-{kind}-{uid}"]))


def test_what_the_configuration_leaves_out_is_marked_with_the_reason(
    controller: Callable[..., Running],
) -> None:
    running = controller(
        artifacts_oci_storage="tekton", filter_skip="example.com/no-evidence", filter_labels="team!=other"
    )
    for name, labels in (
        ("asks", {"example.com/no-evidence": "true"}),
        ("other", {"team": "other"}),
        ("usual", {}),
    ):
        run = finished(running.namespace, name)
        run["metadata"]["labels"] = labels
        running.server.create_run(run)
    running.start()
    reasons = {"asks": "filter.skip", "other": "filter.labels"}
    for name, reason in reasons.items():
        run = running.attested(name)
        assert run["metadata"]["annotations"]["chains.tekton.dev/signed"] == "skipped"
        assert reason in outcome(run)["reason"]
    assert running.attested("usual")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"


def test_a_run_before_the_cut_off_is_put_off_until_backfill(
    controller: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = controller(artifacts_oci_storage="tekton", backlog_since="7d")
    running.server.create_run(finished(running.namespace, "old"))
    running.start()
    run = running.attested("old")
    assert run["metadata"]["annotations"]["chains.tekton.dev/signed"] == "skipped"
    assert run["metadata"]["labels"]["provenance.chains/done"] == "put-off"
    assert running.stop() == 0
    arguments = [
        "backfill", "--kubeconfig", str(running.server.kubeconfig(running.folder)), "--namespace", running.namespace,
        "--system-namespace", running.system, "--signing-secrets", str(running.keys),
    ]  # fmt: skip
    assert chains(arguments) == 0
    run = running.run("TaskRun", "old")
    assert run["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    assert run["metadata"]["labels"]["provenance.chains/done"] == "true"


def test_a_run_of_another_manager_is_not_touched(controller: Callable[..., Running]) -> None:
    running = controller(artifacts_oci_storage="tekton", filter_managed__by="example.com/mine")
    for name, manager in (("foreign", "kueue.x-k8s.io/multikueue"), ("mine", "example.com/mine")):
        run = finished(running.namespace, name)
        run["spec"]["managedBy"] = manager
        running.server.create_run(run)
    before = running.run("TaskRun", "foreign")["metadata"]["resourceVersion"]
    running.start()
    assert running.attested("mine")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    running.wait(lambda: "chains_backlog_runs 0.0" in running.ask("/metrics")[1])
    assert running.run("TaskRun", "foreign")["metadata"]["resourceVersion"] == before


@pytest.mark.parametrize("restarted", [False, True])
def test_a_child_deleted_before_its_parent_ends_is_still_in_the_provenance(
    controller: Callable[..., Running], *, restarted: bool
) -> None:
    running = controller(artifacts_pipelinerun_format="slsa/v2alpha4", artifacts_oci_storage="tekton")
    running.start()
    parent = running.server.create_run(pipeline_run(running.namespace, "whole", ["build"]))
    running.server.create_run(child_of(parent, "build", running.namespace))
    assert running.attested("build")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    running.wait(lambda: "finalizers" in running.run("PipelineRun", "whole")["metadata"])
    if restarted:
        running.stop(signal.SIGKILL)
        said = "children were read again"
        before = running.log.read_text().count(said)
        running.start()
        running.wait(lambda: running.log.read_text().count(said) > before)
    running.server.request("DELETE", f"{RUNS}/{running.namespace}/taskruns/build")
    end(running, "whole")
    run = running.attested("whole", "PipelineRun")
    uris = [item["uri"] for item in payload(run)["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert "oci://registry.example.com/buildah" in uris


def test_a_pipeline_run_goes_after_its_children(controller: Callable[..., Running]) -> None:
    running = controller(artifacts_pipelinerun_format="slsa/v2alpha4", artifacts_oci_storage="tekton")
    running.start()
    parent = running.server.create_run(pipeline_run(running.namespace, "whole", ["build"]))
    child = child_of(parent, "build", running.namespace)
    child.pop("status")
    running.server.create_run(child)
    end(running, "whole")
    running.wait(lambda: "chains_backlog_runs 1.0" in running.ask("/metrics")[1])
    assert running.signed("whole", "PipelineRun") == ""
    path = f"{RUNS}/{running.namespace}/taskruns/build/status"
    status = finished(running.namespace, "build")["status"]
    running.server.request("PATCH", path, {"status": status}, kind=MERGE)
    run = running.attested("whole", "PipelineRun")
    assert running.signed("build") == "true"
    assert payload(run)["predicate"]["buildDefinition"]["resolvedDependencies"]


def test_the_first_failure_is_remembered_across_a_restart(controller: Callable[..., Running]) -> None:
    nowhere = f"127.0.0.1:{free_ports(1)[0]}/team/app"
    running = controller(artifacts_taskrun_storage="oci", storage_oci_encoding__format="sigstore-bundle")
    run = finished(running.namespace, "long-in-trouble", nowhere)
    run["metadata"]["annotations"] = {
        "chains.tekton.dev/outcome": json.dumps(
            {
                "state": "retrying",
                "since": "2026-01-02T09:00:00Z",
                "attempts": 40,
                "reason": "registry is away",
            }
        )
    }
    running.server.create_run(run)
    running.server.create_run(finished(running.namespace, "new-in-trouble", nowhere))
    running.start()
    run = running.attested("long-in-trouble")
    assert run["metadata"]["annotations"]["chains.tekton.dev/signed"] == "failed"
    assert running.signed("new-in-trouble") == ""


def test_a_refused_configuration_is_told_by_an_event(controller: Callable[..., Running]) -> None:
    running = controller(artifacts_oci_storage="tekton")
    running.start()
    running.configure({"artifacts.taskrun.format": "slsa/v9"})
    running.wait(lambda: running.ask("/readyz")[0] == 503)

    def events() -> list[tuple[str, str, str]]:
        items = running.server.request("GET", f"/api/v1/namespaces/{running.system}/events")["items"]
        return [(item["reason"], item["involvedObject"]["name"], item["message"]) for item in items]

    running.wait(lambda: len(events()) > 0)
    reason, name, message = events()[0]
    assert (reason, name) == ("ConfigRefused", "chains-config")
    assert "slsa/v9" in message


def test_a_store_that_cannot_be_opened_leaves_the_others_at_work(controller: Callable[..., Running]) -> None:
    running = controller(artifacts_oci_storage="tekton")
    running.start()
    running.configure({"artifacts.pipelinerun.storage": "oci", "storage.oci.repository": "NOT a repository"})
    running.wait(lambda: "a store cannot be opened" in running.log.read_text())
    running.server.create_run(finished(running.namespace, "meanwhile"))
    assert running.attested("meanwhile")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"

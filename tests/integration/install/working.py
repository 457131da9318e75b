"""The controller at work in an installed namespace, and runs of every state that it holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.install.cluster import NAMESPACE, Cluster, wait
from tests.integration.test_deploy import Deployed, run_in, signed
from tests.testbed.cluster import ApiError

Json = Any
HELD = {
    "TaskRun": ["chains.tekton.dev/taskrun"],
    "PipelineRun": ["chains.tekton.dev/pipelinerun"],
}
RUNS = {"running": "TaskRun", "whole": "PipelineRun", "deleting": "TaskRun"}
"""Runs that the controller holds: two in progress, and one in progress that is being deleted."""


@contextmanager
def controller(cluster: Cluster, manifests: Sequence[Json], folder: Path) -> Iterator[Deployed]:
    """Run the controller as the workload of these manifests for the length of the block."""
    found = Deployed(cluster.server, folder, manifests)
    try:
        found.wait(lambda: found.ask("/readyz") == "ok\n")
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
            found.process.wait()


def path(name: str) -> str:
    return f"/apis/tekton.dev/v1/namespaces/ci/{RUNS[name].lower()}s/{name}"


def make_runs(cluster: Cluster) -> None:
    """Create :data:`RUNS`, and wait until the controller holds each of them."""
    server = cluster.server
    for name in ("running", "deleting"):
        run = run_in("ci", name)
        del run["status"]
        server.create_run(run)
    pipeline = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "whole", "namespace": "ci"},
        "spec": {"pipelineRef": {"name": "p"}},
    }
    server.create_run(pipeline)
    for name, kind in RUNS.items():
        wait(
            lambda name=name, kind=kind: metadata(cluster, name).get("finalizers") == HELD[kind],  # type: ignore[misc]
            f"{name} is held",
        )
    server.request("DELETE", path("deleting"))
    server.create_run(run_in("ci", "attested"))
    wait(lambda: signed(server, run_in("ci", "attested")) != "", "a run that ended is marked")


def metadata(cluster: Cluster, name: str) -> Json:
    return cluster.server.request("GET", path(name))["metadata"]


def exists(cluster: Cluster, name: str) -> bool:
    try:
        metadata(cluster, name)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


def delete_all(cluster: Cluster) -> None:
    """Delete every run, and assert that each is gone at once."""
    for name in RUNS:
        if exists(cluster, name):
            cluster.server.request("DELETE", path(name))
        assert not exists(cluster, name), name


def kept(cluster: Cluster) -> set[str]:
    """Return the Secrets and ConfigMaps of the namespace, Helm's records left out."""
    names = set()
    for resource in ("secrets", "configmaps"):
        items = cluster.server.request("GET", f"/api/v1/namespaces/{NAMESPACE}/{resource}")["items"]
        names |= {
            item["metadata"]["name"] for item in items if item["metadata"]["name"] != "kube-root-ca.crt"
        }
    return names

"""A pipeline of Kubeflow, compiled by its own package, on the node: attested, verified, and reported.

The node says that it has GPUs, as an administrator may write into its status, so that pods which ask for one run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.e2e.manifests import REPORTED, SCAI, told, told_of_run
from tests.testbed.cluster import MERGE
from tests.testbed.mlops import kubeflow_pipeline
from tests.testbed.node.cluster import Node, mark_of

pytestmark = pytest.mark.server
Json = Any
GPU = "nvidia.com/gpu"
AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "example.com/pool", "operator": "NotIn", "values": ["office"]}]}
            ]
        }
    }
}
TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}


@contextmanager
def gpus(node: Node, number: int = 2) -> Iterator[None]:
    """Let the node say for the length of the block that it has GPUs."""
    (machine,) = node.api.request("GET", "/api/v1/nodes")["items"]
    path = f"/api/v1/nodes/{machine['metadata']['name']}/status"
    try:
        node.api.request("PATCH", path, {"status": {"capacity": {GPU: str(number)}}}, kind=MERGE)
        yield
    finally:
        node.api.request("PATCH", path, {"status": {"capacity": {GPU: None}}}, kind=MERGE)


def children(node: Node, namespace: str) -> dict[str, Json]:
    """Return the attested TaskRuns of a namespace by their tasks."""
    path = f"/apis/tekton.dev/v1/namespaces/{namespace}/taskruns"
    names = [each["metadata"]["name"] for each in node.api.request("GET", path)["items"]]
    runs = [node.marked("TaskRun", namespace, name) for name in names]
    return {run["metadata"]["labels"]["tekton.dev/pipelineTask"]: run for run in runs}


def check_settings(node: Node, run: Json, whole: Json) -> None:
    """Check that the reports of a child and of its PipelineRun say what its real pod had."""
    settings = told_of_run(node, run, "POD_SETTINGS")
    pod = node.pod_of(run)["spec"]
    assert settings["source"] == "pod"
    assert settings["pipelineTask"] == "train"
    for field in ("affinity", "tolerations", "nodeSelector", "schedulerName", "priority"):
        assert settings[field] == pod[field], field
    assert settings["affinity"] == AFFINITY
    assert TOLERATION in settings["tolerations"]
    assert settings["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert settings["containerResources"]["step-main"] == pod["containers"][0]["resources"]
    assert settings["devices"] == [{"container": "step-main", "resource": GPU, "quantity": "1"}]
    metadata = run["metadata"]
    name = f"taskrun/{metadata['namespace']}/{metadata['name']}"
    assert told(node, whole, "POD_SETTINGS")[name] == settings


def test_a_pipeline_that_kubeflow_compiles_is_attested_with_the_pods_that_ran(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = node.namespace("kubeflow")
    keys = {**REPORTED, "artifacts.pipelinerun.enable-deep-inspection": "true"}
    compiled = kubeflow_pipeline(node.registry.host, tmp_path)
    with gpus(node), node.configured(keys):
        node.kubectl("-n", namespace, "create", "-f", "-", text=json.dumps(compiled))
        whole = node.marked("PipelineRun", namespace, compiled["metadata"]["name"])
        runs = children(node, namespace)
    assert [mark_of(run) for run in (whole, *runs.values())] == ["true"] * 4
    assert set(runs) == {"prepare", "train", "publish"}
    check_settings(node, runs["train"], whole)

    image = runs["publish"]["status"]["results"][0]["value"]
    assert image.startswith(f"{node.registry.host}/models/forecast@sha256:")
    digest = image.partition("@sha256:")[2]
    for run in (runs["publish"], whole):
        for statement in node.statements(run).values():
            assert digest in [subject["digest"]["sha256"] for subject in statement["subject"]]
    report = node.statements(whole)[SCAI]
    outcome = [one for one in report["predicate"]["attributes"] if one["attribute"] == "RUN_OUTCOME"]
    assert outcome[0]["conditions"]["outcome"] == "succeeded"

    assert chains(["verify", image, "--key", str(node.public_key)]) == 0
    capsys.readouterr()
    assert chains(["inspect", image, "--key", str(node.public_key), "--output", "json"]) == 0
    page = capsys.readouterr().out
    assert "train: devices" in page
    assert GPU in page

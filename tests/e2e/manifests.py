"""TaskRuns as manifests for :meth:`tests.testbed.node.cluster.Node.apply`, and what their reports say."""

from __future__ import annotations

from typing import Any

import yaml

from tests.testbed.node.cluster import Node

Json = Any
SCAI = "https://in-toto.io/attestation/scai/v0.3"
HERMETIC = {"experimental.tekton.dev/execution-mode": "hermetic"}
REPORTED = {"artifacts.taskrun.storage": "oci,tekton", "artifacts.pipelinerun.storage": "oci,tekton"}
"""Keys of ``chains-config`` with which :meth:`Node.statements` has the evidence of every run."""


def step(name: str, script: str, **more: Json) -> Json:
    """Return a step, or a sidecar, that runs a shell script."""
    return {"name": name, "image": "REGISTRY/busybox:1", "script": f"#!/bin/sh\n{script}\n", **more}


def task_run(name: str, *steps: Json, task: Json = None, **spec: Json) -> Json:
    """Return a hermetic TaskRun of these steps; ``task`` are more fields of its Task, ``spec`` of the run."""
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": name, "annotations": dict(HERMETIC)},
        "spec": {"podTemplate": pod_template(), "taskSpec": {"steps": list(steps), **(task or {})}, **spec},
    }


def pod_template(value: str = "") -> Json:
    """Return a pod template that sets the variable by which a step may keep its network."""
    return {"env": [{"name": "TEKTON_RESOURCE_NAME", "value": value}]}


def pipeline_run(name: str, *tasks: Json, **spec: Json) -> Json:
    """Return a PipelineRun of these tasks, each with a ``taskSpec``."""
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": name},
        "spec": {
            "taskRunTemplate": {"podTemplate": pod_template()},
            "pipelineSpec": {"tasks": list(tasks)},
            **spec,
        },
    }


def written(*objects: Json) -> str:
    """Return manifests as YAML."""
    return yaml.safe_dump_all(objects)


def told(node: Node, run: Json, attribute: str) -> dict[str, Json]:
    """Return the conditions of an attribute of a run's report, by the name of what each is about."""
    attributes = node.statements(run)[SCAI]["predicate"]["attributes"]
    return {one["target"]["name"]: one["conditions"] for one in attributes if one["attribute"] == attribute}


def told_of_run(node: Node, run: Json, attribute: str) -> Json:
    """Return the conditions of the one attribute that is about the run itself."""
    metadata = run["metadata"]
    return told(node, run, attribute)[f"{run['kind'].lower()}/{metadata['namespace']}/{metadata['name']}"]


def enforced(node: Node, run: Json) -> dict[str, str]:
    """Return for each of a run's containers that the Task asked for whether it had no network."""
    containers = told(node, run, "HERMETIC_EXECUTION")
    return {
        name: conditions["enforced"]["value"]
        for name, conditions in containers.items()
        if not conditions.get("ofTekton")
    }


def images_of(definition: Json) -> set[str]:
    """Return the images in the dependencies of provenance, as the kubelet writes what it ran."""
    named = [each for each in definition["resolvedDependencies"] if each["uri"].startswith("oci://")]
    return {f"{each['uri'].removeprefix('oci://')}@sha256:{each['digest']['sha256']}" for each in named}

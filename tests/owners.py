"""What Tekton writes to bind a TaskRun to its PipelineRun."""

from __future__ import annotations

from typing import Any

Json = Any


def owned(uid: str, name: str = "p") -> Json:
    """Return the owner references of a child of the PipelineRun ``uid``, as ``kmeta.NewControllerRef`` does."""
    owner = {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": name, "uid": uid}
    return [{**owner, "controller": True, "blockOwnerDeletion": True}]


def task_reference(name: str, task: str = "") -> Json:
    """Return the child reference of a TaskRun; ``task`` is the name of its task, the run's unless given."""
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "name": name,
        "pipelineTaskName": task or name,
    }

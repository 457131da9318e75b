"""Which run is meant, and where the API server has it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Job:
    """One run to look at: Tekton's kind, namespace, name and UID.

    ``owner`` is the UID of the PipelineRun that owns a TaskRun, empty for a run of its own.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    owner: str = field(default="", compare=False)

    def __hash__(self) -> int:
        return hash(self.uid)


RESOURCES = {"TaskRun": "taskruns", "PipelineRun": "pipelineruns"}


def run_path(job: Job) -> str:
    """Return the API path of a run."""
    return f"/apis/tekton.dev/v1/namespaces/{job.namespace}/{RESOURCES[job.kind]}/{job.name}"


def label_of(job: Job) -> str:
    """Return the run for humans, as its snapshot names it."""
    return f"{job.kind.lower()}/{job.namespace}/{job.name}"

"""The identity of a run, and its path in the Kubernetes API."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Job:
    """One run to work on: Tekton's kind, namespace, name and UID.

    ``owner`` is the UID of the PipelineRun that owns a TaskRun, empty if there is none.
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
    """Return the run's name for people, the same as :attr:`RunSnapshot.label`."""
    return f"{job.kind.lower()}/{job.namespace}/{job.name}"

"""Which TaskRuns are the children of a PipelineRun. Pure; an object may have any shape.

For each TaskRun that Tekton makes for a PipelineRun it writes a controller owner reference to the
PipelineRun, uses the same namespace, and adds the name to ``status.childReferences``. Only the API server
sets ``metadata.uid`` and ``metadata.creationTimestamp``. Whoever creates an object writes its owner
references, and a child reference has no UID. So a child must satisfy all of these checks.

https://github.com/tektoncd/pipeline/blob/v1.15.0/pkg/reconciler/pipelinerun/pipelinerun.go
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from chains.tekton.raw import mapping_at, objects_at, parse_time, text_at

Json = Any
CLOCKS_DIFFER = timedelta(seconds=60)
"""The most by which the API server's clock may be ahead of Tekton's clock, which gives the end of a run."""
_GROUP = "tekton.dev/"


def parent_of(metadata: Mapping[str, Json]) -> str:
    """Return the UID of the PipelineRun that controls an object, empty if none does.

    An owner without ``controller: true`` or of another API group does not count: Tekton never writes one.
    """
    for owner in objects_at(metadata, "ownerReferences"):
        if (
            owner.get("controller") is True
            and owner.get("kind") == "PipelineRun"
            and text_at(owner, "apiVersion").startswith(_GROUP)
        ):
            return text_at(owner, "uid")
    return ""


def child_references(raw: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """Return the child references of a raw PipelineRun. Entries that are no objects are left out."""
    return objects_at(raw, "status", "childReferences")


def names_a_task(reference: Mapping[str, Json]) -> bool:
    """Return whether a child reference is to a TaskRun of Tekton."""
    return reference.get("kind") == "TaskRun" and text_at(reference, "apiVersion").startswith(_GROUP)


def why_foreign(raw: Mapping[str, Json], parent: Mapping[str, Json]) -> str:
    """Return why an object that a PipelineRun names is not proven to be its child, empty if it is proven.

    ``parent`` is the PipelineRun, raw or as Go writes it.
    """
    uid = text_at(parent, "metadata", "uid")
    if not uid:
        return "the PipelineRun has no UID, so that no run is proven to be its child"
    if _namespace(raw) != _namespace(parent):
        return "a run of this name is in another namespace"
    owner = parent_of(mapping_at(raw, "metadata"))
    if not owner:
        return "a run of this name has no controller owner reference to a PipelineRun, as Tekton writes it"
    if owner != uid:
        return "a run of this name belongs to another owner"
    if _created_too_late(raw, parent):
        return "a run of this name was created after the PipelineRun had ended"
    return ""


def _created_too_late(raw: Mapping[str, Json], parent: Mapping[str, Json]) -> bool:
    created, begun = (parse_time(text_at(item, "metadata", "creationTimestamp")) for item in (raw, parent))
    ended = parse_time(text_at(parent, "status", "completionTime"))
    if created is None or begun is None or ended is None:
        return False
    # A PipelineRun that ended before it was created is a copy of another one. Its times prove nothing.
    return begun <= ended + CLOCKS_DIFFER < created


def _namespace(raw: Mapping[str, Json]) -> str:
    return text_at(raw, "metadata", "namespace") or "default"

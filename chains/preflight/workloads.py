"""The images that one Kubernetes object names: pure, from the object to its uses of images.

Desired images stand in pod templates, running ones in the status of pods. A running image id is a digest of a
manifest or an index, as the container runtime reports it; some report the digest of the configuration, which
no registry can look up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chains.tekton.raw import Json, mapping_at, objects_at, text_at

_TEMPLATE = ("spec", "template", "spec")
POD_SPECS: Mapping[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "Deployment": _TEMPLATE,
    "ReplicaSet": _TEMPLATE,
    "StatefulSet": _TEMPLATE,
    "DaemonSet": _TEMPLATE,
    "ReplicationController": _TEMPLATE,
    "Job": _TEMPLATE,
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "PodTemplate": ("template", "spec"),
    "Rollout": _TEMPLATE,
    "Service": _TEMPLATE,
}
"""Kinds and the path to their pod's specification. A ``Service`` is Knative's; Kubernetes' own has none."""
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_SCHEMES = ("docker-pullable://", "docker://")


class UseKind(StrEnum):
    """Whether an image is asked for or was seen to run."""

    DESIRED = "desired"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Use:
    """One place that names an image. ``where`` is its file or empty; ``name`` is ``Kind/namespace/name``."""

    image: str
    kind: UseKind
    name: str
    container: str
    namespace: str = ""
    where: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the use as printed."""
        return {
            "kind": self.kind.value,
            "object": self.name,
            "container": self.container,
            "namespace": self.namespace,
            "file": self.where,
        }


def uses_of(item: Mapping[str, Json], where: str = "") -> Iterator[Use]:
    """Give every use of an image in one object; other kinds have none. Never raises for odd objects."""
    kind = text_at(item, "kind")
    path = POD_SPECS.get(kind)
    if path is None:
        return
    namespace, name = text_at(item, "metadata", "namespace"), text_at(item, "metadata", "name")
    label = "/".join(part for part in (kind, namespace, name) if part)
    for container, image in _desired(mapping_at(item, *path)):
        yield Use(image, UseKind.DESIRED, label, container, namespace, where)
    if kind == "Pod":
        for container, image in _running(mapping_at(item, "status")):
            yield Use(image, UseKind.RUNNING, label, container, namespace, where)


def _desired(spec: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for group in _CONTAINERS:
        for container in objects_at(spec, group):
            yield text_at(container, "name"), text_at(container, "image")
    for volume in objects_at(spec, "volumes"):
        reference = text_at(volume, "image", "reference")
        if reference:
            yield f"volume {text_at(volume, 'name')}", reference


def _running(status: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for group in _STATUSES:
        for container in objects_at(status, group):
            image = text_at(container, "imageID")
            for scheme in _SCHEMES:
                image = image.removeprefix(scheme)
            if image:
                yield text_at(container, "name"), image


def items_of(document: Any) -> Iterator[Mapping[str, Json]]:
    """Give the objects of a document: the items of a List, or the object itself."""
    if not isinstance(document, Mapping):
        return
    if text_at(document, "kind").endswith("List") and isinstance(document.get("items"), list):
        kind = text_at(document, "kind").removesuffix("List")
        for item in objects_at(document, "items"):
            yield item if "kind" in item or not kind else {"kind": kind, **item}
    else:
        yield document

"""The images that one Kubernetes object names: pure, from the object to its uses of images.

Desired images stand in pod templates, running ones in the status of pods. A running image id is a digest of a
manifest or an index, as the container runtime reports it; some report the digest of the configuration, which
no registry can look up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chains.tekton.raw import Json, mapping_at, objects_at, text_at

_TEMPLATE = ("spec", "template", "spec")
WORKLOADS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): ("spec",),
    ("", "ReplicationController"): _TEMPLATE,
    ("", "PodTemplate"): ("template", "spec"),
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template", "spec"),
    ("argoproj.io", "Rollout"): _TEMPLATE,
    ("serving.knative.dev", "Service"): _TEMPLATE,
}
"""API groups and kinds, and the path to their pod's specification."""
POD_SPECS: Mapping[str, tuple[str, ...]] = {kind: path for (_, kind), path in WORKLOADS.items()}
"""The same by kind alone. A ``Service`` is Knative's; Kubernetes' own has none."""
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_SCHEMES = ("docker-pullable://", "docker://")


class UseKind(StrEnum):
    """Whether an image is asked for or was seen to run."""

    DESIRED = "desired"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Use:
    """One place that names an image. ``where`` is its file or empty; ``name`` is ``Kind/namespace/name``.

    ``problem`` says why the place cannot be read, as in :class:`NamedImage`.
    """

    image: str
    kind: UseKind
    name: str
    container: str
    namespace: str = ""
    where: str = ""
    problem: str = ""

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
    for place in named_images(spec_at(item, path)):
        if place.group == "volumes" and not (place.image or place.problem):
            continue
        container = f"volume {place.name}" if place.group == "volumes" else place.name
        yield Use(place.image, UseKind.DESIRED, label, container, namespace, where, place.problem)
    if kind == "Pod":
        for container, image in _running(mapping_at(item, "status")):
            yield Use(image, UseKind.RUNNING, label, container, namespace, where)


def spec_at(item: Json, path: Sequence[str]) -> Json:
    """Return what is at a path, None if there is nothing, and what is in the way if that is no object."""
    for key in path:
        if not isinstance(item, Mapping):
            break
        item = item.get(key)
    return item


@dataclass(frozen=True, slots=True)
class NamedImage:
    """One place of a pod's specification that names an image.

    ``group`` is the list, ``name`` that of the container or volume. ``problem`` says why the place cannot be
    read; its ``image`` is empty then. An image may be empty without a problem: templates allow it.
    """

    group: str
    name: str
    image: str
    problem: str = ""


def named_images(spec: Json) -> Iterator[NamedImage]:
    """Give every place of a pod's specification that names an image. Never raises.

    A list or object of another type gives a place with a problem: the images in it cannot be seen.
    """
    if spec is None:
        return
    if not isinstance(spec, Mapping):
        yield NamedImage("", "", "", "the pod's specification is no object")
        return
    for group in _CONTAINERS:
        for container in _items(spec, group):
            yield _named(group, container, "image")
    for volume in _items(spec, "volumes"):
        if not isinstance(volume, Mapping):
            yield _named("volumes", volume, "reference")
        elif volume.get("image") is not None:
            image = volume["image"]
            source = {**image, "name": volume.get("name")} if isinstance(image, Mapping) else image
            yield _named("volumes", source, "reference")


_ODD = object()


def _items(spec: Mapping[str, Json], group: str) -> list[Json]:
    found = spec.get(group)
    if found is None:
        return []
    return found if isinstance(found, list) else [_ODD]


def _named(group: str, item: Json, key: str) -> NamedImage:
    if not isinstance(item, Mapping):
        return NamedImage(group, "", "", f"{group}: expected a list of objects")
    image = item.get(key)
    name = text_at(item, "name")
    if image is not None and not isinstance(image, str):
        return NamedImage(group, name, "", f"{group}: the {key} of {name or 'one without name'} is no text")
    return NamedImage(group, name, image or "")


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

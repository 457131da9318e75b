"""The images that one Kubernetes object names: pure, from the object to its uses of images.

Desired images stand in pod templates, running ones in the status of pods. A running image id is a digest of a
manifest or an index, as the container runtime reports it; some report the digest of the configuration, which
no registry can look up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chains.documents.load import item_of
from chains.tekton.raw import Json, mapping_at, objects_at, text_at
from chains.tekton.served_models import is_served_model, models_of, pod_specs_of
from chains.text import excerpt

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
LONGEST_IMAGE = 1024
"""Characters of an image; no reference that a registry can answer is longer."""
MOST_PULL_SECRETS = 16
"""Secrets of one pod that are read."""
_LONGEST_NAME = 253
"""Characters of the name of an object of Kubernetes."""
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_SCHEMES = ("docker-pullable://", "docker://")


class UseKind(StrEnum):
    """Whether an image is asked for or was seen to run."""

    DESIRED = "desired"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Workload:
    """The object that names an image. ``api_version`` and ``uid`` are empty where the object has none."""

    kind: str
    namespace: str
    name: str
    api_version: str = ""
    uid: str = ""

    @property
    def label(self) -> str:
        """``Kind/namespace/name``."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    @classmethod
    def of(cls, item: Mapping[str, Json]) -> Workload:
        """Read kind and name of an object; what is longer than Kubernetes allows is cut."""
        metadata = mapping_at(item, "metadata")
        namespace, name, uid = (text_at(metadata, key) for key in ("namespace", "name", "uid"))
        parts = (text_at(item, "kind"), namespace, name, text_at(item, "apiVersion"), uid)
        return cls(*(excerpt(part, _LONGEST_NAME) for part in parts))


@dataclass(frozen=True, slots=True)
class Puller:
    """Whose Secrets the kubelet pulls the images of a pod with: the names of Secrets in a namespace.

    A pod of a template that names none has those of its service ``account``. A pod itself has them already:
    the API server copies them when the pod is created. Both may be foreign text.
    """

    namespace: str
    secrets: tuple[str, ...] = ()
    account: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """One place that names an image. ``where`` is its file or empty.

    ``problem`` says why the place cannot be read, as in :class:`NamedImage`. ``puller`` says whose Secrets
    the image is pulled with; it makes no difference between two uses.
    """

    image: str
    kind: UseKind
    workload: Workload
    container: str
    where: str = ""
    problem: str = ""
    puller: Puller | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The object, ``Kind/namespace/name``."""
        return self.workload.label

    @property
    def namespace(self) -> str:
        """The object's namespace, or empty."""
        return self.workload.namespace

    def to_json(self) -> dict[str, str]:
        """Return the use as printed."""
        return {
            "kind": self.kind.value,
            "object": self.name,
            "container": self.container,
            "namespace": self.namespace,
            "file": self.where,
            "image": self.image,
        }


def uses_of(item: Mapping[str, Json], where: str = "") -> Iterator[Use]:
    """Give every use of an image in one object; other kinds have none. Never raises for odd objects."""
    kind = text_at(item, "kind")
    if is_served_model(item):
        yield from _served(item, where)
        return
    path = POD_SPECS.get(kind)
    if path is None:
        return
    yield from _uses_in(item, spec_at(item, path), where)
    if kind == "Pod":
        workload, spec = Workload.of(item), spec_at(item, path)
        puller = puller_of(spec, workload.namespace, is_pod=True)
        for container, image, problem in _running(item.get("status")):
            yield _use(image, UseKind.RUNNING, workload, container, where, problem, puller)


def _served(item: Mapping[str, Json], where: str) -> Iterator[Use]:
    """Give the uses of an object of KServe: its containers', where it names any, and its models'."""
    for spec in pod_specs_of(item):
        yield from (use for use in _uses_in(item, spec, where) if use.image or use.problem)
    workload = Workload.of(item)
    for place, image in models_of(item):
        yield _use(image, UseKind.DESIRED, workload, place, where, "", None)


def _uses_in(item: Mapping[str, Json], spec: Json, where: str) -> Iterator[Use]:
    workload = Workload.of(item)
    puller = puller_of(spec, workload.namespace, is_pod=workload.kind == "Pod")
    for place in named_images(spec):
        if place.group == "volumes" and not (place.image or place.problem):
            continue
        container = f"volume {place.name}" if place.group == "volumes" else place.name
        yield _use(place.image, UseKind.DESIRED, workload, container, where, place.problem, puller)


def _use(
    image: str,
    kind: UseKind,
    workload: Workload,
    container: str,
    where: str,
    problem: str,
    puller: Puller | None,
) -> Use:
    container = excerpt(container, _LONGEST_NAME)
    if len(image) > LONGEST_IMAGE:
        problem = f"the image of container {container or 'without name'} has {len(image)} characters"
        image, problem = "", f"{problem}, expected at most {LONGEST_IMAGE}"
    return Use(image, kind, workload, container, where, problem, puller)


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

    ``group`` is the list, ``name`` that of the container or volume, ``at`` the place in the list, which makes
    no difference between two of these. ``problem`` says why the place cannot be read; its ``image`` is empty
    then. An image may be empty without a problem: templates allow it.
    """

    group: str
    name: str
    image: str
    problem: str = ""
    at: int = field(default=0, compare=False)

    @property
    def pointer(self) -> str:
        """The image's place below the specification, as a JSON Pointer."""
        return f"/{self.group}/{self.at}/image" + ("/reference" if self.group == "volumes" else "")


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
        for at, container in enumerate(_items(spec, group)):
            yield _named(group, container, "image", at)
    for at, volume in enumerate(_items(spec, "volumes")):
        if not isinstance(volume, Mapping):
            yield _named("volumes", volume, "reference")
        elif volume.get("image") is not None:
            image = volume["image"]
            source = {**image, "name": volume.get("name")} if isinstance(image, Mapping) else image
            yield _named("volumes", source, "reference", at)


_ODD = object()


def _items(spec: Mapping[str, Json], group: str) -> list[Json]:
    found = spec.get(group)
    if found is None:
        return []
    return found if isinstance(found, list) else [_ODD]


def _named(group: str, item: Json, key: str, at: int = 0) -> NamedImage:
    if not isinstance(item, Mapping):
        return NamedImage(group, "", "", f"{group}: expected a list of objects")
    image = item.get(key)
    name = text_at(item, "name")
    if image is not None and not isinstance(image, str):
        return NamedImage(group, name, "", f"{group}: the {key} of {name or 'one without name'} is no text")
    return NamedImage(group, name, image or "", at=at)


def _running(status: Json) -> Iterator[tuple[str, str, str]]:
    """Give the container, the image and the problem of each status of a container that has started."""
    if status is None:
        return
    if not isinstance(status, Mapping):
        yield "", "", "the pod's status is no object"
        return
    for group in _STATUSES:
        for container in _items(status, group):
            place = _named(group, container, "imageID")
            image = place.image
            for scheme in _SCHEMES:
                image = image.removeprefix(scheme)
            if image or place.problem:
                yield place.name, image, place.problem


def items_of(document: Any, tell: Callable[[str], None] = lambda _: None) -> Iterator[Mapping[str, Json]]:
    """Give the objects of a document: those of a List, of Lists in it, and of an array, or the object itself.

    What has the kind of a List and no list of items is given as it is. An item that is no object goes to
    ``tell``.
    """
    if isinstance(document, Mapping):
        items = document.get("items")
        if not (text_at(document, "kind").endswith("List") and isinstance(items, list)):
            yield document
            return
        document = [item_of(document, item) for item in items]
    for item in document if isinstance(document, list) else ():
        if not isinstance(item, Mapping | list):
            tell("an item of a list is no object")
        yield from items_of(item, tell)


def puller_of(spec: Json, namespace: str, *, is_pod: bool) -> Puller | None:
    """Return whose Secrets the images of a pod's specification are pulled with, None for nobody's.

    Source: Kubernetes 1.36, ``plugin/pkg/admission/serviceaccount``: those of an account count for a pod that
    names none.
    """
    named = (text_at(each, "name") for each in objects_at(spec, "imagePullSecrets"))
    names = tuple(name for name in named if name and len(name) <= _LONGEST_NAME)
    if names:
        return Puller(namespace, names[:MOST_PULL_SECRETS])
    if is_pod or not isinstance(spec, Mapping):
        return None
    account = text_at(spec, "serviceAccountName") or text_at(spec, "serviceAccount") or "default"
    return Puller(namespace, (), account[:_LONGEST_NAME])

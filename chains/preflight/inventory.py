"""Where preflight finds images: manifests on disk, and the objects of a cluster."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterForbidden, ObjectGone
from chains.documents.decode import UNREADABLE
from chains.documents.folders import files_below
from chains.documents.load import is_large, load_documents, load_list, read_bytes, read_standard_input
from chains.errors import InputError
from chains.policy.document.policy import Namespace
from chains.tekton.raw import Json, as_text, mapping_at, text_at
from chains.tekton.workloads import POD_SPECS, Use, Workload, items_of, uses_of
from chains.text import excerpt

LARGEST = 64 << 20
"""Bytes of one manifest file."""
MOST_FILES = 100_000
MOST_USES = 1_000_000
"""Places that name an image: six times the pods of the largest cluster that Kubernetes supports."""
MOST_PROBLEMS = 1_000
"""What could not be read, each told; the rest is counted as one more."""
_NAME_LABEL = "kubernetes.io/metadata.name"
_KUSTOMIZE = ("kustomization.yaml", "kustomization.yml")
_RENDER = "is input of kustomize: name its output (kustomize build)"
_UNRENDERED = "kustomize.config.k8s.io/"
"""The API group of the input of kustomize, which may change the images of the files beside it."""
STANDARD_INPUT = "standard input"
_SUFFIXES = (".yaml", ".yml", ".json", ".YAML", ".YML", ".JSON")
RESOURCES: Mapping[str, tuple[str, str]] = {
    "Pod": ("/api/v1", "pods"),
    "ReplicationController": ("/api/v1", "replicationcontrollers"),
    "PodTemplate": ("/api/v1", "podtemplates"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "Job": ("/apis/batch/v1", "jobs"),
    "CronJob": ("/apis/batch/v1", "cronjobs"),
    "Rollout": ("/apis/argoproj.io/v1alpha1", "rollouts"),
    "Service": ("/apis/serving.knative.dev/v1", "services"),
}
"""Kinds with their API and resource. A kind that the cluster does not serve is left out."""


@dataclass(slots=True)
class Inventory:
    """All uses of images, the namespaces whose labels are known, and what could not be read.

    ``objects`` counts what was read, with and without images. ``is_cut`` says that the cluster stopped
    answering, ``unwritten`` that reports which were asked for are not written; why is one of the problems.
    """

    uses: list[Use] = field(default_factory=list)
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    objects: int = 0
    is_cut: bool = False
    unwritten: bool = False

    def add(self, item: Mapping[str, Json], where: str = "") -> None:
        """Add one object."""
        self.objects += bool(text_at(item, "kind"))
        place = f"{_printable(where)}: " if where else ""
        if text_at(item, "kind") == "Namespace" and text_at(item, "apiVersion") == "v1":
            self._add_namespace(item, place)
            return
        if problem := _kind_problem(item):
            self.tell(f"{place}{problem}")
        if text_at(item, "apiVersion").startswith(_UNRENDERED):
            name = Workload.of(item).label
            self.tell(f"{place}{name} {_RENDER}")
        if _is_odd_list(item):
            self.tell(f"{place}the items of a {text_at(item, 'kind')} are no list")
        for use in uses_of(item, where):
            if not use.image:
                told = use.problem or f"container {use.container or 'without name'} has no image"
                self.tell(f"{use.name}: {told}")
            elif len(self.uses) == MOST_USES:
                self.tell(f"more than {MOST_USES:,} places name an image: look at fewer files or namespaces")
                return
            else:
                self.uses.append(use)

    def _add_namespace(self, item: Mapping[str, Json], place: str) -> None:
        """Add the labels of a namespace. Where they are odd or contradict each other, they are not known."""
        name = text_at(item, "metadata", "name")
        labels = mapping_at(item, "metadata").get("labels")
        if labels is None or (
            isinstance(labels, Mapping) and all(isinstance(one, str) for one in labels.values())
        ):
            # the API server gives each namespace this label
            found: dict[str, str] | None = {_NAME_LABEL: name, **(labels or {})}
        else:
            found = None
            self.tell(f"{place}{Workload.of(item).label}: labels are no mapping of texts")
        known = self.namespaces.get(name)
        self.namespaces[name] = Namespace(name, found if known is None or known.labels == found else None)

    def tell(self, problem: str) -> None:
        """Add what could not be read, once. After many, that there are more."""
        more = "there are further problems of this kind; solve these first"
        if len(self.problems) < MOST_PROBLEMS:
            if self.problems[-1:] != [problem]:
                self.problems.append(problem)
        elif len(self.problems) == MOST_PROBLEMS:
            self.problems.append(more)


def _kind_problem(item: Mapping[str, Json]) -> str:
    """Say what is wrong with the kind of an object, which hides its images; empty if nothing is."""
    kind = text_at(item, "kind")
    if not kind:
        if not {"kind", "apiVersion"} & set(item):
            return ""
        version = excerpt(as_text(item.get("apiVersion")), 100)
        return f"an object without a kind, of apiVersion {version!r}"
    if kind in POD_SPECS:
        return ""
    near = next((one for one in POD_SPECS if one.lower() == kind.strip().lower()), "")
    return f"{Workload.of(item).label}: kind {kind!r}, expected {near}" if near else ""


def _is_odd_list(item: Mapping[str, Json]) -> bool:
    """Whether an object is a List of Kubernetes without a list of items: nobody knows what it holds."""
    kind = text_at(item, "kind")
    return kind == "List" or (kind.endswith("List") and kind.removesuffix("List") in POD_SPECS)


def from_files(paths: Sequence[str], inventory: Inventory) -> None:
    """Add the objects of manifests: files, folders with everything below them, ``-`` for standard input.

    A file that cannot be read, and a path without any object, is one of the inventory's problems. Raises
    :class:`InputError` for a path that does not exist, and for more than 100,000 files.
    """
    for path in paths:
        before = inventory.objects, len(inventory.problems)
        for where, data in _files(path, inventory):
            if Path(where).name in _KUSTOMIZE:
                inventory.tell(
                    f"{_printable(where)} is input of kustomize: name its output (kustomize build)"
                )
                continue
            for document in _documents(data, _printable(where), inventory):
                if not isinstance(document, Mapping | list | None):
                    inventory.tell(f"{_printable(where)}: a document in it is no object")
                for item in items_of(document, inventory.tell):
                    inventory.add(item, where)
        if before == (inventory.objects, len(inventory.problems)):
            told = STANDARD_INPUT if path == "-" else _printable(path)
            inventory.tell(f"{told}: holds no objects of Kubernetes, so nothing was looked at")


def _documents(data: bytes, name: str, inventory: Inventory) -> Iterator[Any]:
    """Give the documents of a file, and of a large list in JSON its objects one by one."""
    try:
        if not is_large(data):
            yield from load_documents(data, name)
            return
        for item, problem in load_list(data, name):
            if problem:
                inventory.tell(problem)
            else:
                yield item
    except InputError as error:
        inventory.tell(str(error))


def _files(path: str, inventory: Inventory) -> Iterator[tuple[str, bytes]]:
    if path == "-":
        yield STANDARD_INPUT, read_standard_input(LARGEST)
        return
    root = Path(path)
    if not root.exists():
        raise InputError(f"{_printable(path)}: no such file or folder")

    def unreadable(error: OSError) -> None:
        inventory.tell(f"{_printable(str(error.filename))}: {error.strerror}")

    found = files_below(root, _SUFFIXES, unreadable) if root.is_dir() else [root]
    if len(found) > MOST_FILES:
        raise InputError(f"{_printable(path)}: {len(found)} files, expected at most {MOST_FILES}")
    for file in found:
        try:
            yield str(file), read_bytes(file, LARGEST)
        except InputError as error:
            inventory.tell(_printable(str(error)))


def _printable(path: str) -> str:
    """Return a path as text; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")


async def from_cluster(cluster: Cluster, namespaces: Sequence[str], inventory: Inventory) -> None:
    """Add the objects of a cluster, in some namespaces or, without any, in all.

    A kind that the account may not list is a problem, since its images go unseen. Raises
    :class:`chains.cluster.errors.ClusterError` where the API server does not answer.
    """
    seen = set()
    async for item in _listed(cluster, "/api/v1", "/namespaces", "Namespace", inventory):
        seen.add(text_at(item, "metadata", "name"))
        inventory.add(item)
    for name in namespaces if seen else ():
        if name not in seen:
            inventory.tell(f"namespace {name} is not in the cluster, so nothing was looked at")
    for kind, (api, resource) in RESOURCES.items():
        scopes = [f"/namespaces/{name}" for name in namespaces] or [""]
        for scope in scopes:
            async for item in _listed(cluster, api, f"{scope}/{resource}", kind, inventory):
                inventory.add(item)


async def _listed(
    cluster: Cluster, api: str, path: str, kind: str, inventory: Inventory
) -> AsyncIterator[Mapping[str, Json]]:
    # a list leaves the kind and version of its items out
    known = {"kind": kind, "apiVersion": api.removeprefix("/apis/").removeprefix("/api/")}
    try:
        async for item in cluster.list(api + path, outlines=True):
            if UNREADABLE in item:
                inventory.tell(f"{Workload.of({**item, **known}).label}: cannot be read: {item[UNREADABLE]}")
            else:
                yield {**item, **known}
    except ObjectGone:
        return
    except ClusterForbidden as error:
        inventory.tell(f"{kind} objects cannot be seen: {error}")

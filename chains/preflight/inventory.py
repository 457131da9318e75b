"""Where preflight finds images: manifests on disk, and the objects of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterForbidden, ObjectGone
from chains.documents.load import load_documents, read_bytes, read_standard_input
from chains.errors import InputError
from chains.policy.document.policy import Namespace
from chains.tekton.raw import Json, mapping_at, text_at
from chains.tekton.workloads import Use, items_of, uses_of

LARGEST = 64 << 20
"""Bytes of one manifest file."""
MOST_FILES = 100_000
_SUFFIXES = (".yaml", ".yml", ".json")
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
    """All uses of images, the namespaces whose labels are known, and what could not be read."""

    uses: list[Use] = field(default_factory=list)
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, item: Mapping[str, Json], where: str = "") -> None:
        """Add one object."""
        if text_at(item, "kind") == "Namespace" and text_at(item, "apiVersion") == "v1":
            name, labels = text_at(item, "metadata", "name"), mapping_at(item, "metadata", "labels")
            known = {key: value for key, value in labels.items() if isinstance(value, str)}
            self.namespaces[name] = Namespace(name, known)
            return
        for use in uses_of(item, where):
            if use.image:
                self.uses.append(use)
            else:
                told = use.problem or f"container {use.container or 'without name'} has no image"
                self.problems.append(f"{use.name}: {told}")


def from_files(paths: Sequence[str], inventory: Inventory) -> None:
    """Add the objects of manifests: files, folders with everything below them, ``-`` for standard input.

    A file that cannot be read is one of the inventory's problems. Raises :class:`InputError` for a path that
    does not exist, and for more than 100,000 files.
    """
    for path in paths:
        for name, data in _files(path, inventory):
            try:
                documents = load_documents(data, name)
            except InputError as error:
                inventory.problems.append(str(error))
                continue
            for document in documents:
                for item in items_of(document):
                    inventory.add(item, name)


def _files(path: str, inventory: Inventory) -> Iterator[tuple[str, bytes]]:
    if path == "-":
        yield "standard input", read_standard_input(LARGEST)
        return
    root = Path(path)
    if not root.exists():
        raise InputError(f"{path}: no such file or folder")
    found = [root] if root.is_file() else sorted(file for file in root.rglob("*") if file.suffix in _SUFFIXES)
    if len(found) > MOST_FILES:
        raise InputError(f"{path}: {len(found)} files, expected at most {MOST_FILES}")
    for file in found:
        try:
            yield str(file), read_bytes(file, LARGEST)
        except InputError as error:
            inventory.problems.append(str(error))


async def from_cluster(cluster: Cluster, namespaces: Sequence[str], inventory: Inventory) -> None:
    """Add the objects of a cluster, in some namespaces or, without any, in all.

    A kind that the account may not list is a problem, since its images go unseen. Raises
    :class:`chains.cluster.errors.ClusterError` where the API server does not answer.
    """
    async for item in _listed(cluster, "/api/v1/namespaces", "Namespace", inventory):
        inventory.add({"apiVersion": "v1", **item})
    for kind, (api, resource) in RESOURCES.items():
        scopes = [f"/namespaces/{name}" for name in namespaces] or [""]
        for scope in scopes:
            async for item in _listed(cluster, f"{api}{scope}/{resource}", kind, inventory):
                inventory.add(item)


async def _listed(
    cluster: Cluster, path: str, kind: str, inventory: Inventory
) -> AsyncIterator[Mapping[str, Json]]:
    try:
        async for item in cluster.list(path):
            yield {**item, "kind": kind}  # a list leaves the kind of its items out
    except ObjectGone:
        return
    except ClusterForbidden as error:
        inventory.problems.append(f"{kind} objects cannot be seen: {error}")

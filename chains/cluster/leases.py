"""One Lease for each share of the runs: its holder, until when, and who asks for it.

The fields have the same meaning as in client-go's leader election (coordination.k8s.io/v1): a record that
nobody changes for ``leaseDurationSeconds`` has expired. Two annotations are ours:
``provenance.chains/replicas`` is the number of shares into which the holder divides the runs, and
``provenance.chains/wanted-by`` is the identity that asks for the share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chains.cluster.client import Cluster

NAME = "tekton-chains-controller-share-"
REPLICAS = "provenance.chains/replicas"
WANTED_BY = "provenance.chains/wanted-by"
LABELS = {"app": "tekton-chains-controller", "provenance.chains/lease": "share"}


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One Lease. Times are RFC 3339 with microseconds. They are shown, and never compared with a clock.

    ``holder`` is empty if nobody holds the share. ``version`` is the resourceVersion that was read, empty for
    a Lease that does not exist.
    """

    holder: str = ""
    seconds: int = 0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0
    replicas: int = 0
    wanted_by: str = ""
    version: str = ""


class LeaseTable(Protocol):
    """The port to the records. Both methods raise :class:`ClusterError`."""

    async def read(self) -> Mapping[int, LeaseRecord]:
        """Return the existing records by the number of their share."""

    async def write(self, share: int, record: LeaseRecord) -> None:
        """Replace the version that a record names. Raises :class:`ObjectChanged` if there is a newer one."""


class ClusterLeases:
    """The Leases of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def read(self) -> dict[int, LeaseRecord]:
        """Return the records; see :meth:`LeaseTable.read`."""
        selector = ",".join(f"{key}={value}" for key, value in LABELS.items())
        found = {}
        async for raw in self._cluster.list(self._path, selector):
            number = raw["metadata"]["name"].removeprefix(NAME)
            if number.isdecimal():
                found[int(number)] = read_record(raw)
        return found

    async def write(self, share: int, record: LeaseRecord) -> None:
        """Write a record; see :meth:`LeaseTable.write`."""
        body = lease_body(record)
        if record.version:
            await self._cluster.patch(f"{self._path}/{NAME}{share}", body)
        else:
            body["metadata"]["name"] = f"{NAME}{share}"
            await self._cluster.create(self._path, body)


def read_record(raw: Mapping[str, Any]) -> LeaseRecord:
    """Return the record in a Lease of the API server."""
    metadata, spec = raw["metadata"], raw.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    replicas = str(annotations.get(REPLICAS, ""))
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        seconds=spec.get("leaseDurationSeconds") or 0,
        acquired=spec.get("acquireTime") or "",
        renewed=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
        replicas=int(replicas) if replicas.isdecimal() else 0,
        wanted_by=str(annotations.get(WANTED_BY, "")),
        version=metadata["resourceVersion"],
    )


def lease_body(record: LeaseRecord) -> dict[str, Any]:
    """Return the merge patch, or the new object, that makes a Lease equal to ``record``."""
    spec = {
        "holderIdentity": record.holder or None,
        "leaseDurationSeconds": record.seconds,
        "acquireTime": record.acquired,
        "renewTime": record.renewed,
        "leaseTransitions": record.transitions,
    }
    annotations = {REPLICAS: str(record.replicas), WANTED_BY: record.wanted_by or None}
    metadata: dict[str, Any] = {"labels": LABELS}
    if record.version:
        return {
            "metadata": {**metadata, "annotations": annotations, "resourceVersion": record.version},
            "spec": spec,
        }
    annotations = {key: value for key, value in annotations.items() if value is not None}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {**metadata, "annotations": annotations},
        "spec": spec,
    }

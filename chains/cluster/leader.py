"""One Lease that one process among several holds.

The holder works for two thirds of the Lease's duration after its last renewal was *sent*. Another process
takes the Lease only when the whole duration has passed since that renewal was *seen*. Each side measures with
its own monotonic clock, so clocks of two machines are never compared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ObjectChanged, ObjectGone
from chains.cluster.leases import LeaseRecord, read_record

NOTE = "provenance.chains/note"
"""The annotation with what the holder leaves for its successors."""
_FENCE, _STEP = 2 / 3, 1 / 6
_RELEASE_SECONDS = 2.0


class OneLease(Protocol):
    """The port to the Lease. Both methods raise :class:`ClusterError`."""

    async def read(self) -> tuple[LeaseRecord, str]:
        """Return the record and its note; an empty record if there is no Lease."""

    async def write(self, record: LeaseRecord, note: str) -> None:
        """Replace the version that a record names. Raises :class:`ObjectChanged` if there is a newer one."""


class ClusterLease:
    """A Lease by its name. Needs ``get`` and ``patch`` on it, and ``create`` on Leases of the namespace."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, labels: dict[str, str]) -> None:
        self._cluster, self._name, self._labels = cluster, name, labels
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def read(self) -> tuple[LeaseRecord, str]:
        """Return the record and its note; see :meth:`OneLease.read`."""
        try:
            raw = await self._cluster.get(f"{self._path}/{self._name}")
        except ObjectGone:
            return LeaseRecord(), ""
        annotations = raw["metadata"].get("annotations") or {}
        return read_record(raw), str(annotations.get(NOTE, ""))

    async def write(self, record: LeaseRecord, note: str) -> None:
        """Write the record and its note; see :meth:`OneLease.write`."""
        metadata: dict[str, Any] = {"labels": self._labels, "annotations": {NOTE: note}}
        spec = {
            "holderIdentity": record.holder or None,
            "leaseDurationSeconds": record.seconds,
            "acquireTime": record.acquired,
            "renewTime": record.renewed,
            "leaseTransitions": record.transitions,
        }
        if record.version:
            changed = {"metadata": {**metadata, "resourceVersion": record.version}, "spec": spec}
            await self._cluster.patch(f"{self._path}/{self._name}", changed)
            return
        body: dict[str, Any] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "name": self._name},
            "spec": spec,
        }
        await self._cluster.create(self._path, body)


class Leader:
    """Takes and keeps one Lease. ``identity`` must differ at every start."""

    def __init__(
        self,
        lease: OneLease,
        identity: str,
        *,
        seconds: int = 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease, self._identity, self._seconds, self._clock = lease, identity, seconds, clock
        self._until = self._since = 0.0
        self._seen: tuple[str, str, int] | None = None
        self.note = ""
        """What the holder last noted. The holder may change it; the next renewal writes it."""

    @property
    def is_held(self) -> bool:
        """Whether this process may work now."""
        return self._clock() < self._until

    @property
    def pause(self) -> float:
        """Seconds between two steps."""
        return self._seconds * _STEP

    async def step(self) -> None:
        """Look at the Lease once: renew it, or take it if it is free. Raises :class:`ClusterError`."""
        began = self._clock()
        record, note = await self._lease.read()
        if record.holder != self._identity:
            self._until = 0.0
            self.note = note
            if not self._is_free(record):
                return
            record = replace(record, acquired=_now(), transitions=record.transitions + bool(record.version))
        written = replace(record, holder=self._identity, seconds=self._seconds, renewed=_now())
        try:
            await self._lease.write(written, self.note)
        except ObjectChanged:
            self._until = 0.0
            return
        self._until = began + self._seconds * _FENCE

    async def release(self) -> None:
        """Give the Lease up, so that another process need not wait. Never raises."""
        self._until = 0.0
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                record, _ = await self._lease.read()
                if record.holder == self._identity:
                    await self._lease.write(replace(record, holder=""), self.note)
        except (ClusterError, TimeoutError):
            return  # it expires

    def _is_free(self, record: LeaseRecord) -> bool:
        state = (record.holder, record.renewed, record.transitions)
        if state != self._seen:
            self._seen, self._since = state, self._clock()
        return not record.holder or self._clock() - self._since >= record.seconds


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""The children of PipelineRuns: read when their parent has ended, and kept from their own end until then.

A child is kept, compressed, from the moment when it is attested until its parent is attested. The first
record counts. A run that is created later under the same name, with whatever owner, does not replace it, and
the parent's report says so. The records are bounded and fair to namespaces. A child without a record that is
gone, or was deleted while no controller ran, is named by the report as gone.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import orjson

from chains.cluster.client import METADATA_ONLY, Cluster, get_outline
from chains.cluster.errors import ClusterError, ObjectGone, ObjectLarge
from chains.cluster.paging import MOST_IN_WORK, weight
from chains.controller.memory.fair_memory import FairMemory
from chains.errors import ChainsError
from chains.tekton.children import child_references, names_a_task, parent_of, why_foreign
from chains.tekton.snapshot import has_ended
from chains.tracing import span
from storage import lean_json
from storage.lean_json import values_in

Json = Any
RunKey = tuple[str, str, str]
Parent = tuple[str, str]
"""Namespace and UID of a PipelineRun."""
Child = tuple[str, str]
"""Name and UID of a TaskRun."""
MAX_BYTES = 24 * 1024 * 1024
MOST_BYTES, MOST_VALUES = 32 * 1024 * 1024, 1_000_000
"""Limits for all children of one PipelineRun together, as JSON. A statement may have as many values."""
_SMALL_BYTES, _SMALL_VALUES = 1024 * 1024, 50_000
LONGEST_WAIT = 600.0
"""Seconds that a finished PipelineRun waits for its children's marks."""
_AT_ONCE = 16
"""Children that are read at a time. A status may name thousands, and all requests share the same rate
limit."""
_REMEMBERED = 10_000
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_log = logging.getLogger("chains.family")


@dataclass(slots=True)
class Children:
    """The TaskRuns of a PipelineRun.

    ``records`` are raw objects by (kind, namespace, name). ``doubts`` has, by name, why a record may not be
    that of the run that counted. ``there`` has, by name, the metadata of the children that are still in the
    cluster.
    """

    records: dict[RunKey, Json] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)
    there: dict[str, Mapping[str, Json]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Record:
    uid: str
    data: bytes
    other: str = ""
    """The UID of another run that ended under the same name."""


class TooLarge(ChainsError):  # noqa: N818 - says what is wrong with a run
    """The children of a PipelineRun are larger than the limit for any run."""


class _Budget:
    """What the ``children`` of one PipelineRun, so many, may have together, as JSON.

    ``reckoned`` is the weight that is reserved for them, 0 for a run that is not large.
    """

    def __init__(self, children: int, reckoned: int) -> None:
        self._children, self._reckoned = children, reckoned
        self._count = self._bytes = self._values = 0

    def take(self, data: bytes) -> None:
        """Count a child, before it is decoded. Raises :class:`ObjectLarge` or :class:`TooLarge`."""
        self._count += 1
        self._bytes += len(data)
        self._values += values_in(data)
        if self._bytes > MOST_BYTES or self._values > MOST_VALUES:
            raise TooLarge(
                f"its TaskRuns have more than {MOST_BYTES >> 20} MiB or {MOST_VALUES} values together, "
                "which is more than evidence can hold"
            )
        if self._is_more():
            # the weight of all is estimated from those that were read
            parts = max(1, -(-self._children // self._count))
            found = weight(self._bytes * parts, self._values * parts)
            raise ObjectLarge("the children of the PipelineRun take much memory together", found)

    def _is_more(self) -> bool:
        if not self._reckoned:
            return self._bytes > _SMALL_BYTES or self._values > _SMALL_VALUES
        # a run with the largest weight is in work alone, so it may be heavier still
        return self._reckoned < MOST_IN_WORK and weight(self._bytes, self._values) > self._reckoned


class ChildRuns:
    """Finds the TaskRuns of a PipelineRun, in the cluster or among the kept records."""

    def __init__(self, cluster: Cluster, *, max_bytes: int = MAX_BYTES) -> None:
        self._cluster = cluster
        self._kept: FairMemory[tuple[Parent, str], _Record] = FairMemory(
            lambda key: key[0][0], most_weight=max_bytes
        )
        self._names: dict[Parent, set[str]] = {}
        """The names of the kept records, by parent."""
        self._waited: FairMemory[Parent, tuple[float, set[Child], Callable[[], None]]] = FairMemory(
            _namespace, most_entries=_REMEMBERED
        )
        self._seeded: FairMemory[Parent, bool] = FairMemory(_namespace, most_entries=_REMEMBERED)
        self._marked: FairMemory[tuple[Parent, Child], bool] = FairMemory(
            lambda key: key[0][0], most_entries=_REMEMBERED
        )

    @property
    def kept_bytes(self) -> int:
        """The bytes of the kept records."""
        return self._kept.weight

    async def children(self, raw: Mapping[str, Json], reckoned: int = 0) -> Children:
        """Return the TaskRuns that a PipelineRun names. ``reckoned`` is the weight reserved for them, 0 for
        none.

        Raises :class:`chains.cluster.errors.ClusterError`, :class:`chains.cluster.errors.ObjectLarge` if they
        are heavier than what is reserved, and :class:`TooLarge` if they are larger than the limit for any
        run.
        """
        metadata = raw["metadata"]
        namespace, parent = metadata.get("namespace", ""), _key(metadata, metadata.get("uid", ""))
        names = dict.fromkeys(
            name
            for item in child_references(raw)
            # a tenant can write any status, and the name becomes part of a path
            if names_a_task(item) and _NAME.fullmatch(name := str(item.get("name")))
        )
        kept = {name: record for name in names if (record := self._kept.get((parent, name))) is not None}
        places = asyncio.Semaphore(_AT_ONCE)

        budget = _Budget(len(names), reckoned)

        async def read(name: str) -> Json | None:
            async with places:
                return await self._read(namespace, name, kept.get(name), budget)

        found = await asyncio.gather(*map(read, names))
        children = Children()
        for name, item in zip(names, found, strict=True):
            record = kept.get(name)
            if record is not None:
                unpack = partial(_unpacked, record, budget)
                children.records["TaskRun", namespace, name] = (
                    await lean_json.one_by_one(unpack) if reckoned else unpack()
                )
                if doubt := _doubt(record, item):
                    children.doubts[name] = doubt
                elif item is not None:
                    children.there[name] = item["metadata"]
            elif item is not None:
                children.records["TaskRun", namespace, name] = item
                if not why_foreign(item, raw):
                    children.there[name] = item["metadata"]
        return children

    async def _read(self, namespace: str, name: str, record: _Record | None, budget: _Budget) -> Json | None:
        """Return the run of a name from the cluster, None if there is none; only its metadata if it has a
        record."""
        path = f"/apis/tekton.dev/v1/namespaces/{namespace}/taskruns/{name}"
        try:
            with span("read", run_name=name):
                if record is None:
                    return await get_outline(self._cluster, path, check=budget.take)
                return await get_outline(self._cluster, path, accept=METADATA_ONLY)
        except ObjectGone:
            return None

    async def is_parent_running(self, raw: Mapping[str, Json]) -> bool:
        """Whether the PipelineRun that owns a TaskRun has not ended yet.

        Raises :class:`chains.cluster.errors.ClusterError`.
        """
        metadata = raw["metadata"]
        uid, namespace = parent_of(metadata), metadata.get("namespace", "")
        owners = metadata.get("ownerReferences") or ()
        name = next((str(owner.get("name")) for owner in owners if owner.get("uid") == uid), "")
        if not uid or not _NAME.fullmatch(name):
            return False
        try:
            path = f"/apis/tekton.dev/v1/namespaces/{namespace}/pipelineruns/{name}"
            found = await get_outline(self._cluster, path)
        except ObjectGone:
            return False
        return bool(found["metadata"].get("uid") == uid and not has_ended(found))

    def keep(self, raw: Mapping[str, Json]) -> None:
        """Keep a finished TaskRun for its parent. A TaskRun without a parent is not kept.

        If several runs end under one name the first one is kept.
        """
        metadata = raw["metadata"]
        parent, name, uid = _parent(metadata), metadata["name"], str(metadata.get("uid") or "")
        if not parent[1]:
            return
        first = self._kept.get((parent, name))
        if first is None:
            record = _Record(uid, zlib.compress(orjson.dumps(raw), 1))
        elif first.uid == uid or first.other:
            return
        else:
            record = replace(first, other=uid)
        self._names.setdefault(parent, set()).add(name)
        for (parent_of_gone, gone), _ in self._kept.put((parent, name), record, len(record.data)):
            self._unname(parent_of_gone, gone)

    def _unname(self, parent: Parent, name: str) -> None:
        names = self._names[parent]
        names.discard(name)
        if not names:
            del self._names[parent]

    async def seed(self, raw: Mapping[str, Json], reckoned: int = 0) -> None:
        """Read and keep the finished children of a running PipelineRun: once, because a restart lost the
        records."""
        metadata = raw["metadata"]
        parent = _key(metadata, metadata["uid"])
        if parent in self._seeded:
            return
        self._seeded.put(parent, value=True)
        try:
            children = await self.children(raw, reckoned)
        except ClusterError:
            self._seeded.pop(parent)
            raise
        except TooLarge:
            return  # reported when the PipelineRun ends
        ended = [child for child in children.records.values() if has_ended(child)]
        for child in ended:
            self.keep(child)
        if ended:
            _log.info("children were read again", extra={"uid": parent[1], "count": len(ended)})

    def waits_for(self, parent: Parent, pending: set[Child], wake: Callable[[], None]) -> bool:
        """Note that a PipelineRun waits for the ``pending`` children; False if it has waited long enough.

        ``wake`` is called when the last of them is marked. Children that were marked while the others were
        read do not count as pending.
        """
        pending = {child for child in pending if (parent, child) not in self._marked}
        if not pending:
            return False
        waited = self._waited.get(parent)
        begun = waited[0] if waited is not None else time.monotonic()
        if time.monotonic() - begun > LONGEST_WAIT:
            return False
        self._waited.put(parent, (begun, pending, wake))
        return True

    def marked(self, metadata: Mapping[str, Any]) -> None:
        """Note that a TaskRun was marked."""
        parent = _parent(metadata)
        if not parent[1]:
            return
        child = str(metadata.get("name")), str(metadata.get("uid"))
        self._marked.put((parent, child), value=True)
        waiting = self._waited.get(parent)
        if waiting is not None:
            waiting[1].discard(child)
            if not waiting[1]:
                waiting[2]()

    def forget(self, parent: Parent) -> None:
        """Forget everything about a PipelineRun."""
        for name in self._names.pop(parent, ()):
            self._kept.pop((parent, name))
        self._waited.pop(parent)
        self._seeded.pop(parent)

    def forget_all(self, unwanted: Callable[[str], bool]) -> None:
        """Forget everything about the PipelineRuns whose UID is ``unwanted``."""
        for parent in {*self._names, *self._waited, *self._seeded}:
            if unwanted(parent[1]):
                self.forget(parent)


def _unpacked(record: _Record, budget: _Budget) -> Json:
    data = zlib.decompress(record.data)
    budget.take(data)
    return orjson.loads(data)


def _doubt(record: _Record, item: Mapping[str, Json] | None) -> str:
    """Return why a record may not be that of the run that counted: Tekton creates a deleted child again."""
    uid = str(item["metadata"].get("uid")) if item is not None else record.uid
    other = record.other if uid == record.uid else uid
    if not other:
        return ""
    return (
        f"another run of this name, with UID {other}, came after the one that ended first, with UID "
        f"{record.uid}; the record is of the first"
    )


def _namespace(parent: Parent) -> str:
    return parent[0]


def _key(metadata: Mapping[str, Json], uid: str) -> Parent:
    return str(metadata.get("namespace") or ""), uid


def _parent(metadata: Mapping[str, Json]) -> Parent:
    return _key(metadata, parent_of(metadata))

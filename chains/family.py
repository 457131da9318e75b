"""The children of PipelineRuns: read when their parent has ended, and kept meanwhile if a pruner is faster.

A child is kept, compressed, from the moment it is attested until its parent is. What is kept is bounded; what
falls out, or was deleted while no controller ran, is named by the parent's report as gone.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from chains.cluster import Cluster, ClusterError, ObjectGone
from chains.snapshot import child_references, has_ended, owned_by
from chains.trace import span

Json = Any
Key = tuple[str, str, str]
MAX_BYTES = 64 * 1024 * 1024
LONGEST_WAIT = 600.0
"""Seconds that a finished PipelineRun waits for its children's marks."""
_REMEMBERED = 10_000
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_log = logging.getLogger("chains.family")


def parent_of(metadata: Mapping[str, Any]) -> str:
    """Return the UID of the PipelineRun that owns an object, empty when none does."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == "PipelineRun":
            return str(owner.get("uid") or "")
    return ""


class Family:
    """Finds the TaskRuns of a PipelineRun, in the cluster or among those kept."""

    def __init__(self, cluster: Cluster, *, max_bytes: int = MAX_BYTES) -> None:
        self._cluster, self._max_bytes = cluster, max_bytes
        self._kept: OrderedDict[str, dict[str, bytes]] = OrderedDict()
        self.kept_bytes = 0
        self._waited: OrderedDict[str, tuple[float, set[str], Callable[[], None]]] = OrderedDict()
        self._seeded: OrderedDict[str, None] = OrderedDict()
        self._marked: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def children(self, raw: Mapping[str, Json]) -> tuple[dict[Key, Json], set[str]]:
        """Return the TaskRuns that a PipelineRun names, by (kind, namespace, name), and the names of those
        still in the cluster.

        Raises :class:`chains.cluster.ClusterError`.
        """
        metadata = raw["metadata"]
        namespace, uid = metadata.get("namespace", ""), metadata.get("uid", "")
        names = [
            name
            for item in child_references(raw)
            # a status may say anything, and the name becomes part of a path
            if item.get("kind") == "TaskRun" and _NAME.fullmatch(name := str(item.get("name")))
        ]
        found = await asyncio.gather(*(self._child(namespace, name) for name in names))
        children, there = {}, set()
        for name, item in zip(names, found, strict=True):
            # a run of the same name that belongs to somebody else does not replace the child that is gone
            if item is not None and owned_by(item, uid):
                there.add(name)
            else:
                item = self._recalled(uid, name) or item  # noqa: PLW2901
            if item is not None:
                children["TaskRun", namespace, name] = item
        return children, there

    async def _child(self, namespace: str, name: str) -> Json | None:
        try:
            with span("read", run_name=name):
                return await self._cluster.get(f"/apis/tekton.dev/v1/namespaces/{namespace}/taskruns/{name}")
        except ObjectGone:
            return None

    def keep(self, raw: Mapping[str, Json]) -> None:
        """Keep a finished TaskRun for its parent; one without a parent is not kept."""
        parent = parent_of(raw["metadata"])
        if not parent:
            return
        self._drop(parent, raw["metadata"]["name"])
        data = zlib.compress(orjson.dumps(raw), 1)
        self._kept.setdefault(parent, {})[raw["metadata"]["name"]] = data
        self._kept.move_to_end(parent)
        self.kept_bytes += len(data)
        while self.kept_bytes > self._max_bytes:
            self.forget(next(iter(self._kept)))

    async def seed(self, raw: Mapping[str, Json]) -> None:
        """Keep the finished children of a PipelineRun that still runs: once, since a restart forgot them."""
        uid = raw["metadata"]["uid"]
        if uid in self._seeded:
            return
        self._seeded[uid] = None
        if len(self._seeded) > _REMEMBERED:
            self._seeded.popitem(last=False)
        try:
            children, _ = await self.children(raw)
        except ClusterError:
            self._seeded.pop(uid, None)
            raise
        ended = [child for child in children.values() if has_ended(child)]
        for child in ended:
            self.keep(child)
        if ended:
            _log.info("children were read again", extra={"uid": uid, "count": len(ended)})

    def waits_for(self, uid: str, pending: set[str], wake: Callable[[], None]) -> bool:
        """Note that a PipelineRun waits for the ``pending`` children; False when it has waited long enough.

        ``wake`` is called when the last of them is marked; what was marked while the others were read does
        not count as pending.
        """
        pending = {name for name in pending if (uid, name) not in self._marked}
        if not pending:
            return False
        begun = self._waited[uid][0] if uid in self._waited else time.monotonic()
        if time.monotonic() - begun > LONGEST_WAIT:
            return False
        self._waited[uid] = (begun, set(pending), wake)
        if len(self._waited) > _REMEMBERED:
            self._waited.popitem(last=False)
        return True

    def marked(self, metadata: Mapping[str, Any]) -> None:
        """Say that a TaskRun was marked."""
        parent, name = parent_of(metadata), str(metadata.get("name"))
        if not parent:
            return
        self._marked[parent, name] = None
        if len(self._marked) > _REMEMBERED:
            self._marked.popitem(last=False)
        waiting = self._waited.get(parent)
        if waiting is not None:
            waiting[1].discard(name)
            if not waiting[1]:
                waiting[2]()

    def forget(self, uid: str) -> None:
        """Let go of everything about a PipelineRun."""
        self.kept_bytes -= sum(map(len, self._kept.pop(uid, {}).values()))
        self._waited.pop(uid, None)
        self._seeded.pop(uid, None)

    def forget_all(self, unwanted: Callable[[str], bool]) -> None:
        """Let go of everything about the PipelineRuns whose UID is ``unwanted``."""
        for uid in [uid for uid in {**self._kept, **self._waited, **self._seeded} if unwanted(uid)]:
            self.forget(uid)

    def _drop(self, parent: str, name: str) -> None:
        self.kept_bytes -= len(self._kept.get(parent, {}).pop(name, b""))

    def _recalled(self, parent: str, name: str) -> Json | None:
        data = self._kept.get(parent, {}).get(name)
        return orjson.loads(zlib.decompress(data)) if data else None

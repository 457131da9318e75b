"""Finished runs as the watch delivered them, kept until their turn. Saves one GET for each run.

They are compressed and bounded in bytes. A run that does not fit, or has waited long, is read again. If a run
has changed meanwhile the PATCH fails, because it names the version that was read.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from cachetools import TTLCache

from chains.attest.earlier import Earlier, from_json, to_json
from chains.cluster.paging import is_large, weight_of
from chains.controller.memory.fair_memory import FairMemory
from chains.tekton.runs import Job

_OUTDATED = 20.0
"""Seconds after a write of ours in which the watch may still deliver an older version."""
MAX_BYTES = 16 * 1024 * 1024
BEGUN_BYTES = 8 * 1024 * 1024
LONGEST = 300.0
"""Seconds after which a cached run is not used any more."""
_MANAGED = "managedFields"
RunKey = tuple[str, str, str]
"""Kind, namespace, name."""


class RunCache:
    """Raw runs by job."""

    def __init__(self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self.kept_bytes = max_bytes, 0
        self._kept: dict[Job, tuple[float, bytes]] = {}
        self._outdated: TTLCache[Job, None] = TTLCache(math.inf, _OUTDATED, timer=clock)

    def keep(self, job: Job, raw: Mapping[str, Any]) -> None:
        """Keep a run unless it is large. A later version replaces an earlier one."""
        self.forget(job)
        if job in self._outdated:
            return
        metadata = {key: value for key, value in raw["metadata"].items() if key != _MANAGED}
        text = orjson.dumps({**raw, "metadata": metadata})
        if is_large(text):
            return
        data = zlib.compress(text, 1)
        if self.kept_bytes + len(data) > self._max_bytes:
            return
        self._kept[job] = time.monotonic(), data
        self.kept_bytes += len(data)

    def take(self, job: Job) -> dict[str, Any] | None:
        """Return a run and forget it; None if it is not cached or has waited too long."""
        found = self._kept.get(job)
        self.forget(job)
        if found is None or time.monotonic() - found[0] > LONGEST:
            return None
        raw: dict[str, Any] = orjson.loads(zlib.decompress(found[1]))
        return raw

    def forget(self, job: Job) -> None:
        """Let go of a run."""
        _, data = self._kept.pop(job, (0.0, b""))
        self.kept_bytes -= len(data)

    def outdate(self, job: Job) -> None:
        """Note that the run was written just now: the watch may deliver an older version, so it is read
        again."""
        self.forget(job)
        self._outdated[job] = None


class StartedRuns:
    """Runs that are tried again: each attempt attests the run as the first attempt saw it, and keeps its
    receipts.

    A run changes after its end: it gets labels and annotations, Tekton replaces its sidecars, and a
    PipelineRun may lose a child. A statement about the changed run would be stored next to the first one. The
    runs are compressed and bounded, fair to namespaces. A run that does not fit is read again.
    """

    def __init__(self, max_bytes: int = BEGUN_BYTES) -> None:
        self._kept: FairMemory[Job, tuple[bytes, bytes, int, int]] = FairMemory(
            lambda job: job.namespace, most_weight=max_bytes
        )

    def keep(
        self,
        job: Job,
        raw: Mapping[str, Any],
        records: Mapping[RunKey, Any],
        doubts: Mapping[str, str],
        earlier: Earlier,
        flow: int,
    ) -> None:
        """Keep a run, its children and the doubts about them, as they were attested first.

        ``earlier`` is the result of each payload in the last attempt. It holds only for ``flow``, the number
        of the configuration and keys.
        """
        known = self._kept.get(job)
        if known:
            data, weight = known[0], known[3]
        else:
            text = orjson.dumps([raw, [[*key, one] for key, one in records.items()], doubts])
            data, weight = zlib.compress(text, 1), weight_of(text) if is_large(text) else 0
        receipts = _packed(to_json(earlier))
        self._kept.put(job, (data, receipts, flow, weight), len(data) + len(receipts))

    def large_weight(self, job: Job) -> int:
        """Return the weight of a run that takes much memory when it is decoded, 0 for any other."""
        known = self._kept.get(job)
        return known[3] if known else 0

    def recall(self, job: Job) -> tuple[dict[str, Any], dict[RunKey, Any], dict[str, str]] | None:
        """Return a run, its children and their doubts; None if it is not kept."""
        known = self._kept.get(job)
        if known is None:
            return None
        raw, children, doubts = orjson.loads(zlib.decompress(known[0]))
        return raw, {(kind, namespace, name): child for kind, namespace, name, child in children}, doubts

    def receipts(self, job: Job, flow: int) -> Earlier:
        """Return the result of each payload in the last attempt; empty if configuration or keys have
        changed."""
        known = self._kept.get(job)
        return from_json(orjson.loads(zlib.decompress(known[1]))) if known and known[2] == flow else {}

    def forget(self, job: Job) -> None:
        """Let go of a run."""
        self._kept.pop(job)

    def forget_all(self, unwanted: Callable[[Job], bool]) -> None:
        """Let go of ``unwanted`` runs."""
        for job in [job for job in self._kept if unwanted(job)]:
            self._kept.pop(job)


def _packed(value: Any) -> bytes:
    return zlib.compress(orjson.dumps(value), 1)

"""Finished runs as the watch brought them, until their turn comes: saves the API server one GET for each.

They are kept compressed and bounded in bytes; what falls out, or has waited long, is read again. A run that
changed meanwhile is noticed by the PATCH, which holds for the version that was read.
"""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from chains.attest.earlier import Earlier, from_json, to_json
from chains.cluster.paging import is_large, weight_of
from chains.controller.memory.fair_memory import FairMemory
from chains.tekton.runs import Job

_OUTDATED = 20.0
"""Seconds in which the watch may still bring what was there before a write of ours."""
MAX_BYTES = 16 * 1024 * 1024
BEGUN_BYTES = 8 * 1024 * 1024
LONGEST = 300.0
"""Seconds after which what the watch brought is not believed any more."""
_MANAGED = "managedFields"
RunKey = tuple[str, str, str]
"""Kind, namespace, name."""


class RunCache:
    """Raw runs by job."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes, self.kept_bytes = max_bytes, 0
        self._kept: dict[Job, tuple[float, bytes]] = {}
        self._outdated: OrderedDict[Job, float] = OrderedDict()

    def keep(self, job: Job, raw: Mapping[str, Any]) -> None:
        """Keep a run that is not large; of two bodies of one run the later counts."""
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
        """Return a run and forget it; None for one that is not here or has waited too long."""
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
        """Say that the run was written just now: what the watch brings may be older, so it is read again."""
        self.forget(job)
        now = time.monotonic()
        self._outdated[job] = now
        self._outdated.move_to_end(job)
        while now - next(iter(self._outdated.values())) > _OUTDATED:
            self._outdated.popitem(last=False)


class StartedRuns:
    """Runs that are tried again: the next try attests what the first one did, and keeps its receipts.

    A run gets labels and annotations after its end, Tekton replaces its sidecars, and a PipelineRun loses a
    child; a statement about that would stand beside the one that is stored already. Compressed and bounded,
    for each namespace at the cost of its own; what falls out is read again.
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
        """Keep a run, its children and what is in doubt about these, as they were attested first.

        Kept is also what became of each payload the last time; ``flow`` tells the configuration and keys, and
        receipts of others do not count.
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
        """Return the weight of a run that takes much memory when it is recalled; 0 for any other."""
        known = self._kept.get(job)
        return known[3] if known else 0

    def recall(self, job: Job) -> tuple[dict[str, Any], dict[RunKey, Any], dict[str, str]] | None:
        """Return a run, its children and their doubts; None for one that is not kept."""
        known = self._kept.get(job)
        if known is None:
            return None
        raw, children, doubts = orjson.loads(zlib.decompress(known[0]))
        return raw, {(kind, namespace, name): child for kind, namespace, name, child in children}, doubts

    def receipts(self, job: Job, flow: int) -> Earlier:
        """Return what became of each payload the last time; nothing under another configuration or key."""
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

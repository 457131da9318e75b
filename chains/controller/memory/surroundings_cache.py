"""What the controller remembers of its reads: shared objects briefly, and pods until their PipelineRun is
marked.

A policy has to be read after the run ended. One that was read before could have been opened while the run's
pod was still running. An answer is therefore used again only for runs that had ended when it was requested.
Readers that need a newer answer at the same time share one request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import orjson
from cachetools import LRUCache

from chains.cluster.errors import ClusterError
from chains.controller.memory.fair_memory import FairMemory
from chains.tekton.pod import parse_pod
from chains.tekton.surroundings import Surroundings

V = TypeVar("V")
SECONDS = 30.0
"""How long an answer is used again."""
CLOCKS_DIFFER = 10.0
"""Seconds by which the clock that writes the end of a run, Tekton's, may be behind ours."""
MOST_BYTES, MOST_PODS = 16 << 20, 4096
_MOST_ANSWERS = 1024


@dataclass(slots=True)
class _Answer(Generic[V]):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    began: float = float("-inf")
    """Begin of the last read, by the monotonic clock."""
    asked: float = 0.0
    """The same in POSIX seconds, to compare it with the end of a run."""
    value: V | None = None
    error: ClusterError | None = None


class ReadCache(Generic[V]):
    """Answers by path, each used again for a short time."""

    def __init__(self, read: Callable[[str], Awaitable[V]]) -> None:
        self._read = read
        self._answers: LRUCache[str, _Answer[V]] = LRUCache(_MOST_ANSWERS)

    async def get(self, path: str, ended: float | None) -> V:
        """Return what ``path`` held after ``ended`` (POSIX seconds, None for not known).

        Raises the :class:`ClusterError` of the read.
        """
        answer = self._answers.setdefault(path, _Answer())
        came = time.monotonic()
        async with answer.lock:
            is_shared = answer.began > came  # another reader made the request while this one waited
            is_good = answer.error is None and ended is not None and answer.asked - CLOCKS_DIFFER > ended
            if not is_shared and not (is_good and came - answer.began < SECONDS):
                await self._ask(path, answer)
            if answer.error is not None:
                raise answer.error
            assert answer.value is not None  # noqa: S101 - either is set
            return answer.value

    async def _ask(self, path: str, answer: _Answer[V]) -> None:
        before, answer.began, answer.asked, answer.error = answer.began, time.monotonic(), time.time(), None
        try:
            found = await self._read(path)
        except ClusterError as error:
            answer.error = error
        except BaseException:
            answer.began = before
            raise
        else:
            # an equal answer keeps the object of before, because every cached run refers to it
            answer.value = answer.value if found == answer.value else found


RunId = tuple[str, str]
"""Namespace and UID of a run."""


@dataclass(frozen=True, slots=True)
class _Kept:
    surroundings: Surroundings
    pod: bytes
    parent: str


class SurroundingsCache:
    """The surroundings of runs, until they are forgotten or there are too many.

    They are needed again if a run is tried again, or when its PipelineRun is attested. Pods are kept as
    bytes, which take a tenth of the memory. The memory is fair to namespaces.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, most_pods: int = MOST_PODS) -> None:
        self._kept: FairMemory[RunId, _Kept] = FairMemory(
            lambda run: run[0], most_weight=most_bytes, most_entries=most_pods
        )
        self._children: dict[RunId, set[RunId]] = {}
        self._policies: object = None

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes kept, as JSON."""
        return self._kept.weight

    def put(self, run: RunId, parent: str, surroundings: Surroundings, pod: bytes = b"") -> None:
        """Keep the surroundings of a run; ``parent`` is the UID of its PipelineRun, empty for none.

        ``pod`` is the JSON that the pod in ``surroundings`` was parsed from, empty where there is none.
        """
        namespace, uid = run
        if not uid:
            return
        self._drop(run)
        shared = surroundings.policies is self._policies
        self._policies = surroundings.policies
        size = len(pod) + (0 if shared else len(orjson.dumps(surroundings.policies)))
        if parent:
            self._children.setdefault((namespace, parent), set()).add(run)
        for gone, kept in self._kept.put(run, _Kept(replace(surroundings, pod=None), pod, parent), size):
            self._orphan(gone, kept)

    def get(self, run: RunId) -> Surroundings | None:
        """Return the surroundings of a run, None if they are not kept."""
        found = self._kept.get(run)
        if found is None or not found.pod:
            return None if found is None else found.surroundings
        return replace(found.surroundings, pod=parse_pod(orjson.loads(found.pod)))

    def forget(self, run: RunId, but: Container[str] = ()) -> None:
        """Forget a run that is marked, unless its PipelineRun needs it, and forget its children.

        Children whose UID is in ``but`` are not marked yet: they are forgotten when they are.
        """
        found = self._kept.get(run)
        if found is not None and not found.parent:
            self._drop(run)
        for child in list(self._children.get(run, ())):
            kept = self._kept.get(child)
            self._drop(child)
            if kept is not None and child[1] in but:
                self._kept.put(child, replace(kept, parent=""), len(kept.pod))

    def _drop(self, run: RunId) -> None:
        found = self._kept.pop(run)
        if found is not None:
            self._orphan(run, found)

    def _orphan(self, run: RunId, kept: _Kept) -> None:
        parent = run[0], kept.parent
        siblings = self._children.get(parent, set())
        siblings.discard(run)
        if not siblings:
            self._children.pop(parent, None)

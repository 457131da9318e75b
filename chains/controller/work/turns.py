"""Which jobs give up their worker when other namespaces wait: a namespace whose runs hang must not block the
others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
PATIENCE = 1.0
"""Seconds that a namespace waits for a worker before a job of another namespace has to give way."""
SHORTEST_TURN = 2.0
"""Seconds that a job is in work before it has to give way. Most jobs end sooner."""


class Crowd(Generic[T]):
    """The namespaces that wait for a worker, since when, and the jobs that were asked to give way."""

    def __init__(self) -> None:
        self.waiting: dict[str, float] = {}
        """The namespaces that waited at the last call of :meth:`look`, and since when."""
        self._asked: set[T] = set()

    def serve(self, namespace: str) -> None:
        """Note that a job of a namespace began."""
        self.waiting.pop(namespace, None)

    def gone(self, job: T) -> None:
        """Note that a job's turn ended."""
        self._asked.discard(job)

    def look(self, now: float, waiting: Iterable[str], turns: Iterable[tuple[str, T, float]]) -> list[T]:
        """Return one job that has to give way for each namespace that has waited too long.

        ``waiting`` are the namespaces that wait now. ``turns`` are namespace, job and begin of each turn. All
        times are seconds of one clock. The youngest job of the namespace with the most jobs gives way,
        because older jobs are nearer to their end. No job gives way to a namespace that has as many in work
        itself, and no job that has only just begun.
        """
        self.waiting = {each: self.waiting.get(each, now) for each in dict.fromkeys(waiting)}
        late = [each for each, since in self.waiting.items() if now - since >= PATIENCE]
        # the jobs that were asked before give their workers to the namespaces that wait longest
        late = late[len(self._asked) :]
        if not late:
            return []
        share: dict[str, int] = {}
        can: dict[str, list[tuple[float, T]]] = {}
        for namespace, job, begun in turns:
            if job in self._asked:
                continue
            share[namespace] = share.get(namespace, 0) + 1
            if now - begun >= SHORTEST_TURN:
                can.setdefault(namespace, []).append((begun, job))
        for jobs in can.values():
            jobs.sort(key=lambda entry: entry[0])
        found: list[T] = []
        for namespace in late:
            most = max(can, key=lambda name: share[name], default=None)
            if most is None or share[most] <= share.get(namespace, 0) + 1:
                continue
            found.append(can[most].pop()[1])
            share[most] -= 1
            share[namespace] = share.get(namespace, 0) + 1
            if not can[most]:
                del can[most]
        self._asked.update(found)
        return found

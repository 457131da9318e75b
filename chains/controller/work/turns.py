"""Who gives up a worker when others wait for one: a namespace whose runs hang keeps nobody else from his."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
PATIENCE = 1.0
"""Seconds that a namespace waits for a worker before somebody is asked to give way to it."""
SHORTEST_TURN = 2.0
"""Seconds that a job is left in work before it is asked to give way: few take longer."""


class Crowd(Generic[T]):
    """Remembers which namespaces wait for a worker, since when, and which jobs were asked to give way."""

    def __init__(self) -> None:
        self.waiting: dict[str, float] = {}
        """The namespaces that waited at the last look, and since when."""
        self._asked: set[T] = set()

    def serve(self, namespace: str) -> None:
        """Say that a job of a namespace was begun."""
        self.waiting.pop(namespace, None)

    def gone(self, job: T) -> None:
        """Say that a job is out of work."""
        self._asked.discard(job)

    def look(self, now: float, waiting: Iterable[str], turns: Iterable[tuple[str, T, float]]) -> list[T]:
        """Return one job that is to give way for each namespace that waits too long.

        ``waiting`` are the namespaces that wait now, ``turns`` namespace, job and beginning of what is in
        work; all times are of one clock, in seconds. Nobody has to go for a namespace that has as many in
        work itself, and no job that was only just begun. Of the namespace with the most, the youngest goes:
        what is older is nearer to its end.
        """
        self.waiting = {each: self.waiting.get(each, now) for each in dict.fromkeys(waiting)}
        late = [each for each, since in self.waiting.items() if now - since >= PATIENCE]
        late = late[
            len(self._asked) :
        ]  # the first have their places as soon as those who were asked are gone
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

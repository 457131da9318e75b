"""One lane of the work list: what waits in it, by namespace, and whose turn it is."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST_COMPARED = 64
"""Namespaces compared for one turn: with the usual number of workers no more have anything in work."""


class Lane(Generic[T]):
    """A queue for each namespace, served in turn; of one namespace, what came first goes first.

    An entry stays behind when what it stands for has gone elsewhere; ``stands`` says whether one counts.
    """

    def __init__(self, stands: Callable[[T], bool]) -> None:
        self._stands = stands
        self.queues: OrderedDict[str, deque[T]] = OrderedDict()
        """What waits, by namespace; entries that do not count any more may be among it."""

    def add(self, namespace: str, entry: T) -> None:
        """Put an entry behind those of its namespace."""
        queue = self.queues.get(namespace)
        if queue is None:
            queue = self.queues[namespace] = deque()
        queue.append(entry)

    def give_back(self, namespace: str, entry: T) -> None:
        """Put an entry before all others: it was taken and not begun."""
        self.queues.setdefault(namespace, deque()).appendleft(entry)
        self.queues.move_to_end(namespace, last=False)

    def next(self, held: Mapping[str, int], share: float) -> tuple[str, int] | None:
        """Return whose turn it is, and how much that namespace has in work; None for an empty lane.

        Of those that wait it is the one served longest ago that has less than ``share`` in work, which
        ``held`` tells; if all have more, the one with the least.
        """
        found: tuple[str, int] | None = None
        spent: list[str] = []
        for number, (namespace, queue) in enumerate(self.queues.items()):
            if not self._counts(queue):
                spent.append(namespace)
                continue
            has = held.get(namespace, 0)
            if found is None or has < found[1]:
                found = namespace, has
            if has < share or number >= _MOST_COMPARED:
                break
        for namespace in spent:
            del self.queues[namespace]
        return found

    def take(self, namespace: str) -> T:
        """Return the first entry of a namespace, of which :meth:`next` said that it has one."""
        queue = self.queues[namespace]
        entry = queue.popleft()
        if not queue:
            del self.queues[namespace]
        elif len(self.queues) > 1:
            self.queues.move_to_end(namespace)
        return entry

    def namespaces(self) -> Iterator[str]:
        """Yield the namespaces that wait, in their turn."""
        return (namespace for namespace, queue in self.queues.items() if self._counts(queue))

    def forget(self, unwanted: Callable[[T], bool]) -> None:
        """Let go of the ``unwanted`` entries."""
        for namespace, queue in list(self.queues.items()):
            kept = deque(entry for entry in queue if not unwanted(entry))
            if kept:
                self.queues[namespace] = kept
            else:
                del self.queues[namespace]

    def _counts(self, queue: deque[T]) -> bool:
        """Whether there is an entry that counts; lets go of those before it."""
        while queue:
            if self._stands(queue[0]):
                return True
            queue.popleft()
        return False

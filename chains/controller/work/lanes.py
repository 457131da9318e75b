"""One lane of the work list: a queue for each namespace, and which namespace is next."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST_COMPARED = 64
"""Namespaces that are compared for one turn, at most. With the usual number of workers no more have jobs in
work."""


class Lane(Generic[T]):
    """A queue for each namespace; namespaces are served in turn, and each queue is first in first out.

    An entry stays in its queue when its job has moved to another lane. ``stands`` returns whether an entry is
    still valid.
    """

    def __init__(self, stands: Callable[[T], bool]) -> None:
        self._stands = stands
        self.queues: OrderedDict[str, deque[T]] = OrderedDict()
        """The entries by namespace, including ones that are not valid any more."""

    def add(self, namespace: str, entry: T) -> None:
        """Append an entry to the queue of its namespace."""
        queue = self.queues.get(namespace)
        if queue is None:
            queue = self.queues[namespace] = deque()
        queue.append(entry)

    def give_back(self, namespace: str, entry: T) -> None:
        """Put an entry that was taken and not begun before all others."""
        self.queues.setdefault(namespace, deque()).appendleft(entry)
        self.queues.move_to_end(namespace, last=False)

    def next(self, held: Mapping[str, int], share: float) -> tuple[str, int] | None:
        """Return the namespace that is next and how many jobs it has in work; None for an empty lane.

        Next is the namespace that was served longest ago among those with fewer than ``share`` jobs in work.
        If all have more, it is the one with the fewest. ``held`` has the jobs in work by namespace.
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
        """Return the first entry of a namespace that :meth:`next` returned."""
        queue = self.queues[namespace]
        entry = queue.popleft()
        if not queue:
            del self.queues[namespace]
        elif len(self.queues) > 1:
            self.queues.move_to_end(namespace)
        return entry

    def namespaces(self) -> Iterator[str]:
        """Yield the namespaces with valid entries, in the order in which they are served."""
        return (namespace for namespace, queue in self.queues.items() if self._counts(queue))

    def forget(self, unwanted: Callable[[T], bool]) -> None:
        """Remove the ``unwanted`` entries."""
        for namespace, queue in list(self.queues.items()):
            kept = deque(entry for entry in queue if not unwanted(entry))
            if kept:
                self.queues[namespace] = kept
            else:
                del self.queues[namespace]

    def _counts(self, queue: deque[T]) -> bool:
        """Whether a queue has a valid entry. Removes the outdated ones before it."""
        while queue:
            if self._stands(queue[0]):
                return True
            queue.popleft()
        return False

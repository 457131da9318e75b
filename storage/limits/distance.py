"""Measures how long hosts take to answer, and which part of it is network distance.

The shortest time in which a host recently answered a kind of request stands for its distance. Everything
above it is queueing, at the host or here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_LATELY = 600.0
"""Seconds after which a shortest time is forgotten (at most twice that). A host may be moved."""
NEAR, CROWDED = 2.0, 4.0
"""Limits of the ratio of actual to shortest time. Below ``NEAR`` there is only distance, and more requests
may run at the same time. Above ``CROWDED`` there is a queue, and fewer should."""
_LEAST = 0.001
"""The shortest time in seconds that is counted. Below it, differences are noise."""


@dataclass(slots=True)
class _Shortest:
    """The shortest time in the current and in the previous period."""

    since: float
    now: float
    before: float

    def note(self, seconds: float, clock: float) -> float:
        """Add a time and return the shortest one."""
        if clock - self.since > _LATELY:
            self.before = self.now if clock - self.since <= 2 * _LATELY else seconds
            self.since, self.now = clock, seconds
        elif seconds < self.now:
            self.now = seconds
        return min(self.now, self.before)


@dataclass(slots=True)
class HostTimes:
    """The shortest times of one host, by kind of request."""

    shortest: dict[str, _Shortest] = field(default_factory=dict)


@dataclass(slots=True)
class Distance:
    """Sums over all answers."""

    waited: float = 0.0
    """The seconds that they took."""
    shortest: float = 0.0
    """The seconds that they would have taken at the shortest times of their hosts."""

    @property
    def stretch(self) -> float:
        """The ratio of actual to shortest time; 1 if there is no answer."""
        return self.waited / self.shortest if self.shortest else 1.0

    def since(self, before: Distance) -> Distance:
        """Return what was added since it was ``before``."""
        return Distance(self.waited - before.waited, self.shortest - before.shortest)

    def note(self, host: HostTimes, kind: str, seconds: float, clock: float) -> None:
        """Add an answer of a host to a request of this kind (such as its method) after ``seconds``.

        ``clock`` is the current time in seconds of a monotonic clock.
        """
        seconds = max(seconds, _LEAST)
        known = host.shortest.get(kind)
        if known is None:
            known = host.shortest[kind] = _Shortest(clock, seconds, seconds)
        self.shortest += known.note(seconds, clock)
        self.waited += seconds

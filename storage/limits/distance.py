"""How long hosts take to answer, and how much of it is their distance: what no other request could shorten.

The shortest time in which a host answered a kind of request lately stands for its distance. What requests
wait for beyond it is a queue, at the host or here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_LATELY = 600.0
"""Seconds after which a shortest time is forgotten, twice that at most: a host may move away."""
NEAR, CROWDED = 2.0, 4.0
"""How many times as long as at their hosts' best answers take: below the one it is distance alone, and more
may be asked at a time; above the other there is a queue, and less should be."""
_LEAST = 0.001
"""Seconds that every answer may take: below that, nothing can be told from noise."""


@dataclass(slots=True)
class _Shortest:
    since: float
    now: float
    before: float

    def note(self, seconds: float, clock: float) -> float:
        if clock - self.since > _LATELY:
            self.before = self.now if clock - self.since <= 2 * _LATELY else seconds
            self.since, self.now = clock, seconds
        elif seconds < self.now:
            self.now = seconds
        return min(self.now, self.before)


@dataclass(slots=True)
class HostTimes:
    """What was seen of one host."""

    shortest: dict[str, _Shortest] = field(default_factory=dict)


@dataclass(slots=True)
class Distance:
    """Sums over all answers."""

    waited: float = 0.0
    """Seconds that they took."""
    shortest: float = 0.0
    """Seconds that they would have taken at their hosts' best."""

    @property
    def stretch(self) -> float:
        """How many times as long as at their hosts' best answers took; 1 for as long, and for no answer."""
        return self.waited / self.shortest if self.shortest else 1.0

    def since(self, before: Distance) -> Distance:
        """Return what was added after it was ``before``."""
        return Distance(self.waited - before.waited, self.shortest - before.shortest)

    def note(self, host: HostTimes, kind: str, seconds: float, clock: float) -> None:
        """Say that a host answered a request of a kind, such as its method, after ``seconds``.

        ``clock`` is the time now, in seconds of any clock that only goes forward.
        """
        seconds = max(seconds, _LEAST)
        known = host.shortest.get(kind)
        if known is None:
            known = host.shortest[kind] = _Shortest(clock, seconds, seconds)
        self.shortest += known.note(seconds, clock)
        self.waited += seconds

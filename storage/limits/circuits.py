"""Circuit breakers: a host that does not answer is not called by every request.

A circuit is closed while its host answers. It opens when requests have waited for :data:`SILENCE` seconds and
nothing came from the host in that time. Then all of them except the oldest end, and new ones are refused
immediately. After a pause, which doubles each time, a few requests are let through again, one per asker: what
one asker requests of a host must not decide for the others. The first complete answer closes the circuit. A
host is written ``scheme://host:port``, because a port may be silent for TLS only.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from storage.limits.askers import asker
from storage.limits.distance import Distance, HostTimes

SILENCE = 5.0
"""Seconds without any answer from a host after which its circuit opens."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds until an open circuit is tried: at first, and at most."""
MOST_TRIES = 4
"""The most requests that try one open circuit at the same time."""
_LOOK_SECONDS = 1.0
"""Seconds between two checks of a host with requests under way."""
_MOST_HOSTS = 4096
"""The most hosts that are remembered."""


@dataclass(slots=True, eq=False)
class Asked:
    """One request under way; ``end`` ends it early."""

    since: float
    by: str
    end: Callable[[], None]
    kind: str = ""
    ended: bool = False
    """Whether it was ended because its host is silent."""
    tries: bool = False


@dataclass(slots=True)
class _Host:
    """The state of one host."""

    asked: dict[Asked, None] = field(default_factory=dict)  # the oldest first
    heard: float = 0.0
    fails: bool = False
    open_until: float = 0.0
    """When an open circuit is tried again; 0 for a closed one."""
    pause: float = FIRST_PAUSE
    is_watched: bool = False
    times: HostTimes = field(default_factory=HostTimes)


class Circuits:
    """The circuits of all hosts. ``clock`` returns seconds. Use from one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self.distance = Distance()
        self.on_open: Callable[[str], None] = lambda _: None
        """Called with the name of a host that became silent."""
        self.on_answer: Callable[[str], None] = lambda _: None
        """Called with the name of a host that answers again after any failure."""

    @property
    def open(self) -> int:
        """The number of open circuits, without those that were not tried for a while."""
        lately = self._clock() - LONGEST_PAUSE
        return sum(bool(host.open_until) and host.open_until > lately for host in self._hosts.values())

    def wait(self, name: str) -> float:
        """Return the seconds until a host may be called again; 0 if it may be called now."""
        host = self._hosts.get(name)
        return max(0.0, host.open_until - self._clock()) if host is not None else 0.0

    def is_open(self, name: str) -> bool:
        """Whether a host was silent and has not answered since."""
        host = self._hosts.get(name)
        return host is not None and host.open_until > 0

    def ask(self, name: str, end: Callable[[], None], kind: str = "") -> Asked | None:
        """Register a request to a host; ``end`` ends it early. None means that the host is not to be called.

        ``kind`` groups requests that take about the same time, such as a method. The result must be passed to
        exactly one of :meth:`answered`, :meth:`failed` and :meth:`gave_up`.
        """
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host()
            self._forget_some()
        now, by = self._clock(), asker.get()
        asked = Asked(now, by, end, kind)
        if host.open_until:
            trying = [request.by for request in host.asked if request.tries]
            # One trial per asker, and few in all: a slow host must not be flooded when it comes back.
            if now < host.open_until or by in trying or len(trying) >= MOST_TRIES:
                return None
            asked.tries = True
        host.asked[asked] = None
        if not host.is_watched:
            host.is_watched = True
            asyncio.get_running_loop().call_later(SILENCE, self._watch, name, host)
        return asked

    def answered(self, name: str, asked: Asked) -> None:
        """Report that the host answered, whatever the answer."""
        host = self._hosts[name]
        del host.asked[asked]
        now = host.heard = self._clock()
        self.distance.note(host.times, asked.kind, now - asked.since, now)
        if host.fails or host.open_until:
            host.fails, host.open_until, host.pause = False, 0.0, FIRST_PAUSE
            self.on_answer(name)

    def failed(self, name: str, asked: Asked) -> None:
        """Report that there was no answer."""
        host = self._hosts[name]
        del host.asked[asked]
        host.fails = True
        # Only a failed trial extends the pause; older requests that end now say nothing new.
        if asked.tries and 0 < host.open_until <= self._clock():
            self._open(name, host)

    def gave_up(self, name: str, asked: Asked) -> None:
        """Report that the caller no longer waits for the answer."""
        del self._hosts[name].asked[asked]

    def look(self, name: str) -> None:
        """If the host is silent, open its circuit and end the requests that wait for it."""
        host, now = self._hosts.get(name), self._clock()
        oldest = next(iter(host.asked), None) if host is not None else None
        if host is None or oldest is None or now - max(host.heard, oldest.since) < SILENCE:
            return
        if not host.open_until:
            self._open(name, host)
            self.on_open(name)
        # The oldest request stays: its answer would show that the host is slow and not silent.
        for asked in list(host.asked)[1:]:
            if now - asked.since >= SILENCE:
                asked.ended = True
                asked.end()

    def _open(self, name: str, host: _Host) -> None:
        """Open a circuit for the next pause."""
        host.open_until = self._clock() + host.pause
        host.pause = min(2 * host.pause, LONGEST_PAUSE)
        host.fails = True
        # The table drops from its front, so recently silent hosts are remembered longest.
        self._hosts.move_to_end(name)

    def _watch(self, name: str, host: _Host) -> None:
        """Check a host regularly while requests to it are under way."""
        if host.asked:
            self.look(name)
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._watch, name, host)
        else:
            host.is_watched = False

    def _forget_some(self) -> None:
        """Limit the table. Hosts without requests go first, those that were silent recently last."""
        while len(self._hosts) > _MOST_HOSTS:
            idle = next((name for name, host in self._hosts.items() if not host.asked), None)
            if idle is None:
                return
            del self._hosts[idle]

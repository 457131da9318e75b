"""Which hosts answer: one that says nothing is not asked by everybody, and who waited for it is told.

A circuit is closed while its host answers. It opens when requests have waited for :data:`SILENCE` seconds and
nothing came from the host in that time: then all of them but the oldest end, and others are refused at once.
After a pause, which doubles each time, some are let through again, one for each asker, so that what somebody
asks of a host says nothing about what it answers to others. The first whole answer closes the circuit.
A host is written ``scheme://host:port``, since one port may be silent to TLS alone.
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
"""Seconds for which a host that is asked may say nothing to anybody."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds until an open circuit is tried."""
MOST_TRIES = 4
"""Requests that try one open circuit at a time."""
_LOOK_SECONDS = 1.0
_MOST_HOSTS = 4096


@dataclass(slots=True, eq=False)
class Asked:
    """One request under way; ``end`` ends it early."""

    since: float
    by: str
    end: Callable[[], None]
    kind: str = ""
    ended: bool = False
    """Whether it was ended, as its host says nothing."""
    tries: bool = False


@dataclass(slots=True)
class _Host:
    asked: dict[Asked, None] = field(default_factory=dict)  # the oldest first
    heard: float = 0.0
    fails: bool = False
    open_until: float = 0.0
    """When an open circuit is tried; 0 for a closed one."""
    pause: float = FIRST_PAUSE
    is_watched: bool = False
    times: HostTimes = field(default_factory=HostTimes)


class Circuits:
    """The circuits of all hosts. ``clock`` is in seconds; use from one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self.distance = Distance()
        self.on_open: Callable[[str], None] = lambda _: None
        """Called with a host that became silent."""
        self.on_answer: Callable[[str], None] = lambda _: None
        """Called with a host that answers again, after a failure of any kind."""

    @property
    def open(self) -> int:
        """How many circuits are open, without those that nobody tries any more."""
        lately = self._clock() - LONGEST_PAUSE
        return sum(bool(host.open_until) and host.open_until > lately for host in self._hosts.values())

    def wait(self, name: str) -> float:
        """Return the seconds until a host may be tried again, 0 if it may be asked now."""
        host = self._hosts.get(name)
        return max(0.0, host.open_until - self._clock()) if host is not None else 0.0

    def is_open(self, name: str) -> bool:
        """Whether a host was silent and has not answered since."""
        host = self._hosts.get(name)
        return host is not None and host.open_until > 0

    def ask(self, name: str, end: Callable[[], None], kind: str = "") -> Asked | None:
        """Say that a host is to be asked; ``end`` ends the request early. None: it is not to be asked now.

        ``kind`` is what takes the same time whenever a host is asked for it, such as a method.

        What this returns has to be given to one of :meth:`answered`, :meth:`failed` and :meth:`gave_up`.
        """
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host()
            self._forget_some()
        now, by = self._clock(), asker.get()
        asked = Asked(now, by, end, kind)
        if host.open_until:
            trying = [each.by for each in host.asked if each.tries]
            if now < host.open_until or by in trying or len(trying) >= MOST_TRIES:
                return None
            asked.tries = True
        host.asked[asked] = None
        if not host.is_watched:
            host.is_watched = True
            asyncio.get_running_loop().call_later(SILENCE, self._watch, name, host)
        return asked

    def answered(self, name: str, asked: Asked) -> None:
        """Say that a host has answered, whatever it said."""
        host = self._hosts[name]
        del host.asked[asked]
        now = host.heard = self._clock()
        self.distance.note(host.times, asked.kind, now - asked.since, now)
        if host.fails or host.open_until:
            host.fails, host.open_until, host.pause = False, 0.0, FIRST_PAUSE
            self.on_answer(name)

    def failed(self, name: str, asked: Asked) -> None:
        """Say that there was no answer."""
        host = self._hosts[name]
        del host.asked[asked]
        host.fails = True
        if asked.tries and 0 < host.open_until <= self._clock():
            self._open(name, host)

    def gave_up(self, name: str, asked: Asked) -> None:
        """Say that nobody waits for an answer any more."""
        del self._hosts[name].asked[asked]

    def look(self, name: str) -> None:
        """End what waits for a host that says nothing, and open its circuit."""
        host, now = self._hosts.get(name), self._clock()
        oldest = next(iter(host.asked), None) if host is not None else None
        if host is None or oldest is None or now - max(host.heard, oldest.since) < SILENCE:
            return
        if not host.open_until:
            self._open(name, host)
            self.on_open(name)
        for asked in list(host.asked)[1:]:
            if now - asked.since >= SILENCE:
                asked.ended = True
                asked.end()

    def _open(self, name: str, host: _Host) -> None:
        host.open_until = self._clock() + host.pause
        host.pause = min(2 * host.pause, LONGEST_PAUSE)
        host.fails = True
        self._hosts.move_to_end(name)

    def _watch(self, name: str, host: _Host) -> None:
        if host.asked:
            self.look(name)
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._watch, name, host)
        else:
            host.is_watched = False

    def _forget_some(self) -> None:
        """Keep the table small: of those that nobody asks now, those go first that were not silent lately."""
        while len(self._hosts) > _MOST_HOSTS:
            idle = next((name for name, host in self._hosts.items() if not host.asked), None)
            if idle is None:
                return
            del self._hosts[idle]

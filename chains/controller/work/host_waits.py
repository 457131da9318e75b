"""Runs that wait for a host that does not answer: a few try it again, all others are told when it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chains.tekton.runs import Job
from storage.limits.circuits import LONGEST_PAUSE, MOST_TRIES, Circuits


class HostWaits:
    """Which runs wait for which hosts; ``wake`` is called for each when its host answers."""

    def __init__(self, circuits: Circuits, wake: Callable[[Job], None]) -> None:
        self._circuits, self._wake = circuits, wake
        self._waiting: dict[str, dict[Job, None]] = {}
        self._hosts: dict[Job, tuple[str, ...]] = {}
        self._scouts: dict[str, dict[str, Job]] = {}
        """By host, those that try it: one of a namespace."""
        circuits.on_answer = self.answered

    def wait(self, job: Job, hosts: Iterable[str], pause: float) -> float:
        """Let a run wait for ``hosts`` and return the seconds until it tries them again.

        That is ``pause``, but for the few that try a host for all others it is not long, and for those others
        not short while the host is silent.
        """
        self.leave(job)
        self._hosts[job] = tuple(hosts)
        tries = False
        for host in self._hosts[job]:
            self._waiting.setdefault(host, {})[job] = None
            scouts = self._scouts.setdefault(host, {})
            if job.namespace not in scouts and len(scouts) < MOST_TRIES:
                scouts[job.namespace] = job
                tries = True
        silent = [self._circuits.wait(host) for host in self._hosts[job] if self._circuits.is_open(host)]
        if tries:
            return max(silent) if silent else min(pause, LONGEST_PAUSE)
        return max(pause, LONGEST_PAUSE) if silent else pause

    def is_silent(self, hosts: Iterable[str]) -> bool:
        """Whether one of the hosts says nothing, so that asking it takes long."""
        return any(self._circuits.is_open(host) for host in hosts)

    def leave(self, job: Job) -> None:
        """Say that a run does not wait any more."""
        for host in self._hosts.pop(job, ()):
            waiting, scouts = self._waiting.get(host, {}), self._scouts.get(host, {})
            waiting.pop(job, None)
            if scouts.get(job.namespace) == job:
                del scouts[job.namespace]
            if not waiting:
                self._waiting.pop(host, None)
                self._scouts.pop(host, None)

    def answered(self, host: str) -> None:
        """Wake everybody who waits for a host."""
        for job in list(self._waiting.get(host, ())):
            self.leave(job)
            self._wake(job)

    def forget_all(self, unwanted: Callable[[Job], bool]) -> None:
        """Let go of ``unwanted`` runs."""
        for job in [job for job in self._hosts if unwanted(job)]:
            self.leave(job)

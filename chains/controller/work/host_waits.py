"""Runs that wait for a host that does not answer: few of them try it again, the others are woken when it
answers."""

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
        """The runs that try a host again, by host and namespace: one for each namespace."""
        circuits.on_answer = self.answered

    def wait(self, job: Job, hosts: Iterable[str], pause: float) -> float:
        """Let a run wait for ``hosts`` and return the seconds until it tries them again.

        That is ``pause``, with two exceptions. The few runs that try a host for all others wait no longer
        than the host's circuit. The others wait at least :data:`LONGEST_PAUSE` while the host is silent.
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
        """Whether one of the hosts does not answer, so that a request to it takes long."""
        return any(self._circuits.is_open(host) for host in hosts)

    def leave(self, job: Job) -> None:
        """Note that a run does not wait any more."""
        for host in self._hosts.pop(job, ()):
            waiting, scouts = self._waiting.get(host, {}), self._scouts.get(host, {})
            waiting.pop(job, None)
            if scouts.get(job.namespace) == job:
                del scouts[job.namespace]
            if not waiting:
                self._waiting.pop(host, None)
                self._scouts.pop(host, None)

    def answered(self, host: str) -> None:
        """Wake all runs that wait for a host."""
        for job in list(self._waiting.get(host, ())):
            self.leave(job)
            self._wake(job)

    def forget_all(self, unwanted: Callable[[Job], bool]) -> None:
        """Forget ``unwanted`` runs."""
        for job in [job for job in self._hosts if unwanted(job)]:
            self.leave(job)

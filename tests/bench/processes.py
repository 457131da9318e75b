"""CPU and memory of whole processes with all their children, read from ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its living children have used so far."""

    cpu: float
    """Seconds of user and system time, of children that ended too."""
    peak: float
    """MB: the sum of each process's own peak (``VmHWM``)."""
    processes: int


def usage(pid: int) -> Usage:
    """Return what ``pid`` and everything it started has used; zeros once it is gone."""
    cpu = peak = 0.0
    count = 0
    for each in _tree(pid):
        try:
            fields = (_PROC / str(each) / "stat").read_text().rpartition(")")[2].split()
            status = (_PROC / str(each) / "status").read_text()
        except OSError:
            continue
        # utime and stime, and those of children that were waited for: fields 14 to 17 of proc(5)
        cpu += sum(int(field) for field in fields[11:15]) / _TICKS
        peak += (
            next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0) / 1024
        )
        count += 1
    return Usage(cpu, peak, count)


def usages(pids: Mapping[str, int]) -> dict[str, Usage]:
    """Return :func:`usage` of several processes by name."""
    return {name: usage(pid) for name, pid in pids.items()}


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))

"""Ports for servers that need a fixed one. No two processes on the machine get the same."""

from __future__ import annotations

import fcntl
import socket
from contextlib import suppress

from tests.testbed.build import cache

FIRST, END = 20000, 30000
"""Below those that the system gives away by itself, to whoever connects or asks for any (32768 on Linux), and below
those of Kubernetes' node ports."""


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens now. A port is reused only after all others were given out."""
    found: list[int] = []
    with (cache() / ".next-port").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        last = int(file.read() or FIRST)
        for port in (*range(last + 1, END), *range(FIRST, last + 1)):
            if len(found) == count:
                break
            with suppress(OSError), socket.create_server(("0.0.0.0", port)):
                found.append(port)
        file.truncate(0)
        file.write(str(found[-1]))
    return found

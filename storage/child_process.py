"""Starts a program, talks to it through pipes, and ends it within a time limit."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections.abc import Mapping
from contextlib import suppress

_LONGEST_LINE = 128 * 1024
"""The buffer of each pipe in bytes. An entry of the ledger has up to 64 KiB."""
_ENDS_WITHIN = 5.0
"""Seconds in which a killed process must be gone."""


class ChildProcess(Process):
    """A process with pipes as standard input and output."""

    def __init__(
        self,
        transport: asyncio.SubprocessTransport,
        protocol: SubprocessStreamProtocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(transport, protocol, loop)
        self._pipes = transport

    def write(self, data: bytes) -> None:
        """Write a few bytes to the standard input of the process, unless the process has closed it.

        So few bytes never block. For a closed pipe, uvloop raises an error of its own, and asyncio one of
        several.
        """
        assert self.stdin is not None  # noqa: S101 - it is a pipe
        if not self.stdin.is_closing():
            with suppress(ConnectionError):
                self.stdin.write(data)

    async def end(self) -> None:
        """Kill the process, close its pipes and wait for its end, for a few seconds at most.

        The pipes are closed first: ``wait`` returns when no process has them open any more, so it would also
        wait for a child of the process that inherited its standard output.
        """
        self._pipes.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ENDS_WITHIN):
                await self.wait()


async def start_process(
    *program: str, env: Mapping[str, str] | None = None, stderr: int | None = None
) -> ChildProcess:
    """Start ``program`` with pipes as standard input and output.

    If the caller is cancelled, the process is killed. Raises :class:`OSError` if it cannot be started.
    """
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(limit=_LONGEST_LINE, loop=loop),
        *program,
        stdin=PIPE,
        stdout=PIPE,
        stderr=stderr,
        env=env,
    )
    return ChildProcess(transport, protocol, loop)

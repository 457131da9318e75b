"""Another process' side: asks the first process before it verifies an image, and tells it what it found."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import Any

from chains.admission.ruling import Ruling
from chains.admission.sharing.lines import LONGEST, from_line, to_line
from chains.policy.verdict import Decision

SOON = 5.0
"""Seconds within which the first process says something. Without that, this process goes on alone."""
PATIENCE = 10.0
"""Seconds for which another process is waited for that looks into the same question."""
_log = logging.getLogger("chains.admission")


class SharedAnswers:
    """The answers of all processes. Use from one event loop; :meth:`open` first."""

    def __init__(self, own_end: socket.socket) -> None:
        self._socket = own_end
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Queue[list[Any]]] = {}
        self.found = 0
        """The number of answers that another process found."""

    async def open(self) -> None:
        """Begin to talk with the first process."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket, limit=LONGEST)
        self._reading = asyncio.create_task(self._read(reader))

    async def close(self) -> None:
        """Stop. What is asked from now on is looked into alone."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        self._writer = None

    async def ask(self, key: Sequence[Any], *, is_pulled: bool) -> tuple[float, Ruling] | None:
        """Return until when an answer counts and what it is; None if this process has to find it.

        Then :meth:`put` or :meth:`release` has to follow. The answer may count no longer: it is what another
        process found just now.
        """
        if self._writer is None:
            return None
        number, answers = next(self._numbers), asyncio.Queue[list[Any]]()
        self._asked[number] = answers
        try:
            self._writer.write(to_line("ask", number, _name(key), is_pulled))
            async with asyncio.timeout(SOON):
                said = await answers.get()
            if said == ["wait"]:
                async with asyncio.timeout(PATIENCE):
                    said = await answers.get()
        except (TimeoutError, OSError):
            return None
        finally:
            del self._asked[number]
        match said:
            case ["found", float(until), [str(decision), *rest]]:
                self.found += 1
                verdict, policies, *texts = rest
                return until, Ruling(Decision(decision), verdict, tuple(policies), *texts)
        return None

    def put(self, key: Sequence[Any], until: float, ruling: Ruling, *, is_pulled: bool) -> None:
        """Tell what was found, and until when it counts."""
        self._say("put", _name(key), is_pulled, float(until), astuple(ruling))

    def release(self, key: Sequence[Any]) -> None:
        """Tell that nothing will be found: another process may look into it."""
        self._say("release", _name(key))

    def _say(self, *parts: Any) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(to_line(*parts))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                number, *said = from_line(line)
                if number in self._asked:
                    self._asked[number].put_nowait(said)
        except (ValueError, TypeError, OSError):
            _log.exception("the first process cannot be understood: answers are not shared any more")
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        for answers in self._asked.values():
            answers.put_nowait(["claim"])


def _name(key: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()

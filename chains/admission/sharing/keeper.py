"""The first process' side: keeps answers, and lets one process at a time find each."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache

from chains.admission.sharing.lines import LONGEST, from_line, to_line

_log = logging.getLogger("chains.admission")


@dataclass(slots=True)
class _Claim:
    """A question that one process looks into, and the questions of others that wait for it."""

    holder: int
    waiting: list[tuple[int, int]] = field(default_factory=list)


class Keeper:
    """Keeps what the processes tell. Use from one event loop.

    A process that ends gives up what it was looking into: the next one that waits for it goes on.
    ``most_kept`` answers are kept, and besides ``most_pulled`` that were found with credentials of pods.
    """

    def __init__(self, most_kept: int, most_pulled: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: LRUCache[str, tuple[float, Any]] = LRUCache(most_kept)
        self._pulled: LRUCache[str, tuple[float, Any]] = LRUCache(most_pulled)
        self._claims: dict[str, _Claim] = {}
        self._writers: dict[int, asyncio.StreamWriter] = {}

    async def serve(self, process: int, own_end: socket.socket) -> None:
        """Answer one process until it ends. Never raises for what it says."""
        reader, writer = await asyncio.open_unix_connection(sock=own_end, limit=LONGEST)
        self._writers[process] = writer
        try:
            while line := await reader.readline():
                self._take(process, from_line(line))
        except (ValueError, TypeError, IndexError, KeyError, OSError):
            _log.exception("a process cannot share its answers any more", extra={"number": process})
        finally:
            del self._writers[process]
            self._leave(process)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _take(self, process: int, said: list[Any]) -> None:
        match said:
            case ["ask", int(number), str(key), bool(is_pulled)]:
                self._ask(process, number, key, is_pulled=is_pulled)
            case ["put", str(key), bool(is_pulled), float(until), ruling]:
                if until > self._clock():
                    (self._pulled if is_pulled else self._kept)[key] = (until, ruling)
                claim = self._claims.pop(key, None)
                for waiting, number in claim.waiting if claim else ():
                    self._say(waiting, number, "found", until, ruling)
            case ["release", str(key)]:
                self._release(process, key)
            case _:
                raise ValueError("a line that is not known")

    def _ask(self, process: int, number: int, key: str, *, is_pulled: bool) -> None:
        kept = (self._pulled if is_pulled else self._kept).get(key)
        if kept is not None and kept[0] > self._clock():
            self._say(process, number, "found", *kept)
        elif key in self._claims:
            self._claims[key].waiting.append((process, number))
            self._say(process, number, "wait")
        else:
            self._claims[key] = _Claim(process)
            self._say(process, number, "claim")

    def _release(self, process: int, key: str) -> None:
        """Let the next process that waits look into a question that this one gives up."""
        claim = self._claims.get(key)
        if claim is None or claim.holder != process:
            return
        if not claim.waiting:
            del self._claims[key]
            return
        claim.holder, number = claim.waiting.pop(0)
        self._say(claim.holder, number, "claim")

    def _leave(self, process: int) -> None:
        for claim in self._claims.values():
            claim.waiting = [one for one in claim.waiting if one[0] != process]
        for key in [key for key, claim in self._claims.items() if claim.holder == process]:
            self._release(process, key)

    def _say(self, process: int, *parts: Any) -> None:
        if (writer := self._writers.get(process)) is not None:
            writer.write(to_line(*parts))

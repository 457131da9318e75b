"""Something that is read from files once, and again when they change."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

T = TypeVar("T")
MOST_FILES: Final = 5_000
"""Files below one folder that are looked at."""
_FRESH: Final = 3.0
"""Seconds for which it is not looked again."""


class Watched(Generic[T]):
    """A value that ``load`` makes of files. It is made in a thread, by one request at a time."""

    def __init__(self, paths: Sequence[Path], load: Callable[[], T]) -> None:
        self.paths = tuple(paths)
        self._load = load
        self._lock = asyncio.Lock()
        self._looked = -1e9
        self._state = ""
        self._value: T | None = None

    @property
    def is_given(self) -> bool:
        """Whether anything is to be read."""
        return bool(self.paths)

    async def state(self) -> str:
        """Return a text that changes when one of the files does."""
        if self.paths and time.monotonic() - self._looked >= _FRESH:
            found = await asyncio.to_thread(fingerprint, self.paths)
            self._looked = time.monotonic()
            if found != self._state:
                self._state, self._value = found, None
        return self._state

    async def value(self) -> T:
        """Return the value of the files as they are. Raises what ``load`` raises."""
        await self.state()
        async with self._lock:
            if self._value is not None:
                return self._value
            state = self._state
            found = await asyncio.to_thread(self._load)
            if state == self._state:
                # else the files changed while they were read: the next request reads them again
                self._value = found
            return found


def fingerprint(paths: Sequence[Path]) -> str:
    """Return a text of the names, sizes and times of files, and of those below folders."""
    told = [f"{path} {_stat(path)}" for path in files_of(paths, ())]
    return "\n".join(told)


def files_of(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    """Return the files, and those below folders whose names end so, in order; without hidden ones."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith(".") and (not suffixes or name.endswith(tuple(suffixes))):
                    found.append(Path(folder) / name)
                if len(found) >= MOST_FILES:
                    return found
    return found


def _stat(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        return type(error).__name__
    return f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"

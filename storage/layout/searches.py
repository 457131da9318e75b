"""Answers questions about a layout: what is small and near on the event loop, everything else in a thread.

A thread costs more than reading a dozen small files: the switch there and back, and the caches of another
core. A question is answered on the event loop if the index is read and has not changed, if the last answer
came fast, so that the files are near, and if it needs few bytes. As soon as it would need more, it is asked
again in a thread.
"""

from __future__ import annotations

import asyncio
import errno
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from storage.errors import StoreRejected
from storage.files import read_file
from storage.layout.blobs import Blobs
from storage.layout.index import NEVER_READ, Index, IndexFile

T = TypeVar("T")
Question = Callable[[Index, Blobs], T]
"""Reads an index and blobs. Its answer depends on nothing else, so that it may be asked twice."""
_NEAR = 0.005
"""Seconds of an answer after which the files are not called near."""
FEW_BYTES = 256 * 1024
"""Bytes of blobs that are read on the event loop for one answer."""
_PER_FILE = 4 * 1024
"""Bytes that opening a file counts as."""


class Searches:
    """Questions about one layout. ``is_near`` says whether the last answer came fast."""

    def __init__(self, file: IndexFile, blobs: Blobs) -> None:
        self._file, self._blobs = file, blobs
        self._reading = threading.Lock()
        self._last: weakref.ref[Index] | None = None
        self.is_near = False

    async def ask(self, known: Index, question: Question[T]) -> tuple[Index, T]:
        """Return the index as the file has it now, and the answer from it. Raises :class:`StoreError`."""
        if self.is_near and known.is_ready and self._file.is_unchanged(known):
            begun = time.monotonic()
            try:
                return known, question(known, _FewBlobs(self._blobs))
            except _TooMuchError:
                pass
            finally:
                self.is_near = time.monotonic() - begun < _NEAR
        return await asyncio.to_thread(self._answer, known, question)

    def expect_layout(self) -> None:
        """Raise :class:`StoreRejected` if the folder is no layout, or cannot be looked into. Blocks."""
        try:
            is_there = self._file.exists()
        except OSError as error:
            raise StoreRejected(f"cannot read {self._blobs.root}: {error.strerror}") from error
        if not is_there:
            raise StoreRejected(f"{self._blobs.root} is not an OCI image layout")

    def _answer(self, known: Index, question: Question[T]) -> tuple[Index, T]:
        self.expect_layout()
        with self._reading:
            # the first questions come at once: one of them reads the index for all
            last = self._last() if self._last is not None and known.version == NEVER_READ else None
            index = self._file.read(last if last is not None and self._file.is_unchanged(last) else known)
            self._last = weakref.ref(index)
        begun = time.monotonic()
        answer = question(index, self._blobs)
        self.is_near = time.monotonic() - begun < _NEAR
        return index, answer


class _TooMuchError(Exception):
    """An answer needs more bytes than are read on the event loop."""


class _FewBlobs(Blobs):
    """The same blobs, as long as they are few and small."""

    def __init__(self, blobs: Blobs) -> None:
        self.root, self.folder, self._prefix = blobs.root, blobs.folder, blobs._prefix
        self.manifests = blobs.manifests
        self._left = FEW_BYTES

    def _bytes(self, path: str, limit: int) -> bytes:
        self._left -= _PER_FILE
        most = min(limit, self._left)
        try:
            data = read_file(path, most)
        except OSError as exc:
            if exc.errno == errno.EFBIG and most < limit:
                raise _TooMuchError from exc
            raise
        self._left -= len(data)
        return data

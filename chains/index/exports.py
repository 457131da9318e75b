"""Reads what ``chains export`` wrote: a folder with one Sigstore bundle on each line of ``bundles.jsonl``."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from chains.evidence.offline_pack import BUNDLES
from signers.formats.dsse import MAX_ENVELOPE_BYTES
from storage.errors import StoreRejected, StoreUnavailable
from storage.parts import Part
from storage.record import BUNDLE_FORMAT, Evidence, Findings, Skipped

SCHEME = "export:"
_LINES = 256
_LONGEST = 2 * MAX_ENVELOPE_BYTES
"""Bytes of a line that is read; an envelope with its material has fewer."""


class Export:
    """The evidence of one export, ``export:FOLDER``."""

    unseen = ""

    def __init__(self, url: str) -> None:
        self.url = url
        self._path = Path(url.removeprefix(SCHEME)) / BUNDLES

    async def scan_new(self, is_known: Callable[[str], bool]) -> AsyncIterator[Part]:
        """Yield all bundles, one a part. Raises :class:`StoreError`."""
        del is_known
        try:
            total = await asyncio.to_thread(self._count)
            with self._path.open("rb") as file:
                number = 0
                while lines := await asyncio.to_thread(_some, file):
                    for line in lines:
                        number += 1
                        yield Part(self._findings(number, line), total)
        except FileNotFoundError as error:
            raise StoreRejected(f"{self._path} is not there: is {self._path.parent} an export?") from error
        except OSError as error:
            raise StoreUnavailable(f"cannot read {self._path}: {error.strerror}") from error

    def _count(self) -> int:
        with self._path.open("rb") as file:
            return sum(1 for _ in iter(lambda: file.readline(_LONGEST), b""))

    def _findings(self, number: int, line: bytes) -> Findings:
        data = line.rstrip(b"\n")
        location = f"{self._path}:{number}"
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if len(data) >= _LONGEST:
            return Findings(skipped=(Skipped(location, digest, f"more than {_LONGEST} bytes"),))
        return Findings((Evidence("file", location, digest, BUNDLE_FORMAT, data),))


def _some(file: BinaryIO) -> list[bytes]:
    return list(islice(iter(lambda: file.readline(_LONGEST), b""), _LINES))

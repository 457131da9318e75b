"""Reads what ``chains export`` wrote: a folder with one Sigstore bundle on each line of ``bundles.jsonl``."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from chains.errors import EvidenceError
from chains.evidence.offline_pack import BUNDLES
from chains.lineage.signing import read_signed
from chains.lineage.statement_facts import read_facts
from chains.statements.statement import parse_statement
from signers.errors import FormatError
from signers.formats.dsse import MAX_ENVELOPE_BYTES
from storage.base import Store
from storage.errors import StoreRejected, StoreUnavailable
from storage.parts import Part
from storage.record import BUNDLE_FORMAT, Evidence, Failure, Findings, Record, Skipped, Stored

SCHEME = "export:"
_LINES = 256
_LONGEST = 2 * MAX_ENVELOPE_BYTES
"""Bytes of a line that is read; an envelope with its material has fewer."""


class Export(Store):
    """The evidence of one export, ``export:FOLDER``. It is read, never written."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._path = Path(url.removeprefix(SCHEME)) / BUNDLES
        self._lines: dict[str, list[tuple[int, int]]] | None = None

    async def put(self, record: Record) -> Stored:
        """Refuse it."""
        del record
        return Stored(failures=(Failure(self.url, "bundle", "", "an export is written by chains export"),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the bundles about ``digest``."""
        del reference
        return await asyncio.to_thread(self._find, digest)

    async def find_run(self, uid: str) -> Findings:
        """Return the bundles whose statement names the run."""
        return await asyncio.to_thread(self._find, f"run {uid}")

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

    def _find(self, name: str) -> Findings:
        try:
            if self._lines is None:
                self._lines = self._listed()
            found = []
            with self._path.open("rb") as file:
                for number, offset in self._lines.get(name, ()):
                    file.seek(offset)
                    found.append(self._findings(number, file.readline(_LONGEST)))
        except OSError as error:
            raise StoreUnavailable(f"cannot read {self._path}: {error.strerror}") from error
        return Findings(tuple(one for each in found for one in each.evidence))

    def _listed(self) -> dict[str, list[tuple[int, int]]]:
        """Return the number and the offset of each line, by the digests and the run that it is about."""
        lines: dict[str, list[tuple[int, int]]] = defaultdict(list)
        offset = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), 1):
                for name in _about(self._findings(number, line)):
                    lines[name].append((number, offset))
                offset += len(line)
        return lines

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


def _about(findings: Findings) -> set[str]:
    """Return what is searched for: digests, and the run. What cannot be read is about nothing."""
    try:
        signed = [read_signed(one) for one in findings.evidence]
        facts = [read_facts(parse_statement(one.envelope.payload)) for one in signed if one and one.envelope]
    except (FormatError, EvidenceError):
        return set()
    digests = {digest for one in facts for product in one.products for digest in product.digests}
    return digests | {f"run {one.run_uid}" for one in facts if one.run_uid}

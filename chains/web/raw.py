"""Raw statements and bundles, from the stores that an index names.

An index knows where each copy lies and the SHA-256 of its bytes. A store is asked for the artifact or the
run, and only bytes with exactly that SHA-256 are given out: those that were judged when the index was made.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from chains.index.query.detail.evidence import Copy
from chains.text import told
from chains.web.shares import Shares
from chains.web.viewer import Viewer
from storage.base import Store, StoreOptions
from storage.errors import StoreError
from storage.open import STORES, open_store
from storage.record import Evidence, Findings
from storage.redacted_url import shown

_AT_ONCE: Final = 4
"""Searches in stores at the same time."""
_MOST: Final = 32
"""Requests that search or wait, and those of one viewer. More are refused at once."""
_OF_VIEWER: Final = 8
_SECONDS: Final = 15.0
"""How long all stores of one page are waited for."""
_KEPT_BYTES: Final = 64 * 1024 * 1024
_LARGEST_KEPT: Final = 4 * 1024 * 1024
_SUBJECTS: Final = 4
"""Subjects by which one piece of evidence is looked for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A piece of evidence: its copies by the index, and by what stores find it.

    ``subjects`` are digests (``sha256:HEX``) of what it is about, ``uid`` is that of its run.
    """

    copies: Sequence[Copy]
    subjects: Sequence[str] = ()
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The evidence that was found, by its SHA-256, and why some was not, a sentence for each store."""

    evidence: dict[str, Evidence]
    problems: tuple[str, ...]
    snapshot: bytes = b""
    """The record of the run as a store has it; nobody verified it."""


class RawEvidence:
    """The stores of an index, opened when they are needed. They are only read."""

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._stores: dict[str, Store] = {}
        self._shares = Shares(_AT_ONCE, _MOST, _OF_VIEWER)
        self._kept: OrderedDict[str, Evidence] = OrderedDict()
        self._size = 0

    async def close(self) -> None:
        """Close the stores that were opened."""
        for store in self._stores.values():
            await store.close()
        self._stores.clear()

    async def fetch(self, viewer: Viewer, wanted: Iterable[Wanted], *, snapshot_of: str = "") -> Found:
        """Return evidence from the stores, at most one copy of each form, and what could not be had.

        ``snapshot_of`` is the UID of a run whose record is wanted, too. Raises
        :class:`~chains.web.shares.TooBusy` if too many requests wait.
        """
        found: dict[str, Evidence] = {}
        asked: dict[str, list[Wanted]] = {}
        for one in wanted:
            for copy in one.copies:
                kept = self._kept.get(copy.digest)
                if kept is not None:
                    self._kept.move_to_end(copy.digest)
                    found[copy.digest] = kept
                else:
                    asked.setdefault(copy.store, []).append(one)
        missing = {
            url: wishes
            for url, wishes in asked.items()
            if any(copy.digest not in found for one in wishes for copy in one.copies if copy.store == url)
        }
        if not missing and not snapshot_of:
            return Found(found, ())
        try:
            async with asyncio.timeout(_SECONDS), self._shares.turn(viewer, "wait for the stores"):
                return await self._search(missing, found, snapshot_of)
        except TimeoutError:
            return Found(found, (f"the stores did not answer within {_SECONDS:.0f} seconds",))

    async def _search(
        self, missing: dict[str, list[Wanted]], found: dict[str, Evidence], snapshot_of: str
    ) -> Found:
        problems: list[str] = []
        snapshot = b""
        for url, wishes in missing.items():
            try:
                store = self._opened(url)
                for one in wishes:
                    digests = {copy.digest for copy in one.copies if copy.store == url} - found.keys()
                    if not digests:
                        continue
                    async for findings in _findings(store, one):
                        self._take(findings, digests, found)
                        if one.uid and one.uid == snapshot_of:
                            snapshot = snapshot or findings.snapshot
                        if not digests - found.keys():
                            break
                    if digests - found.keys():
                        problems.append(f"{shown(url)}: the store no longer has what the index read there")
            except StoreError as error:
                problems.append(f"{shown(url)}: {told(str(error))}")
        if snapshot_of and not snapshot:
            snapshot = await self._snapshot(snapshot_of)
        return Found(found, tuple(dict.fromkeys(problems)), snapshot)

    async def _snapshot(self, uid: str) -> bytes:
        for store in list(self._stores.values()):
            try:
                found = await store.find_run(uid)
            except StoreError:
                continue
            if found.snapshot:
                return found.snapshot
        return b""

    def _opened(self, url: str) -> Store:
        if url not in self._stores:
            if url.partition(":")[0] not in STORES:
                raise StoreError("this is no store, so raw evidence cannot be read from it")
            self._stores[url] = open_store(url, self._options)
        return self._stores[url]

    def _take(self, findings: Findings, digests: set[str], found: dict[str, Evidence]) -> None:
        for evidence in findings.evidence:
            if evidence.digest not in digests or evidence.digest in found:
                continue
            if "sha256:" + hashlib.sha256(evidence.data).hexdigest() != evidence.digest:
                continue
            found[evidence.digest] = evidence
            self._keep(evidence)

    def _keep(self, evidence: Evidence) -> None:
        if len(evidence.data) > _LARGEST_KEPT:
            return
        self._kept[evidence.digest] = evidence
        self._size += len(evidence.data)
        while self._size > _KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped.data)


async def _findings(store: Store, one: Wanted) -> AsyncIterator[Findings]:
    if one.uid:
        yield await store.find_run(one.uid)
    for digest in one.subjects[:_SUBJECTS]:
        # without the name of the artifact: it could lead a registry's client to another host
        yield await store.find(digest)

"""Read, modify, write: entries into documents that live under a tag, so that nobody's is lost.

A registry has no compare-and-swap that can be relied on, and other processes and people (cosign in a
pipeline) write the same tags. Therefore:

1. Entries for one tag that wait together go in one write; in this process one write at a time.
2. Their blobs are uploaded first, then the tag is read and written at once. Where something had to be done
   in between, the tag is looked at again before the write. ``If-Match`` is sent where the registry gave an
   etag.
3. After the write comes a pause, four times as long as the read and the write took: time for another
   writer, who read before we wrote, to write over us. Then the tag is looked at; entries that are gone are
   written again, and while others write, the pause is repeated.
4. Only then does an entry count as stored; a registry that is new, or was not asked for an hour, is asked
   for the entry's blob too.
5. While little is written and the registry is fast, that pause is short, since somebody may wait for the
   receipt. The tag is then looked at once more, for writers that are slower than we are; nobody waits for
   this look, and an entry that is gone by then is written again. While much is written the pause lasts as
   long as both would, which saves the second look.

What remains: a writer who stalls after its last look for longer than that, while nobody else writes, undoes
another's entry unseen. The pause grows with the slowness that can be measured.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.formats.digest import sha256, sha256_aside
from storage.formats.manifests import Entry, Gathered, Gathering, Layer, Manifest, entry_of, tag_of
from storage.formats.reference import Repository
from storage.limits.together import together
from storage.oci.login import FORBIDDEN
from storage.oci.registry import RegistryClient, TagMoved
from storage.oci.transport import RegistryRefused

SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 4.0
SHORTEST_WATCH = 0.1
"""Seconds for which an entry is looked after at least, be it after it counts as stored."""
FEW_WRITES = 8
"""As many writes under way at a time are little."""
PAUSE_FACTOR = 4
MOST_PAUSES = 10
"""After as many an entry that is there counts as stored, although others still write."""
MOST_TRIES = 40
MOST_UPLOADS = 3
_random = secrets.SystemRandom()
_log = logging.getLogger("storage.tags")


@dataclass(frozen=True, slots=True)
class Written:
    """The document's digest when the entry was seen in it, and whether it was this call that put it there."""

    digest: str
    changed: bool


@dataclass(slots=True)
class _Entry:
    layer: Layer
    done: asyncio.Future[Written]
    uploaded: bool = False
    written: bool = False
    tries: int = 0

    def finish(self, written: Written) -> None:
        if not self.done.done():
            self.done.set_result(written)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class _Tag:
    repository: Repository
    name: str
    kind: Gathering
    waiting: list[_Entry] = field(default_factory=list)
    busy: bool = False
    refuses_looks: bool = False
    """Whether the registry refused a look at it while it was absent."""


class TagWriter:
    """Adds entries to tags of any repository."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._tags: dict[tuple[Repository, str], _Tag] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watches: set[asyncio.Task[None]] = set()

    async def add(self, repository: Repository, name: str, kind: Gathering, layer: Layer) -> Written:
        """Put ``layer`` into the document under the tag ``name`` and return once it was seen there.

        Raises :class:`StoreRejected` when the document is full or of another kind and
        :class:`StoreUnavailable` when the tag kept changing.
        """
        entry = _Entry(layer, asyncio.get_running_loop().create_future())
        self._enqueue(_Tag(repository, name, kind), [entry])
        return await entry.done

    async def close(self) -> None:
        """Look once more at what was stored just now, and stop writes nobody waits for any more."""
        while self._watches:
            await asyncio.gather(*self._watches, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enqueue(self, tag: _Tag, entries: list[_Entry]) -> None:
        tag = self._tags.setdefault((tag.repository, tag.name), tag)
        tag.waiting.extend(entries)
        if not tag.busy:
            tag.busy = True
            self._start(self._work(tag))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, tag: _Tag) -> None:
        await asyncio.sleep(0)  # lets the other records of the same run join
        while tag.waiting:
            batch, tag.waiting = tag.waiting, []
            try:
                await self._write(tag, batch)
            except BaseException as exc:
                _fail(batch, exc)
                if not isinstance(exc, Exception):
                    raise
        tag.busy = False
        self._tags.pop((tag.repository, tag.name), None)

    async def _write(self, tag: _Tag, batch: list[_Entry]) -> None:
        guessed = await self._upload(tag, batch)
        begun = time.monotonic()
        found = await self._read(tag, batch)
        current = None if _is_image(found, tag.name) else found
        document = await tag.kind.read_aside(current)
        there = document.entries
        new = _absent(batch, there)
        for entry in batch:
            if current is not None and entry not in new:
                entry.finish(Written(current.digest, changed=entry.written))
        fitting = new[: max(0, tag.kind.most - len(there))]
        for entry in new[len(fitting) :]:
            entry.fail(StoreRejected(f"the tag {tag.name} of {tag.repository} is full: {len(there)} entries"))
        if not fitting:
            return
        added = {entry.layer.identity: entry_of(entry.layer.descriptor) for entry in fitting}
        manifest, config = tag.kind.build(document, [*there, *added.values()])
        merged = bool(config) and config != guessed
        if merged:
            await self._client.put_blob(tag.repository, config, sha256(config))
        for entry in fitting:
            entry.written = True
        try:
            looked = await self._replace(tag, found, manifest, look_first=merged)
        except TagMoved:
            await self._again(tag, fitting)
            return
        except RegistryRefused as exc:
            if not exc.misses_blob or any(entry.tries >= MOST_UPLOADS for entry in fitting):
                raise
            # collected as garbage, as nothing referred to it yet
            for entry in fitting:
                entry.uploaded = False
            await self._again(tag, fitting)
            return
        window = time.monotonic() - (looked or begun)
        shortest = SHORTEST_PAUSE if len(self._tasks) <= FEW_WRITES else SHORTEST_WATCH
        pause = min(max(shortest, PAUSE_FACTOR * window) * _random.uniform(1, 1.5), LONGEST_PAUSE)
        self._start(self._confirm(tag, fitting, manifest.digest, pause))

    async def _replace(
        self, tag: _Tag, current: Manifest | None, manifest: Manifest, *, look_first: bool
    ) -> float:
        """Write ``manifest`` over ``current``, what the tag gave.

        Returns when the last look at the tag began, 0 for none.

        Raises :class:`TagMoved` when the tag holds something else by now, at first or after a failed try.
        """
        looked = 0.0

        async def look() -> None:
            nonlocal looked
            looked = time.monotonic()
            digest = await self._look(tag)
            if digest not in {current.digest if current else "", manifest.digest}:
                raise TagMoved(f"{tag.name} of {tag.repository} was changed at the same time")

        if look_first:
            await look()
        etag = current.etag if current and not _is_image(current, tag.name) else ""
        put = partial(
            self._client.put_manifest, tag.repository, tag.name, manifest, prompt=True, before_retry=look
        )
        try:
            await put(replaces=etag)
        except TagMoved:
            if not etag:
                raise
            await look()
            # it did not move: a registry that refuses without a precondition too means something else
            await put()
        return looked

    async def _read(self, tag: _Tag, batch: list[_Entry]) -> Manifest | None:
        """Return what the tag holds, None when nothing.

        Some registries refuse a look at a tag that is absent (403). Their list of tags decides; where it
        cannot be read, something else that was just written there can be, and so could the tag.
        """
        try:
            return await self._client.get_manifest(tag.repository, tag.name, push=True, prompt=True)
        except RegistryRefused as exc:
            if exc.status != FORBIDDEN or not await self._is_absent(tag, batch[0].layer):
                raise
            tag.refuses_looks = True
            return None

    async def _is_absent(self, tag: _Tag, layer: Layer) -> bool:
        listed = await self._client.lists_tag(tag.repository, tag.name, push=True)
        if listed is not None:
            return not listed
        try:
            if layer.blob:
                return await self._client.has_blob(tag.repository, layer.digest, sure=True)
            return await self._client.get_manifest(tag.repository, layer.digest, push=True) is not None
        except RegistryRefused:
            return False

    async def _look(self, tag: _Tag) -> str:
        """Return the digest of what the tag holds, ``""`` for nothing."""
        try:
            seen = await self._client.head_manifest(tag.repository, tag.name, push=True, prompt=True)
        except RegistryRefused as exc:
            if exc.status != FORBIDDEN or not tag.refuses_looks:
                raise
            return ""
        return seen.digest if seen else ""

    async def _upload(self, tag: _Tag, batch: list[_Entry]) -> bytes:
        """Upload what the batch needs; returns the configuration that fits if the tag is new, as mostly."""
        blobs = {entry.layer.digest: entry.layer.blob for entry in batch if not entry.uploaded}
        layers = {entry.layer.identity: entry_of(entry.layer.descriptor) for entry in batch}
        _, config = tag.kind.build(Gathered(), list(layers.values()))
        if config:
            blobs[await sha256_aside(config)] = config
        uploads = [
            self._client.put_blob(tag.repository, blob, digest) for digest, blob in blobs.items() if blob
        ]
        await together(uploads)
        for entry in batch:
            entry.uploaded = True
        return config

    async def _confirm(self, tag: _Tag, entries: list[_Entry], digest: str, pause: float) -> None:
        try:
            for paused in range(1, MOST_PAUSES + 1):
                await asyncio.sleep(pause)
                seen = await self._client.head_manifest(tag.repository, tag.name, push=True, prompt=True)
                if seen is not None and seen.digest == digest:
                    break
                current = await self._client.get_manifest(tag.repository, tag.name, push=True, prompt=True)
                _check_is_tag(tag, current)
                lost = _absent(entries, (await tag.kind.read_aside(current)).entries)
                if lost:
                    entries = [entry for entry in entries if entry not in lost]
                    self._start(self._again(tag, lost))
                if not entries or current is None:
                    return
                digest = current.digest
                del current  # nobody waits for room while he holds some
                pause = min(pause * _random.uniform(1, 2), LONGEST_PAUSE) if paused == 1 else pause
            blobs = [entry.layer.digest for entry in entries if entry.layer.blob]
            await self._client.check_kept(tag.repository, blobs)
            for entry in entries:
                entry.finish(Written(digest, changed=True))
            if pause < SHORTEST_WATCH:
                watch = asyncio.ensure_future(self._watch(tag, entries, digest, SHORTEST_WATCH - pause))
                self._watches.add(watch)
                watch.add_done_callback(self._watches.discard)
        except BaseException as exc:
            _fail(entries, exc)
            if not isinstance(exc, Exception):
                raise

    async def _watch(self, tag: _Tag, entries: list[_Entry], digest: str, seconds: float) -> None:
        """Look at the tag once more after ``seconds``, and write again what a slower writer undid."""
        await asyncio.sleep(seconds)
        try:
            seen = await self._client.head_manifest(tag.repository, tag.name, push=True, prompt=True)
            if seen is not None and seen.digest == digest:
                return
            current = await self._client.get_manifest(tag.repository, tag.name, push=True, prompt=True)
            lost = _absent(entries, (await tag.kind.read_aside(current)).entries)
            await asyncio.gather(
                *(self.add(tag.repository, tag.name, tag.kind, entry.layer) for entry in lost)
            )
        except StoreError as exc:
            # the receipts are given; the audit compares them with what is there
            _log.warning("%s of %s cannot be looked at again: %s", tag.name, tag.repository, exc)

    async def _again(self, tag: _Tag, entries: list[_Entry]) -> None:
        """Let the entries wait for another write, or give up on those that tried often enough."""
        going = []
        for entry in entries:
            entry.tries += 1
            if entry.tries < MOST_TRIES:
                going.append(entry)
            else:
                reason = f"the tag {tag.name} of {tag.repository} changed with each of {MOST_TRIES} writes"
                entry.fail(StoreUnavailable(reason))
        if going:
            await asyncio.sleep(_random.uniform(0, SHORTEST_PAUSE * min(going[0].tries, 10)))
            self._enqueue(tag, going)


def _is_image(found: Manifest | None, tag: str) -> bool:
    """Whether a registry took the tag ``sha256-<hex>`` for the digest, and gave the image that has it."""
    return found is not None and tag_of(found.digest) == tag


def _check_is_tag(tag: _Tag, found: Manifest | None) -> None:
    if _is_image(found, tag.name):
        raise StoreRejected(
            f"{tag.repository} lists no referrers, and resolves the tag {tag.name} to the image itself, so "
            "that nobody finds bundles there: set storage.oci.encoding-format to dsse"
        )


def _absent(entries: list[_Entry], there: Sequence[Entry]) -> list[_Entry]:
    present = {entry.identity for entry in there}
    return [entry for entry in entries if entry.layer.identity not in present]


def _fail(entries: list[_Entry], error: BaseException) -> None:
    """Tell everybody who waits; each gets an error of its own, since a raise adds to its traceback."""
    for entry in entries:
        if not isinstance(error, Exception):
            entry.done.cancel()
        elif isinstance(error, StoreError):
            unavailable = isinstance(error, StoreUnavailable)
            copy = StoreUnavailable(error, error.host) if unavailable else StoreRejected(str(error))
            copy.__cause__, copy.absence = error, error.absence
            entry.fail(copy)
        else:
            entry.fail(error)

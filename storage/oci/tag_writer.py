"""Adds entries to documents under a tag by read, modify and write, without losing entries of other writers.

Registries have no reliable compare-and-swap, and other processes and people (cosign in a pipeline) write the
same tags. Therefore:

1. Entries for one tag that wait at the same time are written together, and this process writes a tag only
   once at a time.
2. Their blobs are uploaded first; then the tag is read and written immediately. If anything had to be done in
   between, the tag is checked again before the write. ``If-Match`` is sent if the registry gave an etag.
3. After the write comes a pause, four times as long as reading and writing took. In this time another writer
   who read before our write may overwrite it. Then the tag is read. Lost entries are written again, and while
   others keep writing, the pause is repeated.
4. Only then does an entry count as stored. Once an hour per registry, the blob of the entry is read back too.
5. If few writes are under way and the registry is fast, the pause is short, because a caller may wait for the
   receipt. The tag is then checked once more later, for slower writers. No caller waits for this check; a
   lost entry is written again. If many writes are under way, the pause is as long as both together, which
   saves the second check.

One case remains: a writer that stalls for longer than that between its last check and its write, while nobody
else writes, can remove an entry unnoticed. The pause grows with the measured slowness of the registry.
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
from storage.oci.requests import RegistryRefused

SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 4.0
SHORTEST_WATCH = 0.1
"""The shortest time in seconds for which an entry is watched, including after it counts as stored."""
FEW_WRITES = 8
"""The number of writes under way up to which the pause is short."""
PAUSE_FACTOR = 4
"""How many times as long as reading and writing took the pause is."""
MOST_PAUSES = 10
"""The number of pauses after which a present entry counts as stored although others still write."""
MOST_TRIES = 40
"""How often an entry is written while other writers keep removing it."""
MOST_UPLOADS = 3
"""How often the blobs of an entry are uploaded if the registry loses them."""
_random = secrets.SystemRandom()
_log = logging.getLogger("storage.tags")


@dataclass(frozen=True, slots=True)
class Written:
    """The digest of the document in which the entry was seen, and whether this call added it."""

    digest: str
    changed: bool


@dataclass(slots=True)
class _Entry:
    """An entry to be written, and the future of its result."""

    layer: Layer
    done: asyncio.Future[Written]
    uploaded: bool = False
    written: bool = False
    tries: int = 0

    def finish(self, written: Written) -> None:
        """Set the result, unless the caller was cancelled."""
        if not self.done.done():
            self.done.set_result(written)

    def fail(self, error: Exception) -> None:
        """Set the error, unless the caller was cancelled."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class _Tag:
    """A tag with the entries that wait for its next write."""

    repository: Repository
    name: str
    kind: Gathering
    waiting: list[_Entry] = field(default_factory=list)
    busy: bool = False
    refuses_looks: bool = False
    """Whether the registry refused to show the tag (403) while it was absent."""


class TagWriter:
    """Adds entries to tags of any repository."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._tags: dict[tuple[Repository, str], _Tag] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watches: set[asyncio.Task[None]] = set()

    async def add(self, repository: Repository, name: str, kind: Gathering, layer: Layer) -> Written:
        """Add ``layer`` to the document under the tag ``name`` and return when it was seen there.

        Raises :class:`StoreRejected` if the document is full or of another kind, and
        :class:`StoreUnavailable` if other writers kept changing the tag.
        """
        entry = _Entry(layer, asyncio.get_running_loop().create_future())
        self._enqueue(_Tag(repository, name, kind), [entry])
        return await entry.done

    async def close(self) -> None:
        """Wait for the last checks of stored entries, and cancel writes whose callers are gone."""
        while self._watches:
            await asyncio.gather(*self._watches, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enqueue(self, tag: _Tag, entries: list[_Entry]) -> None:
        """Add entries to the queue of a tag, and start writing unless it is being written."""
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
        """Write the entries of one tag in batches until none waits."""
        await asyncio.sleep(0)  # let the other records of the same run join the batch
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
        """Upload, read, merge and write one batch (steps 1 and 2 of the module's docstring)."""
        # Uploads come before the tag is read, to keep the time between reading and writing short.
        guessed = await self._upload(tag, batch)
        begun = time.monotonic()
        held = await self._read(tag, batch)
        # Some registries resolve sha256-<hex> to the image. Then the tag does not exist yet.
        current = None if _is_image(held, tag.name) else held
        document = await tag.kind.read_aside(current)
        existing = document.entries
        new = _absent(batch, existing)
        for entry in batch:
            if current is not None and entry not in new:
                # The entry is there already. "changed" is true if an earlier try of this call wrote it.
                entry.finish(Written(current.digest, changed=entry.written))
        # Readers ignore entries above the limit, so they are not stored.
        fitting = new[: max(0, tag.kind.most - len(existing))]
        for entry in new[len(fitting) :]:
            entry.fail(
                StoreRejected(f"the tag {tag.name} of {tag.repository} is full: {len(existing)} entries")
            )
        if not fitting:
            return
        added = {entry.layer.identity: entry_of(entry.layer.descriptor) for entry in fitting}
        manifest, config = tag.kind.build(document, [*existing, *added.values()])
        # The guess assumed a new tag. If it had entries, the configuration differs and must be uploaded now,
        # which takes time in which another writer can change the tag.
        merged = bool(config) and config != guessed
        if merged:
            await self._client.put_blob(tag.repository, config, sha256(config))
        for entry in fitting:
            entry.written = True
        try:
            looked = await self._replace(tag, held, manifest, look_first=merged)
        except TagMoved:
            await self._again(tag, fitting)
            return
        except RegistryRefused as exc:
            if not exc.misses_blob or any(entry.tries >= MOST_UPLOADS for entry in fitting):
                raise
            # Garbage collection removed an uploaded blob before a manifest referred to it.
            for entry in fitting:
                entry.uploaded = False
            await self._again(tag, fitting)
            return
        # The time in which another writer could have read the tag before this write.
        window = time.monotonic() - (looked or begun)
        shortest = SHORTEST_PAUSE if len(self._tasks) <= FEW_WRITES else SHORTEST_WATCH
        # A random factor keeps two writers from repeating the same collision.
        pause = min(max(shortest, PAUSE_FACTOR * window) * _random.uniform(1, 1.5), LONGEST_PAUSE)
        self._start(self._confirm(tag, fitting, manifest.digest, pause))

    async def _replace(
        self, tag: _Tag, current: Manifest | None, manifest: Manifest, *, look_first: bool
    ) -> float:
        """Write ``manifest`` in place of ``current``, the content of the tag.

        Returns when the last check of the tag began, 0 if there was none. Raises :class:`TagMoved` if the tag
        has other content by now, before the write or after a failed try.
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
            # The tag did not move, so the registry does not support If-Match: write without it.
            await put()
        return looked

    async def _read(self, tag: _Tag, batch: list[_Entry]) -> Manifest | None:
        """Return the content of the tag; None if it is absent.

        Some registries answer 403 for an absent tag. Their list of tags decides then. If the list cannot be
        read either, the tag counts as absent if a blob that was just written there can be read.
        """
        try:
            return await self._client.get_manifest(tag.repository, tag.name, push=True, prompt=True)
        except RegistryRefused as exc:
            if exc.status != FORBIDDEN or not await self._is_absent(tag, batch[0].layer):
                raise
            tag.refuses_looks = True
            return None

    async def _is_absent(self, tag: _Tag, layer: Layer) -> bool:
        """Whether a tag for which the registry answered 403 is absent."""
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
        """Return the digest of the tag's content; ``""`` if it is absent."""
        try:
            seen = await self._client.head_manifest(tag.repository, tag.name, push=True, prompt=True)
        except RegistryRefused as exc:
            if exc.status != FORBIDDEN or not tag.refuses_looks:
                raise
            return ""
        return seen.digest if seen else ""

    async def _upload(self, tag: _Tag, batch: list[_Entry]) -> bytes:
        """Upload the blobs of a batch.

        Returns the image configuration for a new tag, which is uploaded too, because most tags are new.
        """
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
        """Wait until the entries are safe from concurrent writers (steps 3 to 5), then finish them."""
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
                del current  # release its memory: a task that waits for memory must not hold any
                pause = min(pause * _random.uniform(1, 2), LONGEST_PAUSE) if paused == 1 else pause
            blobs = [entry.layer.digest for entry in entries if entry.layer.blob]
            # A receipt means that the blob can be read back too.
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
        """Check the tag once more after ``seconds``, and write again what a slower writer removed."""
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
            # The receipts were returned already; only an audit can find such a loss.
            _log.warning("%s of %s cannot be looked at again: %s", tag.name, tag.repository, exc)

    async def _again(self, tag: _Tag, entries: list[_Entry]) -> None:
        """Queue the entries for another write; fail those with too many tries."""
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


def _is_image(manifest: Manifest | None, tag: str) -> bool:
    """Whether the registry resolved the tag ``sha256-<hex>`` to the image with that digest."""
    return manifest is not None and tag_of(manifest.digest) == tag


def _check_is_tag(tag: _Tag, manifest: Manifest | None) -> None:
    """Raise :class:`StoreRejected` if the registry resolves the fallback tag to the image itself."""
    if _is_image(manifest, tag.name):
        raise StoreRejected(
            f"{tag.repository} lists no referrers, and resolves the tag {tag.name} to the image itself, so "
            "that bundles cannot be found there: set storage.oci.encoding-format to dsse"
        )


def _absent(entries: list[_Entry], existing: Sequence[Entry]) -> list[_Entry]:
    """Return the entries that a document does not have."""
    present = {entry.identity for entry in existing}
    return [entry for entry in entries if entry.layer.identity not in present]


def _fail(entries: list[_Entry], error: BaseException) -> None:
    """Fail the entries. Each gets its own exception, because raising one adds to its traceback."""
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

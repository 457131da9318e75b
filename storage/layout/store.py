"""The store ``oci-layout``: an OCI image layout that oras, crane and skopeo can copy to any registry.

Form A: for each subject, ``index.json`` has an entry named ``sha256-<hex>.att`` or ``.sig``. Copied to a
registry under that name, it is a cosign attestation or signature. Form B: an artifact manifest for each
record. It has a ``subject`` if the layout has the subject's manifest, else an annotation with the subjects. A
record without subjects is found by the UID of its run.

Blobs are written immediately, under a temporary name first. The manifests of tags, which hold the records of
many runs, and ``index.json`` are written by :meth:`LayoutStore.flush`. A flush also starts by itself when as
many entries wait as the index has, so that the total work stays linear. Several processes may write to one
layout.

Small files are written on the event loop: a write takes about 40 µs, less than a switch to a thread and back.
Blobs from 1 MiB, flushes, and searches that are not small run in threads (``searches``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import orjson

from storage import lean_json
from storage.base import FORM_A, FORM_B, Store, StoreOptions, checked_format
from storage.errors import BadContent, StoreError, StoreRejected, StoreUnavailable
from storage.formats.digest import is_sha256, sha256_aside
from storage.formats.manifest_evidence import RUN, RUN_UID
from storage.formats.manifests import (
    DSSE_TYPE,
    EMPTY,
    EMPTY_DIGEST,
    Descriptor,
    Layer,
    artifact_manifest,
    layer_of,
    referrer_annotations,
    tag_of,
)
from storage.layout.blobs import Blobs
from storage.layout.commit import TAG, Batch, commit, tagged
from storage.layout.deletion import delete_all
from storage.layout.find import find_digest, find_run, list_runs, place_of, read_some
from storage.layout.index import Index, IndexFile
from storage.layout.lookup import SUBJECT
from storage.layout.searches import Question, Searches
from storage.limits.single_flight import InFlight
from storage.locks import FOLDER_PROTECTION, Doomed, Protection
from storage.parts import Part
from storage.record import BUNDLE_TYPE, Failure, Findings, ListedRun, Receipt, Record, Stored

T = TypeVar("T")
FLUSH_AT = 1000
"""The number of waiting entries from which a flush starts by itself, for a small index."""
_ASIDE = 1024 * 1024
"""Bytes from which a blob is written in a thread."""


class LayoutStore(Store):
    """Stores records in the image layout ``oci-layout:PATH``. The first write creates it."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        path = url.removeprefix("oci-layout:")
        if not path:
            raise StoreRejected(f"unknown store {url!r}: expected oci-layout:PATH")
        checked_format(options)
        self.url = url
        self._options = options
        self._root = Path(path)
        self._file = IndexFile(self._root)
        self._blobs = Blobs(self._root)
        self._searches = Searches(self._file, self._blobs)
        self._index: Index | None = None
        self._opening: InFlight[str, Index] = InFlight()
        self._waiting = Batch()
        self._mine: dict[str, bytes] = {}
        self._flushing = Batch()
        self._flush_at = FLUSH_AT
        self._lock = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    async def put(self, record: Record) -> Stored:
        """Store ``record`` once in form B, and in form A for each subject; see :meth:`Store.put`."""
        try:
            await self._opened()
            stored = await self._put(record)
        except StoreError as exc:
            transient = isinstance(exc, StoreUnavailable)
            forms = [form for form in (self._form_a(record), self._form_b()) if form]
            return Stored(failures=tuple(Failure(self.url, form, "", str(exc), transient) for form in forms))
        if len(self._waiting) >= self._flush_at and not self._background:
            task = asyncio.ensure_future(self._flush_aside())
            self._background.add(task)
            task.add_done_callback(self._background.discard)
            await asyncio.sleep(0)  # let the task start, even if the caller never waits for I/O
        return stored

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the evidence about ``digest``, which is ``sha256:hex`` or has another algorithm."""
        del reference
        return await self._look(lambda index, blobs: find_digest(index, blobs, digest))

    async def find_run(self, uid: str) -> Findings:
        """Return the evidence from the run ``uid``."""
        return await self._look(lambda index, blobs: find_run(index, blobs, uid))

    async def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs in the layout; see :meth:`Store.list_runs`."""
        for run in await self._look(lambda index, _: list_runs(index)):
            if run.ended_within(since, until):
                yield run

    can_delete = True

    async def delete(self, pieces: Sequence[Doomed]) -> list[str]:
        """Delete evidence from manifests, index and blobs; see :meth:`Store.delete`."""
        try:
            await self.flush()
            self._mine.clear()  # what this store wrote must not be written again when it is missing
            self._index = None
            return await asyncio.to_thread(
                delete_all, self._file, self._blobs, pieces, seconds=self._options.timeout
            )
        except StoreError as error:
            return [str(error)] * len(pieces)

    async def protection(self) -> Protection:
        """Return that a folder has no locks."""
        return FOLDER_PROTECTION

    async def scan(self) -> AsyncIterator[Part]:
        """Yield all evidence in the layout, that of other tools included; see :meth:`Store.scan`.

        A part is an entry of the index, or several small ones.
        """
        async for part in self.scan_new(lambda _: False):
            yield part

    async def scan_new(self, is_known: Callable[[str], bool]) -> AsyncIterator[Part]:
        """Yield what is not known; see :meth:`Store.scan_new`.

        An entry names a manifest by its digest, and the manifest names all of its evidence by theirs.
        """
        entries = await self._look(lambda index, _: list(index.entries.values()))
        total = len(entries)
        new = await asyncio.to_thread(
            lambda: [raw for raw in entries if not is_known(place_of(self._blobs, lean_json.loads(raw)))]
        )
        for _ in range(total - len(new)):
            yield Part(Findings(), total)
        done = 0
        while done < len(new):
            parts = await asyncio.to_thread(read_some, new, done, self._blobs)
            for findings in parts:
                yield Part(findings, total)
            done += len(parts)

    async def flush(self) -> None:
        """Write the manifests of tags and ``index.json``. Concurrent callers share one write."""
        async with self._lock:
            if not self._waiting and not await self._lost_ground():
                return
            batch, self._waiting = self._waiting, Batch()
            self._flushing = batch
            try:
                self._index = await asyncio.to_thread(
                    commit,
                    self._file,
                    self._blobs,
                    batch,
                    self._known(),
                    self._mine,
                    seconds=self._options.timeout,
                    fsync=self._options.fsync,
                )
            except BaseException:
                # Keep the batch for the next flush; committing a part of it twice changes nothing.
                self._waiting = batch.followed_by(self._waiting)
                # Do not try again at once with every record while the disk is full.
                self._flush_at = 2 * len(self._waiting)
                raise
            finally:
                self._flushing = Batch()
            self._flush_at = max(FLUSH_AT, len(self._index.entries))

    async def _lost_ground(self) -> bool:
        """Whether another process wrote an index without entries for which receipts were returned."""
        if not self._mine:
            return False
        current = await asyncio.to_thread(self._file.read, self._known())
        return any(key not in current.entries for key in self._mine)

    async def close(self) -> None:
        """Flush, and wait for a flush that started by itself."""
        await self.flush()
        await asyncio.gather(*self._background)

    async def _flush_aside(self) -> None:
        try:
            await self.flush()
        except StoreError:
            return  # the batch still waits; the caller's own flush tries again and raises

    async def _opened(self) -> None:
        """Create the layout and read its index, once."""
        if self._index is None:
            self._index = await self._opening.run("", lambda: asyncio.to_thread(self._open))

    def _open(self) -> Index:
        self._file.create()
        self._blobs.write(EMPTY_DIGEST, EMPTY)
        return self._file.read(Index())

    def _known(self) -> Index:
        return self._index or Index()

    async def _look(self, question: Question[T]) -> T:
        """Flush, then answer a question from what the file has now, including what other processes wrote."""
        if self._waiting or self._mine or self._lock.locked():
            await asyncio.to_thread(self._searches.expect_layout)
            await self.flush()
        before = self._index
        index, answer = await self._searches.ask(self._known(), question)
        # a flush may have written a newer one in the meantime
        if self._index is before:
            self._index = index
        return answer

    def _form_a(self, record: Record) -> str:
        """Return the form A of a record (``att`` or ``sig``); empty if it is not configured."""
        if self._options.encoding_format == FORM_B:
            return ""
        return "sig" if record.is_image_signature else "att"

    def _form_b(self) -> str:
        """Return ``layout`` if form B is configured, else empty."""
        return "" if self._options.encoding_format == FORM_A else "layout"

    async def _put(self, record: Record) -> Stored:
        """Store the configured forms of a record. Raises :class:`StoreError`."""
        subjects = [
            f"{kind}:{value}"
            for record_subject in record.subjects
            for kind, value in record_subject.digest.items()
        ]
        images = dict.fromkeys(subject for subject in subjects if is_sha256(subject))
        receipts: list[Receipt] = []
        failures: list[Failure] = []
        skipped: list[Failure] = []
        form = self._form_a(record)
        if form and images:
            await self._put_tags(record, form, list(images), receipts, failures)
        # Both forms are wanted, and form A is impossible without a sha256 digest: store form B and say why.
        elif form and self._form_b():
            reason = f"no subject has a sha256 digest, which the tag .{form} needs; the bundle is kept"
            skipped.append(Failure(self.url, form, "", reason))
        elif form == "sig":
            raise StoreRejected("an image signature needs a subject with a sha256 digest")
        if self._form_b() or not (images or skipped):
            content, media_type = (
                (record.bundle, BUNDLE_TYPE) if self._form_b() else (record.envelope, DSSE_TYPE)
            )
            receipts += await self._put_artifact(record, subjects, content, media_type)
        return Stored(tuple(receipts), tuple(failures), tuple(skipped))

    async def _put_tags(
        self, record: Record, form: str, images: list[str], receipts: list[Receipt], failures: list[Failure]
    ) -> None:
        """Store form A: one layer for the tag of each subject. The flush writes the manifests."""
        blob = record.payload if record.is_image_signature else record.envelope
        if not blob or (record.is_image_signature and not record.signature):
            raise StoreRejected("the record has no envelope or signature")
        digest = await sha256_aside(blob)
        layer = layer_of(record, digest, _run_annotations(record))
        kept = self._blobs.has(digest, len(blob))
        absent = []
        for image in images:
            tag = tag_of(image, f".{form}")
            try:
                # Includes the layers that wait for the flush or are being flushed.
                there, many = self._layers_of(tag, layer)
            except BadContent as exc:
                failures.append(Failure(self.url, form, image, str(exc)))
                continue
            if not there and many >= TAG.most:
                failures.append(Failure(self.url, form, image, f"the tag {tag} is full: {many} entries"))
                continue
            # A tag that lists the layer is of no use if the blob is missing.
            there = there and kept
            if not there:
                absent.append(tag)
            receipts.append(Receipt(self.url, form, image, f"{self._root}:{tag}", digest, changed=not there))
        if absent:
            await self._write_blob(digest, blob)
        for tag in absent:
            # The blob is on disk, so the waiting layer need not keep it in memory.
            self._waiting.layers.setdefault(tag, {})[layer.identity] = Layer(layer.descriptor)

    def _layers_of(self, tag: str, layer: Layer) -> tuple[bool, int]:
        """Return whether the tag has ``layer``, and how many layers it has."""
        many = 0
        for batch in (self._waiting, self._flushing):
            layers = batch.layers.get(tag, {})
            if layer.identity in layers:
                return True, 0
            many += len(layers)
        entry = self._known().entries.get(f"name {tag}")
        if entry is None:
            return False, many
        listed = tagged(self._blobs, entry).entries
        return layer.identity in {listed_entry.identity for listed_entry in listed}, many + len(listed)

    async def _put_artifact(
        self, record: Record, subjects: list[str], content: bytes, media_type: str
    ) -> list[Receipt]:
        """Store form B, or an envelope alone.

        There is one manifest for each subject in the layout, and one for all other subjects.
        """
        if not content:
            raise StoreRejected(
                "the record has no bundle" if media_type == BUNDLE_TYPE else "the record has no envelope"
            )
        digest = await sha256_aside(content)
        described = Descriptor(media_type, digest, len(content))
        run = _run_annotations(record)
        kept = {subject: descriptor for subject in subjects if (descriptor := self._blobs.manifest(subject))}
        others = ",".join(dict.fromkeys(subject for subject in subjects if subject not in kept))
        groups = [*kept.items(), *([(others, None)] if others or not kept else [])]
        receipts = []
        for about, subject in groups:
            annotations = referrer_annotations(record, media_type) | run
            if about:
                annotations[SUBJECT] = about
            manifest = artifact_manifest(described, annotations, subject)
            there = self._has(manifest.digest) and self._blobs.has(digest, len(content))
            if not there:
                await self._write_blob(digest, content)
                await self._write_blob(manifest.digest, manifest.data)
                entry = manifest.descriptor().to_json()
                entry["artifactType"] = media_type
                entry["annotations"] = annotations
                self._waiting.entries[manifest.digest] = orjson.dumps(entry)
            # Without a subject descriptor one manifest serves the whole record.
            served = about if subject else ""
            location = f"{self._root}@{manifest.digest}"
            receipts.append(Receipt(self.url, "layout", served, location, manifest.digest, changed=not there))
        return receipts

    def _has(self, digest: str) -> bool:
        """Whether the index has an entry with this digest, or will after the next flush."""
        known = self._known().entries
        return digest in known or digest in self._waiting.entries or digest in self._flushing.entries

    async def _write_blob(self, digest: str, data: bytes) -> None:
        """Write a blob, in a thread if it is large."""
        if len(data) >= _ASIDE:
            await asyncio.to_thread(self._blobs.write, digest, data)
        else:
            self._blobs.write(digest, data)
        if self._options.fsync:
            self._waiting.blobs.append(self._blobs.path(digest))


def _run_annotations(record: Record) -> dict[str, str]:
    origin = record.origin
    return {RUN_UID: origin.uid, RUN: f"{origin.kind}/{origin.namespace}/{origin.name}"}

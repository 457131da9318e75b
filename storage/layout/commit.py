"""The flush of a layout: writes the manifests of tags, then ``index.json``, under the layout's lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from storage import lean_json
from storage.durable import sync_files, sync_folder
from storage.formats.digest import sha256
from storage.formats.manifest_evidence import RUN_UID
from storage.formats.manifests import MANIFEST_LIMIT, Entry, Gathered, Layer, Manifest, SignedLayers, entry_of
from storage.layout.blobs import Blobs
from storage.layout.index import Index, IndexFile
from storage.layout.lookup import REF_NAME

TAG = SignedLayers()


@dataclass(slots=True)
class Batch:
    """What waits for the next flush: index entries by digest, and new layers by tag."""

    entries: dict[str, bytes] = field(default_factory=dict)
    layers: dict[str, dict[tuple[str, str], Layer]] = field(default_factory=dict)
    blobs: list[str] = field(default_factory=list)
    """Paths that must still be synced to disk."""

    def __len__(self) -> int:
        return len(self.entries) + len(self.layers)

    def followed_by(self, later: Batch) -> Batch:
        """Add the content of a later batch and return this one."""
        for tag, layers in later.layers.items():
            self.layers.setdefault(tag, {}).update(layers)
        self.entries.update(later.entries)
        self.blobs.extend(later.blobs)
        return self


def commit(
    file: IndexFile,
    blobs: Blobs,
    batch: Batch,
    known: Index,
    mine: dict[str, bytes],
    *,
    seconds: float,
    fsync: bool,
) -> Index:
    """Write ``batch`` and return the new index. Blocks.

    The file is read again first, because other processes may have changed it since ``known``. ``mine`` are
    the entries that this store committed earlier, and the batch's are added to it. Receipts exist for them,
    so they are written again if another process replaced the index without them. Committing a batch twice
    changes nothing. Waits up to ``seconds`` for the lock.
    """
    with file.locked(seconds):
        current = file.read(known)
        entries = dict(current.entries)
        for tag, layers in batch.layers.items():
            key = f"name {tag}"
            entries[key] = _merged(blobs, entries.get(key), tag, layers)
        entries.update(batch.entries)
        # Another process may have replaced the index by one without the entries of this store.
        for key, entry in mine.items():
            entries.setdefault(key, entry)
        written = (*batch.entries, *(f"name {tag}" for tag in batch.layers))
        mine.update((key, entries[key]) for key in written)
        # Blobs before the index: after a power failure the index must not name missing blobs.
        if fsync:
            sync_files(batch.blobs)
            sync_folder(blobs.folder)
        return file.write(Index(entries, current.others), fsync=fsync)


def tagged(blobs: Blobs, entry: bytes) -> Gathered:
    """Return the manifest of a tag's entry. Raises :class:`BadContent` if nothing can be added to it."""
    described = lean_json.loads(entry)
    digest = str(described.get("digest"))
    data = blobs.read(digest, MANIFEST_LIMIT)
    return TAG.read(Manifest(str(described.get("mediaType")), digest, data))


def _merged(blobs: Blobs, entry: bytes | None, tag: str, layers: Mapping[tuple[str, str], Layer]) -> bytes:
    """Write the tag's manifest with ``layers`` added and return its index entry."""
    document = Gathered() if entry is None else tagged(blobs, entry)
    there = document.entries
    present = {layer.identity for layer in there}
    # Layers that the tag has already, from this or another process, are not added again.
    added = [entry_of(layer.descriptor) for identity, layer in layers.items() if identity not in present]
    if entry is not None and not added:
        return entry
    manifest, config = TAG.build(document, [*there, *added])
    blobs.write(sha256(config), config)
    blobs.write(manifest.digest, manifest.data)
    uids = [_uid(layer) for layer in (*there, *added)]
    annotations = {REF_NAME: tag, RUN_UID: ",".join(dict.fromkeys(uid for uid in uids if uid))}
    return orjson.dumps(manifest.descriptor().to_json() | {"annotations": annotations})


def _uid(entry: Entry) -> str:
    """Return the UID of the run that a layer comes from; empty if unknown."""
    annotations = entry.descriptor.get("annotations")
    uid = annotations.get(RUN_UID) if isinstance(annotations, dict) else None
    return uid if isinstance(uid, str) else ""

"""Deletes evidence from an OCI image layout: from manifests and the index first, then the blobs.

A process that ends in between leaves blobs that nothing names; the next call deletes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from storage import lean_json
from storage.durable import problem
from storage.errors import BadContent
from storage.formats.digest import is_sha256, sha256
from storage.formats.manifest_evidence import RUN_UID
from storage.formats.manifests import EMPTY_DIGEST, MANIFEST_LIMIT, Entry, Manifest
from storage.layout.blobs import Blobs
from storage.layout.commit import TAG
from storage.layout.index import Index, IndexFile
from storage.layout.lookup import REF_NAME, annotation
from storage.locks import Doomed


@dataclass
class _Going:
    """What goes, by its digest, and the blobs that nothing names any more."""

    uids: dict[str, set[str]]
    """The UIDs of the runs of each piece; an empty one stands for every run."""
    words: tuple[bytes, ...]
    """What an entry has to contain to name a piece or one of its blobs; empty: any entry may."""
    loose: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    """Those of the loose blobs that are manifests."""

    def order(self, digest: str) -> int:
        """Return the place of a blob among those that go: what leads to others goes after them."""
        return (digest in self.manifests) + 2 * (digest in self.uids)

    def takes(self, digest: str, uids: Iterable[str]) -> bool:
        """Whether evidence with this digest, of runs with these UIDs, goes."""
        wanted = self.uids.get(digest)
        return wanted is not None and ("" in wanted or not wanted.isdisjoint(uids))


def delete_all(file: IndexFile, blobs: Blobs, pieces: Sequence[Doomed], *, seconds: float) -> list[str]:
    """Return for each piece why it is still there; empty if it is gone.

    Raises :class:`StoreError`. Blocks.
    """
    reasons = ["" if is_sha256(one.digest) else f"{one.digest[:100]!r} is no digest" for one in pieces]
    right = [one for one, reason in zip(pieces, reasons, strict=True) if not reason]
    going = _going(right)
    with file.locked(seconds):
        index = file.read(Index())
        entries = dict(index.entries)
        for key, raw in index.entries.items():
            if going.words and not any(word in raw for word in going.words):
                continue
            try:
                made = _without(blobs, raw, going)
            except BadContent:
                continue  # a manifest that cannot be read names nothing that can be found
            if made is None:
                del entries[key]
            else:
                entries[key] = made
        if entries != index.entries:
            file.write(Index(entries, index.others), fsync=True)
        _add_left_over(blobs, right, entries.values(), going)
        # the evidence last: what leads to it is found as long as it is there
        for digest in sorted(going.loose - going.kept - {EMPTY_DIGEST}, key=going.order):
            _unlink(blobs, digest)
    return reasons


def _going(pieces: Sequence[Doomed]) -> _Going:
    uids: dict[str, set[str]] = {}
    words: set[bytes] = set()
    for one in pieces:
        uids.setdefault(one.digest, set()).add(one.uid)
        words |= {one.uid.encode(errors="replace"), *(each.partition(":")[2].encode() for each in one.about)}
    # two runs may have the same bytes as evidence: those of another run are found by what they are about
    is_whole = all(one.uid and one.about for one in pieces)
    return _Going(uids, tuple(words) if is_whole else (), loose=set(uids))


def _add_left_over(blobs: Blobs, pieces: Sequence[Doomed], entries: Iterable[bytes], going: _Going) -> None:
    """Add the manifests of pieces that an earlier call took out of the index, and did not delete."""
    named = {str(lean_json.loads(raw).get("digest")) for raw in entries}
    for digest in {one.location.rpartition("@")[2] for one in pieces} - named:
        try:
            manifest = lean_json.loads(blobs.read(digest, MANIFEST_LIMIT))
            layers = {str(one["digest"]) for one in manifest["layers"]}
            config = str(manifest["config"]["digest"])
        except (BadContent, ValueError, KeyError, TypeError):
            continue  # it is gone, or no manifest
        if layers & going.uids.keys():
            going.loose |= {digest, config}
            going.manifests.add(digest)


def _without(blobs: Blobs, raw: bytes, going: _Going) -> bytes | None:
    """Return an index entry without the evidence that goes, None if nothing is left of it."""
    entry = lean_json.loads(raw)
    digest = str(entry.get("digest"))
    data = blobs.read(digest, MANIFEST_LIMIT)
    manifest = lean_json.loads(data)
    layers = [one for one in manifest.get("layers") or () if isinstance(one, dict)]
    named = {str(one.get("digest")) for one in layers}
    tag = annotation(entry, REF_NAME)
    if not tag:  # one manifest for one piece
        uids = annotation(entry, RUN_UID).split(",")
        if any(going.takes(one, uids) for one in named):
            going.loose.add(digest)
            going.manifests.add(digest)
            return None
        going.kept |= named
        return raw
    if not named & going.uids.keys():
        return raw
    document = TAG.read(Manifest(str(entry.get("mediaType")), digest, data))
    left = [one for one in document.entries if not going.takes(one.digest, _uids([one]))]
    going.kept |= {one.digest for one in left}
    if len(left) == len(document.entries):
        return raw
    going.loose |= {digest, str(manifest.get("config", {}).get("digest"))}
    going.manifests.add(digest)
    if not left:
        return None
    made, config = TAG.build(document, left)
    blobs.write(sha256(config), config)
    blobs.write(made.digest, made.data)
    described: dict[str, Any] = made.descriptor().to_json()
    uids = list(dict.fromkeys(_uids(left)))
    return orjson.dumps(described | {"annotations": {REF_NAME: tag, RUN_UID: ",".join(uids)}})


def _uids(layers: Sequence[Entry]) -> Iterator[str]:
    for layer in layers:
        annotations = layer.descriptor.get("annotations")
        uid = annotations.get(RUN_UID) if isinstance(annotations, dict) else None
        if isinstance(uid, str) and uid:
            yield uid


def _unlink(blobs: Blobs, digest: str) -> None:
    if not is_sha256(digest):
        return
    path = Path(blobs.path(digest))
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise problem("delete", path, error) from error

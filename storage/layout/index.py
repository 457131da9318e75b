"""``index.json`` of an OCI image layout: read, merged and replaced as a whole, under a lock.

Entries stay the bytes of the file, so a large index takes little memory and foreign entries do not change.
The first search looks for a text in these bytes before it parses an entry; the next one of the same version
makes a table of what the entries name.
(https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md)
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from storage import lean_json, lean_list
from storage.durable import problem, replace_file
from storage.errors import StoreRejected, StoreUnavailable
from storage.files import open_file, read_file, read_open
from storage.formats.manifests import OCI_INDEX
from storage.layout.lookup import REF_NAME, Lookup, is_foreign_bundle

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
LARGEST_INDEX = 256 * 1024 * 1024
"""The largest ``index.json`` in bytes. A hundred thousand runs take 170 MB."""
_SMALLEST_ENTRY = 100
"""The smallest average size of a descriptor in bytes. A digest alone takes 71."""
_POLL = 0.02
"""Seconds between two tries to get the lock."""
_MOST_MARKER = 4096
"""The largest ``oci-layout`` file in bytes."""
NEVER_READ = (0, 0, 0)
"""The version of an index that was not read from a file."""
_MAKING = threading.Lock()


@dataclass(slots=True, weakref_slot=True)
class Index:
    """The entries of one version of the file: by :func:`key_of`, as JSON bytes."""

    entries: dict[str, bytes] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    """The other members of the file."""
    version: tuple[int, int, int] = NEVER_READ
    _lookup: Lookup | None = field(default=None, repr=False, compare=False)
    _was_searched: bool = field(default=False, repr=False, compare=False)

    @property
    def is_ready(self) -> bool:
        """Whether a search finds entries without looking through all of them."""
        return self._lookup is not None

    def naming(self, words: Collection[str], text: str) -> Iterator[dict[str, Any]]:
        """Yield the parsed entries that name one of ``words``, each of which contains ``text``.

        Others are yielded too; the caller checks them in detail.
        """
        if self._was_searched and self._lookup is None:
            # many threads may ask at once, and a table takes as much memory as the index
            with _MAKING:
                if self._lookup is None:
                    self._lookup = Lookup(list(self.entries.values()))
        self._was_searched = True
        return self.containing(text) if self._lookup is None else self._lookup.naming(words)

    def containing(self, text: str) -> Iterator[dict[str, Any]]:
        """Yield the parsed entries whose JSON contains ``text``. The caller checks them in detail."""
        needle = text.encode()
        return (lean_json.loads(raw) for raw in self.entries.values() if needle in raw)

    def foreign_bundles(self) -> Iterator[str]:
        """Yield the digests of the manifests of other tools' bundles. Only these say what they are about."""
        if self._lookup is not None:
            return self._lookup.foreign_bundles()
        rows = (raw for raw in self.entries.values() if is_foreign_bundle(raw))
        return (str(lean_json.loads(raw).get("digest")) for raw in rows)


def _version(state: os.stat_result) -> tuple[int, int, int]:
    # The file is replaced by a rename, so new content has a new inode.
    return state.st_ino, state.st_mtime_ns, state.st_size


class TooMany(ValueError):  # noqa: N818 - named after what is wrong
    """The index has more entries than are read."""


def _parsed(data: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return entries and other members of an index. A large index is read entry by entry."""
    # A small file is parsed at once, which is faster.
    if lean_json.values_in(data) <= lean_json.MOST_VALUES:
        document = lean_json.loads(data)
        return {key_of(entry): orjson.dumps(entry) for entry in document.pop("manifests")}, document
    entries: dict[str, bytes] = {}
    most = len(data) // _SMALLEST_ENTRY

    def take(written: bytes) -> None:
        entry = orjson.loads(written)
        entries[key_of(entry)] = orjson.dumps(entry)
        if len(entries) > most:
            raise TooMany(f"more than {most} entries in {len(data)} bytes")

    others = lean_list.members_of(data, "manifests", take)
    return entries, others


def key_of(entry: dict[str, Any]) -> str:
    """Return the identity of an entry: its name if it has one, else its digest."""
    annotations = entry.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return f"name {name}" if name else str(entry.get("digest"))


class IndexFile:
    """The files ``oci-layout`` and ``index.json`` in one folder. Every method may block."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "index.json"
        self._marker = root / "oci-layout"

    def create(self) -> None:
        """Make the folder an image layout if it is none. Raises :class:`StoreError`."""
        try:
            (self._root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            if not self._marker.exists():
                replace_file(self._marker, LAYOUT)
            marker = orjson.loads(read_file(self._marker, _MOST_MARKER))
        except orjson.JSONDecodeError as exc:
            raise StoreRejected(f"{self._marker} is not JSON: is {self._root} an image layout?") from exc
        except OSError as exc:
            raise problem("make an image layout of", self._root, exc) from exc
        version = marker.get("imageLayoutVersion") if isinstance(marker, dict) else None
        if version != "1.0.0":
            raise StoreRejected(f"{self._marker} has version {version!r}: expected '1.0.0'")

    def exists(self) -> bool:
        """Whether the folder is marked as an image layout. Raises :class:`OSError` if that cannot be seen."""
        try:
            return stat.S_ISREG(self._marker.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def is_unchanged(self, known: Index) -> bool:
        """Whether the folder is a layout and its index has the version that is known."""
        try:
            is_known = _version(os.stat(self._path)) == known.version  # noqa: PTH116 - takes half the time
            return is_known and stat.S_ISREG(os.stat(self._marker).st_mode)  # noqa: PTH116
        except OSError:
            return False

    def read(self, known: Index) -> Index:
        """Return the entries of the file; ``known`` itself if the file has not changed since.

        Raises :class:`StoreRejected` if the file is not an image index.
        """
        try:
            with open_file(self._path) as file:
                version = _version(os.fstat(file.fileno()))
                if version == known.version:
                    return known
                data = read_open(file, LARGEST_INDEX)
        except FileNotFoundError:
            # A missing file is an empty index, whether the layout is new or the file was deleted.
            return known if known.version == NEVER_READ else Index()
        except OSError as exc:
            raise problem("read", self._path, exc) from exc
        try:
            entries, others = _parsed(data)
        except (ValueError, AttributeError, KeyError, TypeError) as exc:
            reason = f" ({exc})" if isinstance(exc, TooMany) else ""
            raise StoreRejected(
                f"{self._path} is not an image index{reason}: move it away or restore it"
            ) from exc
        return Index(entries, others, version)

    def write(self, index: Index, *, fsync: bool) -> Index:
        """Replace the file by ``index`` and return it with its new version."""
        head = {"schemaVersion": 2, "mediaType": OCI_INDEX} | index.others
        opening = orjson.dumps(head)[:-1] + b',"manifests":[\n'
        data = b"".join((opening, b",\n".join(index.entries.values()), b"\n]}\n"))
        try:
            replace_file(self._path, data, fsync=fsync)
            version = _version(self._path.stat())
        except OSError as exc:
            raise problem("write", self._path, exc) from exc
        return Index(index.entries, index.others, version)

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Lock the layout against other processes. The lock is on ``oci-layout``, which is never replaced.

        Raises :class:`StoreUnavailable` if another process holds it for ``seconds``.
        """
        try:
            handle = os.open(self._marker, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as exc:
            raise problem("lock", self._marker, exc) from exc
        try:
            until = time.monotonic() + seconds
            while True:
                try:
                    # Polled and not waited for: flock() has no time limit.
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as exc:
                    if time.monotonic() >= until:
                        reason = f"another process has held {self._marker} for {seconds:g} s"
                        raise StoreUnavailable(reason) from exc
                    time.sleep(_POLL)
            yield
        finally:
            os.close(handle)

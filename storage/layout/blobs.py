"""Reads and writes ``blobs/sha256`` of an OCI image layout. Every function here may block."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
from pathlib import Path

import orjson

from storage import lean_json
from storage.durable import problem, write_new
from storage.errors import BadContent
from storage.files import read_file
from storage.formats.digest import is_sha256, sha256
from storage.formats.manifests import MANIFEST_LIMIT, MANIFEST_TYPES, Descriptor
from storage.layout.manifests import Manifests

_HEX = len("sha256:")


class Blobs:
    """Reads blobs, checking each against its digest, and writes them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifests = Manifests()
        self.folder = root / "blobs" / "sha256"
        # Plain strings instead of Path: about ten files are written per run, and building a Path costs time.
        self._prefix = os.fspath(self.folder) + os.sep
        self._serial = itertools.count()
        self._temporary = os.fspath(root / f".blob-{secrets.token_hex(8)}-")

    def path(self, digest: str) -> str:
        """Return the path of the blob with a sha256 ``digest``."""
        return self._prefix + digest[_HEX:]

    def read(self, digest: str, limit: int) -> bytes:
        """Return a blob. Raises :class:`BadContent` if it is absent, too large or has another digest."""
        if not is_sha256(digest):
            raise BadContent(f"{digest[:100]!r} is not a sha256 digest")
        path = self.path(digest)
        try:
            # Links are followed, because some builders link blobs; the digest is checked below.
            data = self._bytes(path, limit)
        except OSError as exc:
            if exc.errno == errno.EFBIG:
                raise BadContent(f"{path} is larger than {limit} bytes") from exc
            raise BadContent(f"cannot read {path}: {exc.strerror}") from exc
        actual = sha256(data)
        if actual != digest:
            raise BadContent(f"{path}: expected digest {digest}, got bytes with {actual}")
        return data

    def _bytes(self, path: str, limit: int) -> bytes:
        return read_file(path, limit)

    def has(self, digest: str, size: int) -> bool:
        """Whether a blob of this size exists."""
        try:
            return os.stat(self.path(digest)).st_size == size  # noqa: PTH116 - see __init__
        except OSError:
            return False

    def write(self, digest: str, data: bytes) -> None:
        """Write a blob, also over an existing one: a crash or a bad disk may have left wrong bytes there."""
        path = self.path(digest)
        # A unique name per write: two threads may write the same blob at the same time.
        temporary = f"{self._temporary}{next(self._serial)}"
        try:
            write_new(temporary, data)
            os.rename(temporary, path)  # noqa: PTH104 - see __init__
        except OSError as exc:
            Path(temporary).unlink(missing_ok=True)
            raise problem("write", Path(path), exc) from exc

    def manifest(self, digest: str) -> Descriptor | None:
        """Return the descriptor of an image manifest or index in the layout; None for anything else."""
        # A fast check first: for most records the subject is not in the layout.
        if not is_sha256(digest) or not os.access(self.path(digest), os.R_OK):
            return None
        try:
            data = self.read(digest, MANIFEST_LIMIT)
            media_type = lean_json.loads(data)["mediaType"]
        except (BadContent, orjson.JSONDecodeError, KeyError, TypeError):
            return None
        return Descriptor(media_type, digest, len(data)) if media_type in MANIFEST_TYPES else None

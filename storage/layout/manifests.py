"""What manifests of a layout hold, remembered by their digest.

The bytes of a manifest are read and compared with its digest each time its evidence is returned. What they
say then is what they said before. A manifest that does not name a digest never will, so it is not read again
to find that out.
"""

from __future__ import annotations

import re
import threading

from storage.formats.manifest_evidence import Contents, read_manifest

MOST = 4096
"""Manifests that are remembered. The oldest is forgotten first."""
_MOST_PIECES = 4
"""Layers of a manifest that is remembered. Most have one or two."""
_LONGEST = 8 * 1024
"""Bytes of a manifest that is remembered."""
MOST_NAMING = 50_000
"""Manifests of which the digests that they name are remembered, each a few hundred bytes."""
_MOST_NAMED = 1024
"""Bytes of these digests for one manifest."""
_DIGEST = re.compile(rb"[A-Za-z0-9+._-]+:[0-9A-Fa-f]{32,}")


class Manifests:
    """The contents of manifests, by their place and subject. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Contents] = {}
        self._named: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def read(self, data: bytes, source: str, location: str, digest: str, subject: str) -> Contents:
        """Return the evidence in a manifest; see :func:`read_manifest`.

        ``location`` ends with ``digest``, which is that of ``data``.
        """
        place = location, subject
        known = self._known.get(place)
        if known is None:
            known = read_manifest(data, source, location, digest, subject)
            if len(data) <= _LONGEST and len(known.wanted) <= _MOST_PIECES:
                with self._lock:
                    while len(self._known) >= MOST:
                        del self._known[next(iter(self._known))]
                    self._known[place] = known
        return known

    def names(self, manifest: str, digest: str) -> bool | None:
        """Return whether a manifest, by its digest, names a digest somewhere; None if that is not known."""
        named = self._named.get(manifest)
        if named is None or not _DIGEST.fullmatch(digest.encode()):
            return None
        return digest.encode() in named

    def learn(self, manifest: str, data: bytes) -> None:
        """Remember the digests in the bytes of a manifest, which have the digest ``manifest``."""
        named = b" ".join(set(_DIGEST.findall(data))) if len(data) <= _LONGEST else b""
        # an escaped character could be a part of a digest that the pattern does not see
        if not data or b"\\" in data or len(data) > _LONGEST or len(named) > _MOST_NAMED:
            return
        with self._lock:
            while len(self._named) >= MOST_NAMING:
                del self._named[next(iter(self._named))]
            self._named[manifest] = named

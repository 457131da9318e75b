"""What manifests of a layout hold, remembered by their digest.

The bytes of a manifest are read and compared with its digest each time. What they say then is what they said
before.
"""

from __future__ import annotations

import threading

from storage.formats.manifest_evidence import Contents, read_manifest

MOST = 4096
"""Manifests that are remembered. The oldest is forgotten first."""
_MOST_PIECES = 4
"""Layers of a manifest that is remembered. Most have one or two."""
_LONGEST = 8 * 1024
"""Bytes of a manifest that is remembered."""


class Manifests:
    """The contents of manifests, by their place and subject. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Contents] = {}
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

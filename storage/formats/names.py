"""Turns names of runs and subjects into names of files and keys."""

from __future__ import annotations

import hashlib
import re

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def plain_name(text: str) -> str:
    """Return ``text`` as a file name: no separators, no leading dot, at most 100 characters, unique."""
    if _PLAIN.fullmatch(text):
        return text
    # Replacing characters can make two names equal; the digest of the original keeps them apart.
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{_ODD.sub('_', text).lstrip('.-')[:80]}-{mark}"

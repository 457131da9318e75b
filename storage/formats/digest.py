"""Digests as OCI writes them: ``sha256:`` and 64 lowercase hex digits."""

from __future__ import annotations

import asyncio
import hashlib
import re

_HASH_INLINE = 1024 * 1024


def sha256(data: bytes) -> str:
    """Return ``sha256:hex`` of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


async def sha256_aside(data: bytes) -> str:
    """:func:`sha256` that does not hold the event loop up when ``data`` is large."""
    return sha256(data) if len(data) <= _HASH_INLINE else await asyncio.to_thread(sha256, data)


_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


def is_sha256(digest: str) -> bool:
    """Whether ``digest`` is ``sha256:`` and 64 lowercase hex digits."""
    return _SHA256.fullmatch(digest) is not None

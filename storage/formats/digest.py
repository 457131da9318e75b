"""Digests in the form of OCI: ``sha256:`` and 64 lower case hex digits."""

from __future__ import annotations

import asyncio
import hashlib
import re

_HASH_INLINE = 1024 * 1024
"""The largest data in bytes that is hashed on the event loop. Larger data is hashed in a thread."""


def sha256(data: bytes) -> str:
    """Return ``sha256:hex`` of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


async def sha256_aside(data: bytes) -> str:
    """Return :func:`sha256` of ``data``, from a thread if that would block the event loop."""
    return sha256(data) if len(data) <= _HASH_INLINE else await asyncio.to_thread(sha256, data)


_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


def is_sha256(digest: str) -> bool:
    """Whether ``digest`` is ``sha256:`` and 64 lower case hex digits."""
    return _SHA256.fullmatch(digest) is not None

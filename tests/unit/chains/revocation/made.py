"""Revocation lists made to order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chains.revocation.document import parse_list
from chains.revocation.envelope import sign_list
from chains.revocation.memory import Memory
from chains.revocation.read import ListWanted, read_revocations
from chains.revocation.revocations import Revocations
from signers.keys.keyset import ListedKey
from tests.faults.verify.forge import NOW, public, signer

Json = Any
ISSUED = "2026-10-01T00:00:00Z"
SIGNER = "list"
"""The key that signs lists, by its name in ``forge``."""


def document(*entries: Json, version: int = 1, **more: Json) -> bytes:
    """Return the document of a list; each entry gets a reason."""
    listed = [{"reason": "leaked", **entry} for entry in entries]
    return json.dumps({"version": version, "issued": ISSUED, "entries": listed} | more).encode()


def revoked(*entries: Json, **more: Json) -> Revocations:
    """Return what entries revoke."""
    return Revocations((parse_list(document(*entries, **more)),))


def signed(*entries: Json, by: str = SIGNER, **more: Json) -> bytes:
    """Return a signed list."""
    return sign_list(document(*entries, **more), signer(by))


def read(
    path: Path,
    *,
    keys: tuple[str, ...] = (SIGNER,),
    state: Path | None = None,
    minimum: int = 0,
    now: datetime = NOW,
) -> Revocations:
    """Read the list in a file, signed by one of these keys."""
    memory = None if state is None else Memory(state)
    return read_revocations(
        ListWanted(str(path), [ListedKey(public(one)) for one in keys], minimum, memory), now
    )


def at(text: str) -> datetime:
    """Return a time."""
    return datetime.fromisoformat(text).astimezone(UTC)

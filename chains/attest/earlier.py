"""What an earlier try for the same run has done: receipts are kept, and only what lacks one is tried again.

A run that waits for an image, or for a store that is away, is looked at many times; its messages to Kafka and
its layers in registries are written once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chains.attest.payloads import Payload
from chains.attest.stores import Entry, EntryState, Stores


@dataclass(frozen=True, slots=True)
class Attested:
    """What became of one payload, and where the log has its signatures."""

    entries: tuple[Entry, ...] = ()
    logged: tuple[str, ...] = ()


NOTHING_YET = Attested()
Earlier = Mapping[str, Attested]
"""What became of each payload, by :func:`key_of`."""


def key_of(payload: Payload, name: str) -> str:
    """Return what tells a payload, signed by the signer ``name``, from the others of its run."""
    return f"{payload.kind} {name} {hashlib.sha256(payload.statement).hexdigest()}"


async def is_as_before(payloads: Sequence[Payload], before: Sequence[Attested], stores: Stores) -> bool:
    """Whether all that may still be stored waits for subjects that are not there yet."""
    if NOTHING_YET in before:
        return False
    waiting = [
        (payload, entry)
        for payload, known in zip(payloads, before, strict=True)
        for entry in known.entries
        if entry.state == EntryState.FAILED and (entry.transient or entry.absence)
    ]
    if not waiting or any(entry.absence != "certain" for _, entry in waiting):
        return False
    return all(await asyncio.gather(*(_lacks(payload, entry, stores) for payload, entry in waiting)))


async def _lacks(payload: Payload, entry: Entry, stores: Stores) -> bool:
    algorithm, _, value = entry.subject.partition(":")
    names = [item.name for item in payload.subjects if (item.digest or {}).get(algorithm) == value]
    named = [store for store in stores.all if store.url == entry.store]
    questions = [store.lacks(entry.subject, name) for store in named for name in names]
    return bool(questions) and all(await asyncio.gather(*questions))


def to_json(earlier: Earlier) -> list[list[object]]:
    """Return it as JSON values, for :func:`from_json`."""
    return [[key, list(found.entries), list(found.logged)] for key, found in earlier.items()]


def from_json(value: list[tuple[str, list[dict[str, Any]], list[str]]]) -> Earlier:
    """Return what :func:`to_json` wrote, read from its bytes."""
    return {key: Attested(tuple(map(_entry, entries)), tuple(logged)) for key, entries, logged in value}


def _entry(fields: dict[str, Any]) -> Entry:
    return Entry(**fields | {"state": EntryState(fields["state"])})

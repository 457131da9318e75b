"""The result of an earlier attempt for the same run: what has a receipt is not stored again.

A run that waits for an image, or for a store that does not answer, is attempted many times. Its messages to
Kafka and its layers in registries are written once all the same.
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
    """The entries of one payload, and the URLs of its log entries."""

    entries: tuple[Entry, ...] = ()
    logged: tuple[str, ...] = ()


NOTHING_YET = Attested()
Earlier = Mapping[str, Attested]
"""The result for each payload, by :func:`key_of`."""


def key_of(payload: Payload, name: str) -> str:
    """Return the identity of a payload within its run, signed by the signer ``name``."""
    return f"{payload.kind} {name} {hashlib.sha256(payload.statement).hexdigest()}"


async def is_as_before(payloads: Sequence[Payload], before: Sequence[Attested], stores: Stores) -> bool:
    """Whether everything that is not stored yet waits for a subject that is still absent."""
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
    """Return the result as JSON values, for :func:`from_json`."""
    return [[key, list(found.entries), list(found.logged)] for key, found in earlier.items()]


def from_json(value: list[tuple[str, list[dict[str, Any]], list[str]]]) -> Earlier:
    """Return what :func:`to_json` wrote, read from its bytes."""
    return {key: Attested(tuple(map(_entry, entries)), tuple(logged)) for key, entries, logged in value}


def _entry(fields: dict[str, Any]) -> Entry:
    return Entry(**fields | {"state": EntryState(fields["state"])})

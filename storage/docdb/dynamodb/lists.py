"""List items: they name the documents about a digest or from a run in a DynamoDB table.

The table's only key is ``Name``, and DynamoDB cannot index the elements of a list. So ``Names`` of the item
``.by-digest/<algorithm>:<hex>`` is the set of documents about a digest. ``Names`` of ``.by-run/<UID>`` is the
set of documents from a run whose names do not contain its UID. An item has at most :data:`MOST` names;
further names are in ``…/1``, ``…/2`` and so on. Every write has the condition that the item is unchanged
since it was read. So concurrent writers lose no name, and ``dynamodb:PutItem`` is the only permission needed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from storage.docdb.dynamodb.client import DynamoClient, Taken, document_in, encoded
from storage.errors import StoreUnavailable
from storage.formats.chains_document import MOST_DOCUMENTS
from storage.formats.digest import sha256

MOST = 128
"""The most names in one item. A name has up to 2048 bytes, and an item 400 KiB."""
_LONGEST = 512
"""The most characters of a digest or UID in an item's name, which may have 2048 bytes. Longer ones are
hashed."""
_MOST_TRIES = 40
"""How often a write to a list is tried while other writers change it."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0
_random = secrets.SystemRandom()
Read = Callable[[str, str], Awaitable[Mapping[str, Any] | None]]
"""Returns a document by its name, None if it does not exist. The second argument is the action."""


def digest_list(digest: str) -> str:
    """Return the name of the first list item of a digest."""
    return f".by-digest/{_short(digest)}"


def run_list(run: str) -> str:
    """Return the name of the first list item of a run."""
    return f".by-run/{_short(run)}"


def _short(text: str) -> str:
    # A slash separates the number of a further item from the name.
    plain = len(text) <= _LONGEST and text.isascii() and "/" not in text
    return text if plain else sha256(text.encode("utf-8", "replace"))


class _Batch:
    """Names to be added to one list together. ``done`` gives the item of each name."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.done: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()


class Lists:
    """Reads and writes lists.

    Names that arrive while their list is written are collected for the next write.
    """

    def __init__(self, client: DynamoClient, table: str, read: Read) -> None:
        self._client, self._table, self._read = client, table, read
        self._waiting: dict[str, _Batch] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}

    async def add(self, place: str, name: str, action: str) -> str:
        """Add ``name`` to the list that begins at ``place``; return the name of the item that has it."""
        batch = self._waiting.get(place)
        if batch is None:
            batch = self._waiting[place] = _Batch()
        batch.names.add(name)
        if place not in self._writing:
            self._writing[place] = asyncio.ensure_future(self._work(place, action))
        # Shielded: if one caller is cancelled, the others still need the batch.
        return (await asyncio.shield(batch.done))[name]

    async def names(self, place: str, action: str) -> list[str]:
        """Return all names in a list."""
        collected: list[str] = []
        for number in range(MOST_DOCUMENTS // MOST + 2):
            names = _names_in(await self._read(_item(place, number), action))
            collected += sorted(names)
            if len(names) < MOST:
                break
        return collected

    async def close(self) -> None:
        """Wait until every write under way has ended."""
        while self._writing:
            await asyncio.gather(*self._writing.values())

    async def _work(self, place: str, action: str) -> None:
        """Write the batches of one list until none is left."""
        await asyncio.sleep(0)  # let the other records of the run join the batch
        try:
            while (batch := self._waiting.pop(place, None)) is not None:
                try:
                    batch.done.set_result(await self._write(place, batch.names, action))
                except Exception as exc:  # noqa: BLE001 - raised in every waiting caller
                    batch.done.set_exception(exc)
                    batch.done.exception()  # mark as retrieved: every caller may have been cancelled
        finally:
            del self._writing[place]

    async def _write(self, place: str, names: set[str], action: str) -> dict[str, str]:
        """Add names to a list. Returns the item that has each name."""
        held: dict[str, str] = {}
        number, there, pause = 0, frozenset[str](), _SHORTEST_PAUSE
        # Start with the assumption that the item is absent. A failed condition returns the stored item, so no
        # separate read is needed. A full item leads on to the next one.
        for _ in range(_MOST_TRIES + MOST_DOCUMENTS // MOST):
            item = _item(place, number)
            held |= dict.fromkeys(names & there, item)
            left = sorted(names - held.keys())
            if not left:
                return held
            # Only so many names as the item has room for; the others go into the next one.
            fitting = set(left[: MOST - len(there)])
            if fitting:
                try:
                    await self._put(item, there, there | fitting, action)
                except Taken as exc:
                    stored = exc.item
                    current = _names_in(
                        document_in(stored) if stored is not None else await self._read(item, action)
                    )
                    # The item is as it was assumed, so another try would have the same condition and fail
                    # again.
                    if current == there:
                        raise StoreUnavailable(str(exc)) from None
                    if there:  # another writer is active: wait a random time before the next try
                        await asyncio.sleep(pause * _random.random())
                        pause = min(2 * pause, _LONGEST_PAUSE)
                    there = current
                    continue
                there = there | fitting
            else:
                number, there = number + 1, frozenset()
        raise StoreUnavailable(f"{action}: other writers changed {place} {_MOST_TRIES} times")

    async def _put(self, item: str, there: frozenset[str], names: frozenset[str], action: str) -> None:
        """Write an item with ``names``, on the condition that it has the names ``there``.

        An empty ``there`` means that the item must be absent.
        """
        condition: dict[str, Any] = {
            "ConditionExpression": "attribute_not_exists(#name)",
            "ExpressionAttributeNames": {"#name": "Name"},
        }
        if there:
            condition = {
                "ConditionExpression": "#names = :there",
                "ExpressionAttributeNames": {"#names": "Names"},
                "ExpressionAttributeValues": {":there": encoded(there)},
            }
        arguments = {
            "TableName": self._table,
            "Item": {"Name": encoded(item), "Names": encoded(names)},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **condition,
        }
        await self._client.call("PutItem", arguments, action)


def _item(place: str, number: int) -> str:
    return f"{place}/{number}" if number else place


def _names_in(document: Mapping[str, Any] | None) -> frozenset[str]:
    names = (document or {}).get("Names")
    return names if isinstance(names, frozenset) else frozenset()

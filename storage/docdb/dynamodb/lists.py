"""Items of ours that lead from a digest, or from a run, to documents of a DynamoDB table.

The table has no key but ``Name``, and no index on what is inside a list. So ``Names`` of the item
``.by-digest/<algorithm>:<hex>`` is the set of the documents about a digest, and that of ``.by-run/<UID>`` of
what came from a run and is not named after it. An item holds :data:`MOST` names; the next ones are in
``…/1``, ``…/2`` and so on. Each write has the condition that the item is as it was read, so nobody's name is
lost, and needs no right but ``dynamodb:PutItem``.
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
"""Names in one item: at most 2048 bytes each, and an item has 400 KiB."""
_LONGEST = 512
"""Characters of a digest or UID that is taken as it is; a key may have 2048 bytes."""
_MOST_TRIES = 40
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0
_random = secrets.SystemRandom()
Read = Callable[[str, str], Awaitable[Mapping[str, Any] | None]]
"""Returns a document by its name, None without one; the other argument is the action."""


def digest_list(digest: str) -> str:
    """Return the name of the first item about a digest."""
    return f".by-digest/{_short(digest)}"


def run_list(run: str) -> str:
    """Return the name of the first item about a run."""
    return f".by-run/{_short(run)}"


def _short(text: str) -> str:
    # a slash begins the number of a further item
    plain = len(text) <= _LONGEST and text.isascii() and "/" not in text
    return text if plain else sha256(text.encode("utf-8", "replace"))


class _Batch:
    """Names that wait for the same list; ``done`` tells which item holds each."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.done: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()


class Lists:
    """Reads and writes them. Names that come for one list while it is written go together afterwards."""

    def __init__(self, client: DynamoClient, table: str, read: Read) -> None:
        self._client, self._table, self._read = client, table, read
        self._waiting: dict[str, _Batch] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}

    async def add(self, place: str, name: str, action: str) -> str:
        """Put ``name`` into the list that begins at ``place``; return the item that holds it."""
        batch = self._waiting.get(place)
        if batch is None:
            batch = self._waiting[place] = _Batch()
        batch.names.add(name)
        if place not in self._writing:
            self._writing[place] = asyncio.ensure_future(self._work(place, action))
        return (await asyncio.shield(batch.done))[name]

    async def names(self, place: str, action: str) -> list[str]:
        """Return all names of a list."""
        found: list[str] = []
        for number in range(MOST_DOCUMENTS // MOST + 2):
            names = _names_in(await self._read(_item(place, number), action))
            found += sorted(names)
            if len(names) < MOST:
                break
        return found

    async def close(self) -> None:
        """Wait for what is being written."""
        while self._writing:
            await asyncio.gather(*self._writing.values())

    async def _work(self, place: str, action: str) -> None:
        await asyncio.sleep(0)  # lets the other records of a run join
        try:
            while (batch := self._waiting.pop(place, None)) is not None:
                try:
                    batch.done.set_result(await self._write(place, batch.names, action))
                except Exception as exc:  # noqa: BLE001 - told to everybody who waits
                    batch.done.set_exception(exc)
                    batch.done.exception()  # with nobody left to wait it is nobody's
        finally:
            del self._writing[place]

    async def _write(self, place: str, names: set[str], action: str) -> dict[str, str]:
        """Return which item holds each name."""
        held: dict[str, str] = {}
        number, there, pause = 0, frozenset[str](), _SHORTEST_PAUSE
        for _ in range(_MOST_TRIES + MOST_DOCUMENTS // MOST):
            item = _item(place, number)
            held |= dict.fromkeys(names & there, item)
            left = sorted(names - held.keys())
            if not left:
                return held
            fitting = set(left[: MOST - len(there)])
            if fitting:
                try:
                    await self._put(item, there, there | fitting, action)
                except Taken as exc:
                    told = exc.item
                    found = _names_in(
                        document_in(told) if told is not None else await self._read(item, action)
                    )
                    if found == there:
                        raise StoreUnavailable(str(exc)) from None
                    if there:  # somebody else is writing it
                        await asyncio.sleep(pause * _random.random())
                        pause = min(2 * pause, _LONGEST_PAUSE)
                    there = found
                    continue
                there = there | fitting
            else:
                number, there = number + 1, frozenset()
        raise StoreUnavailable(f"{action}: {place} changed {_MOST_TRIES} times: somebody else writes it")

    async def _put(self, item: str, there: frozenset[str], names: frozenset[str], action: str) -> None:
        """Write an item that has these names, none where it is not there."""
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

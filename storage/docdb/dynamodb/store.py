"""DynamoDB for the store ``docdb``: ``dynamodb://TABLE?partition_key=Name``.

Region, credentials and endpoint are those of the AWS SDK. List items (:mod:`storage.docdb.dynamodb.lists`)
find documents by digest and run; an image signature is also found by its key. The table is scanned as well if
these find nothing, or a document that is in no list, such as those that Tekton Chains wrote. A scan reads at
most :data:`MOST_PAGES` MiB; ``allow_scans=false`` in the URL forbids it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from storage.base import StoreOptions
from storage.docdb.documents import INDEX, READ, Document, same
from storage.docdb.dynamodb.client import DynamoClient, NotTogether, Taken, document_in, encoded
from storage.docdb.dynamodb.lists import Lists, digest_list, run_list
from storage.docdb.store import KINDS, DocumentStore, parse_collection_url
from storage.errors import StoreRejected
from storage.limits.together import together
from storage.redacted_url import shown

_EXPECTED = "dynamodb://TABLE?partition_key=Name"
_KEY = "Name"
MOST_PAGES = 1000
"""The most pages of 1 MiB that a scan reads."""
_TOGETHER = 25
"""The number of items that are read with one request."""
_WORDS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_FIELDS: dict[str, Any] = {
    "ProjectionExpression": ", ".join(f"#f{number}" for number in range(len(READ))),
    "ExpressionAttributeNames": {f"#f{number}": name for number, name in enumerate(READ)},
}


class DynamoStore(DocumentStore):
    """Stores records in a DynamoDB table."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        super().__init__(url, options, DynamoCollection(url, options))


class DynamoCollection:
    """A table whose partition key is ``Name``; see :class:`storage.docdb.store.Collection`."""

    source = "dynamodb"
    largest = 400 * 1024
    marks: Document = MappingProxyType({"Listed": True})
    """Marks an index document whose document is in the lists too."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        parsed = parse_collection_url(
            url, _EXPECTED, ("partition_key", "sort_key", "allow_scans", "consistent_read", "revision_field")
        )
        scans = _WORDS.get(parsed.parameters.get("allow_scans", "true").lower())
        if parsed.path or parsed.parameters.get("partition_key") != _KEY or parsed.parameters.get("sort_key"):
            raise StoreRejected(f"storage.docdb.url {shown(url)[:100]!r}: expected {_EXPECTED}")
        if scans is None:
            raise StoreRejected("storage.docdb.url: allow_scans: expected true or false")
        self._table, self._may_scan = parsed.host, scans
        self._client = DynamoClient(options)
        self._lists = Lists(self._client, self._table, self._one)

    async def get(self, names: Sequence[str], action: str) -> dict[str, Document]:
        """Return documents with consistent reads, several per request."""
        parts = [names[start : start + _TOGETHER] for start in range(0, len(names), _TOGETHER)]
        documents: dict[str, Document] = {}
        for part in await asyncio.gather(*(self._part(part, action) for part in parts)):
            documents |= part
        return documents

    async def _part(self, names: Sequence[str], action: str) -> dict[str, Document]:
        """Read some documents in one transaction, or one by one if that is not possible."""
        if len(names) > 1:
            wanted = [{"Get": self._named(name) | _FIELDS} for name in names]
            try:
                answer = await self._client.call("TransactGetItems", {"TransactItems": wanted}, action)
            except NotTogether:
                pass
            else:
                items = [(entry or {}).get("Item") for entry in answer["Responses"]]
                return {
                    name: document_in(item)
                    for name, item in zip(names, items, strict=True)
                    if item is not None
                }
        documents = await asyncio.gather(*(self._one(name, action) for name in names))
        return {name: entry for name, entry in zip(names, documents, strict=True) if entry is not None}

    async def _one(self, name: str, action: str) -> Document | None:
        """Read one document; None if it does not exist."""
        answer = await self._client.call(
            "GetItem", self._named(name) | {"ConsistentRead": True} | _FIELDS, action
        )
        item = answer.get("Item")
        return None if item is None else document_in(item)

    def _named(self, name: str) -> dict[str, Any]:
        return {"TableName": self._table, "Key": {_KEY: {"S": name}}}

    async def replace(self, documents: Sequence[Document], action: str) -> set[str]:
        """Write documents as docstore's ``Put`` does; return the names of those that changed."""
        ended = await together(self._replace(document, action) for document in documents)
        return {str(document[_KEY]) for document, changed in zip(documents, ended, strict=True) if changed}

    async def _replace(self, document: Document, action: str) -> bool:
        """Write one document and return whether it changed."""
        item = {key: encoded(value) for key, value in document.items()}
        put = {"TableName": self._table, "Item": item}
        # The first try creates the item. If it exists, the failed condition returns it, and equal values need
        # no write.
        condition = {
            "ConditionExpression": "attribute_not_exists(#name)",
            "ExpressionAttributeNames": {"#name": _KEY},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            await self._client.call("PutItem", put | condition, action)
        except Taken as exc:
            name = str(document[_KEY])
            there = document_in(exc.item) if exc.item is not None else await self._one(name, action)
            if same(there, document):
                return False
            await self._client.call("PutItem", put, action)
        return True

    async def lead(self, name: str, digests: Sequence[str], run: str, action: str) -> list[str]:
        """Add ``name`` to the lists of its digests, and of its run unless the name contains the run's UID."""
        places = [digest_list(digest) for digest in digests]
        if name not in {f"{kind}-{run}" for kind in KINDS}:
            places.append(run_list(run))
        return sorted(set(await asyncio.gather(*(self._lists.add(place, name, action) for place in places))))

    async def delete(self, name: str, action: str) -> None:
        """Delete a document if it exists."""
        await self._client.call("DeleteItem", self._named(name), action)

    async def about(self, digest: str, action: str) -> list[str]:
        """Return the names in the list of a digest."""
        return await self._lists.names(digest_list(digest), action)

    async def of_run(self, run: str, action: str) -> list[str]:
        """Return the names in the list of a run."""
        return await self._lists.names(run_list(run), action)

    async def rest(self, digest: str, run: str, indexes: Sequence[Document], action: str) -> list[str]:
        """Scan the table if the lists found nothing, or a document that is in no list.

        Chains' attestations are found by the digest in their payload. Raises :class:`StoreRejected` for a
        table that is too large.
        """
        # Every document that this project wrote is marked as listed; then the lists are complete for it.
        if not self._may_scan or (indexes and all(index.get("Listed") is True for index in indexes)):
            return []
        # Chains' documents have no subjects as a field; the digest is searched in their payloads.
        value = digest.partition(":")[2].encode()
        names: list[str] = []
        async for item in self._scan(action, _about(digest) if digest else _from(run)):
            name = str(item[_KEY])
            if name.endswith(INDEX):
                names.append(name.removesuffix(INDEX))
            elif value and value in item.get("Signed", b""):
                names.append(name)
        return names

    async def names(self, action: str) -> list[str]:
        """Return the names of all documents."""
        fields = {"ProjectionExpression": "#name", "ExpressionAttributeNames": {"#name": _KEY}}
        return [str(item[_KEY]) async for item in self._scan(action, fields)]

    async def _scan(self, action: str, arguments: Mapping[str, Any]) -> AsyncIterator[Document]:
        """Yield the documents that a scan returns. Raises :class:`StoreRejected` above :data:`MOST_PAGES`."""
        more: dict[str, Any] = {}
        for _ in range(MOST_PAGES):
            asked = {"TableName": self._table, "ConsistentRead": True, **arguments, **more}
            page = await self._client.call("Scan", asked, action)
            for item in page["Items"]:
                yield document_in(item)
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        raise StoreRejected(
            f"{action}: more than {MOST_PAGES} MiB would have to be scanned: search by a run's UID, or set "
            "allow_scans=false in storage.docdb.url"
        )

    async def close(self) -> None:
        """Release threads and connections. A later call opens new ones."""
        await self._lists.close()
        await self._client.close()


def _about(digest: str) -> dict[str, Any]:
    return {
        "FilterExpression": "contains(#subjects, :digest) OR attribute_exists(#signed)",
        "ProjectionExpression": "#name, #signed",
        "ExpressionAttributeNames": {"#name": _KEY, "#subjects": "Subjects", "#signed": "Signed"},
        "ExpressionAttributeValues": {":digest": {"S": digest}},
    }


def _from(run: str) -> dict[str, Any]:
    return {
        "FilterExpression": "#run = :run",
        "ProjectionExpression": "#name",
        "ExpressionAttributeNames": {"#name": _KEY, "#run": "Run"},
        "ExpressionAttributeValues": {":run": {"S": run}},
    }

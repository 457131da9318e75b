"""The store ``docdb``: a collection of MongoDB, DynamoDB or Firestore, with Tekton Chains' documents.

Chains' document has the fields ``Signed``, ``Signature`` (base64), ``Cert``, ``Chain``, ``Object`` (the
payload's JSON) and ``Name`` (the key, see :mod:`storage.formats.chains_document`), as go-cloud's docstore
encodes them. Its readers refuse a document with any other field, so ours is beside it: ``Name`` is the key
and ``.index``, ``Subjects`` are digests (``algorithm:hex``), ``Run`` is the run's UID, ``Origin`` tells the
run in JSON, ``Bundle`` the Sigstore bundle in form B. Signing a run again replaces its documents, as with
Chains; so does another run that signs the same image.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from storage.base import Probe, Store, StoreOptions
from storage.docdb.documents import INDEX, Document, chains_document, same, signed_document, size_of
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.formats.chains_document import (
    MOST_DOCUMENTS,
    Found,
    bundle_evidence,
    bundle_of,
    digests_of,
    document_of,
    image_key,
    of_run,
    run_bytes,
    run_of_bytes,
    runs_of,
)
from storage.formats.digest import sha256
from storage.record import Evidence, Failure, Findings, ListedRun, Receipt, Record, Skipped, Stored
from storage.redacted_url import shown

_BYTES_AT_ONCE = 16 * 1024 * 1024
"""Of documents that are read with one request, at most."""
KINDS = ("taskrun", "pipelinerun", "report")
"""Keys of what is about a run: ``<kind>-<UID>``."""


class Collection(Protocol):
    """One database's collection. Methods raise :class:`StoreError`, which names ``action``."""

    source: str
    """``mongo``, ``dynamodb`` or ``firestore``."""
    largest: int
    """Bytes that one document may have."""
    marks: Document
    """Fields that each index gets beside ours."""

    async def get(self, names: Sequence[str], action: str) -> dict[str, Document]:
        """Return those of these documents that are there, by name; ``Object`` may be missing."""

    async def replace(self, documents: Sequence[Document], action: str) -> set[str]:
        """Make or replace documents; return the names of those that were not there with these values."""

    async def lead(self, name: str, digests: Sequence[str], run: str, action: str) -> list[str]:
        """Let searches by digest and run find the document ``name``, where it takes more than its index.

        Returns the documents whose ``Names`` hold it now.
        """

    async def delete(self, name: str, action: str) -> None:
        """Delete a document, if it is there."""

    async def about(self, digest: str, action: str) -> list[str]:
        """Return the names of documents about ``digest``, Chains' too where the database can tell."""

    async def of_run(self, run: str, action: str) -> list[str]:
        """Return the names of documents that ours say came from ``run``."""

    async def rest(self, digest: str, run: str, found: Sequence[Document], action: str) -> list[str]:
        """Return names that these two may have missed; ``found`` are the indexes of what they led to."""

    async def names(self, action: str) -> list[str]:
        """Return the names of all documents."""

    async def close(self) -> None:
        """Release threads and connections; a later call opens them again."""


@dataclass(frozen=True, slots=True)
class CollectionUrl:
    """A go-cloud docstore URL: ``scheme://host/path?name=value``."""

    scheme: str
    host: str
    path: str
    parameters: Mapping[str, str]


def parse_collection_url(url: str, expected: str, known: Sequence[str]) -> CollectionUrl:
    """Read a docstore URL. Raises :class:`StoreRejected` when it is not like ``expected``."""
    try:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError as exc:
        raise StoreRejected(f"storage.docdb.url: expected {expected}") from exc
    if "@" in parts.netloc:
        raise StoreRejected(
            "storage.docdb.url holds no credentials: put them where the database's client looks"
        )
    unknown = sorted(set(parameters) - set(known))
    if unknown or not parts.netloc or parts.fragment:
        about = f"unknown parameter {unknown[0][:40]!r}: " if unknown else ""
        raise StoreRejected(f"storage.docdb.url {shown(url)[:100]!r}: {about}expected {expected}")
    return CollectionUrl(parts.scheme, parts.netloc, parts.path.strip("/"), parameters)


class DocumentStore(Store):
    """What the stores of all three databases have in common; each gives its :class:`Collection`."""

    def __init__(self, url: str, options: StoreOptions, collection: Collection) -> None:
        self.url = url.partition("?")[0]
        self._options, self._collection = options, collection

    async def put(self, record: Record) -> Stored:
        """Store Chains' document and ours, then what leads to them; see :meth:`Store.put`."""
        try:
            signed = document_of(record)
            document = chains_document(signed)
            bundle = bundle_of(record, self._options)
            index: dict[str, Any] = {
                "Name": signed.key + INDEX,
                "Subjects": digests_of(record),
                "Run": record.origin.uid,
                "Origin": run_bytes(record).decode(),
                **self._collection.marks,
            }
            if bundle:
                index["Bundle"] = bundle
            changed = await self._write([document, index], record)
            receipts = [self._receipt(signed.key, signed.signature, changed=signed.key in changed)]
            if bundle:
                name = signed.key + INDEX
                receipts.append(self._receipt(name, bundle, changed=name in changed))
        except StoreError as error:
            transient = isinstance(error, StoreUnavailable)
            return Stored(failures=(Failure(self.url, "document", "", str(error), transient),))
        return Stored(tuple(receipts))

    def _receipt(self, name: str, data: bytes, *, changed: bool) -> Receipt:
        return Receipt(self.url, "document", "", f"{self.url}#{name}", sha256(data), changed)

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return what the collection has about ``digest``."""
        del reference
        if ":" not in digest:
            raise StoreRejected(f"cannot look for {digest[:100]!r}: expected algorithm:hex")
        names = await self._collection.about(digest, self._action("search"))
        return await self._read_all([*names, image_key(digest)], digest, "")

    async def find_run(self, uid: str) -> Findings:
        """Return what came from the run ``uid``; of what Chains wrote, the attestations."""
        names = await self._collection.of_run(uid, self._action("search"))
        return await self._read_all([*names, *(f"{kind}-{uid}" for kind in KINDS)], "", uid)

    async def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs whose attestations are here, Chains' and ours; their times are not told."""
        del until
        for run in runs_of([] if since else await self._collection.names(self._action("list"))):
            yield run

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Make a document, read it and delete it."""
        del places
        document = {"Name": "provenance-chains-probe", "Run": "probe"}
        try:
            await self._write([document])
            await self._collection.delete(document["Name"], self._action("delete a probe"))
        except StoreError as error:
            return [Probe("write", "failed", str(error), "mend storage.docdb.* or the account's permissions")]
        return [Probe("write", "ok", f"a document was made in {self.url}, read and deleted")]

    async def close(self) -> None:
        """Release threads and connections; a later call opens them again."""
        await self._collection.close()

    async def _write(self, documents: Sequence[Document], record: Record | None = None) -> set[str]:
        """Make or replace documents, let searches find the first, and read back what was written.

        Returns the names of those that were not there with these values.
        """
        key = str(documents[0]["Name"])
        where = f"write {key} in {self.url}"
        for document in documents:
            size = size_of(document)
            if size > self._collection.largest:
                raise StoreRejected(
                    f"{where}: about {size} bytes, and {self._collection.source} takes "
                    f"{self._collection.largest}: store large attestations in oci, gcs or s3"
                )
        changed = await self._collection.replace(documents, where)
        lists: list[str] = []
        if record is not None:
            lists = await self._collection.lead(key, digests_of(record), record.origin.uid, where)
        there = await self._collection.get([*changed, *lists], where)
        for document in documents:
            name = str(document["Name"])
            if name in changed and not same(there.get(name), document):
                raise StoreUnavailable(f"write {name} in {self.url}: other values came back")
        for name in lists:
            if key not in (there.get(name) or {}).get("Names", ()):
                raise StoreUnavailable(f"{where}: it is kept, and {name}, by which it is found, lacks it")
        return changed

    async def _read_all(self, names: Sequence[str], digest: str, run: str) -> Findings:
        found = Found()
        wanted = sorted({name for name in names if name})
        indexes = await self._read(wanted[:MOST_DOCUMENTS], digest, found)
        more = await self._collection.rest(digest, run, indexes, self._action("search"))
        rest = sorted(set(more) - set(wanted))
        await self._read(rest[: max(0, MOST_DOCUMENTS - len(wanted))], digest, found)
        if len(wanted) + len(rest) > MOST_DOCUMENTS:
            left = len(wanted) + len(rest) - MOST_DOCUMENTS
            found.add([Skipped(self.url, "", f"{left} more are not read")])
        return found.findings()

    async def _read(self, names: Sequence[str], digest: str, found: Found) -> list[Document]:
        """Add what documents have about ``digest``; return the index of each, empty where it has none."""
        indexes: list[Document] = []
        many = max(1, _BYTES_AT_ONCE // (2 * self._collection.largest))
        for start in range(0, len(names), many):
            part = names[start : start + many]
            there = await self._collection.get(
                [each for name in part for each in (name, name + INDEX)], self._action("read")
            )
            for name in part:
                items = self._items(name, there, digest)
                if items:
                    indexes.append(there.get(name + INDEX) or {})
                found.add(items)
        return indexes

    def _items(self, name: str, there: Mapping[str, Document], digest: str) -> list[Evidence | Skipped]:
        document = there.get(name)
        if document is None:
            return []
        where = f"{self.url}#{name}"
        try:
            signed = signed_document(name, document)
        except (KeyError, TypeError, ValueError, AttributeError):
            return [Skipped(where, "", "it is no document of Tekton Chains'")]
        if digest and not signed.mentions(digest):
            return []
        items = [signed.evidence(self._collection.source, where)]
        index = there.get(name + INDEX) or {}
        bundle = index.get("Bundle")
        if isinstance(bundle, bytes):
            items.append(bundle_evidence(bundle, self._collection.source, where + INDEX))
        return of_run(items, run_of_bytes(str(index.get("Origin", "")).encode(), name))

    def _action(self, what: str) -> str:
        return f"{what} in {self.url}"

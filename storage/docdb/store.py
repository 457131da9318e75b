"""The store ``docdb``: a collection of MongoDB, DynamoDB or Firestore with Tekton Chains' documents.

Chains' document has the fields ``Signed``, ``Signature`` (base64), ``Cert``, ``Chain``, ``Object`` (the
payload as a JSON value) and ``Name`` (the key, see :mod:`storage.formats.chains_document`), encoded by
go-cloud's docstore. Chains' readers refuse a document with other fields, so this store adds a second
document, the index document. Its ``Name`` is the key and ``.index``. ``Subjects`` has the digests
(``algorithm:hex``), ``Run`` the UID of the run, ``Origin`` the run in JSON, ``Bundle`` the Sigstore bundle
(form B). Signing a run again replaces its documents, as Chains does; so does another run that signs the same
image.
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
    is_key,
    of_run,
    run_bytes,
    run_of_bytes,
    runs_of,
)
from storage.formats.digest import sha256
from storage.parts import Part, read_each
from storage.record import Evidence, Failure, Findings, ListedRun, Receipt, Record, Skipped, Stored
from storage.redacted_url import shown

_BYTES_AT_ONCE = 16 * 1024 * 1024
"""The most bytes of documents that are read with one request."""
KINDS = ("taskrun", "pipelinerun", "report")
"""The prefixes of keys about a run: ``<kind>-<UID>``."""


class Collection(Protocol):
    """A collection of one database. Methods raise :class:`StoreError`, whose text names ``action``."""

    source: str
    """``mongo``, ``dynamodb`` or ``firestore``."""
    largest: int
    """The largest document in bytes."""
    marks: Document
    """Further fields for every index document."""

    async def get(self, names: Sequence[str], action: str) -> dict[str, Document]:
        """Return those of the documents that exist, by name. ``Object`` may be missing."""

    async def replace(self, documents: Sequence[Document], action: str) -> set[str]:
        """Create or replace documents; return the names of those that changed."""

    async def lead(self, name: str, digests: Sequence[str], run: str, action: str) -> list[str]:
        """Make the document ``name`` findable by digest and run, if its index document is not enough.

        Returns the names of the list documents whose ``Names`` contain it now.
        """

    async def delete(self, name: str, action: str) -> None:
        """Delete a document if it exists."""

    async def about(self, digest: str, action: str) -> list[str]:
        """Return the names of documents about ``digest``.

        Chains' documents are included only if the database can search them.
        """

    async def of_run(self, run: str, action: str) -> list[str]:
        """Return the names of documents whose index documents name the run ``run``."""

    async def rest(self, digest: str, run: str, indexes: Sequence[Document], action: str) -> list[str]:
        """Return names that :meth:`about` and :meth:`of_run` may have missed.

        ``indexes`` are the index documents of what they found.
        """

    async def names(self, action: str) -> list[str]:
        """Return the names of all documents."""

    async def close(self) -> None:
        """Release threads and connections. A later call opens new ones."""


@dataclass(frozen=True, slots=True)
class CollectionUrl:
    """A go-cloud docstore URL: ``scheme://host/path?name=value``."""

    scheme: str
    host: str
    path: str
    parameters: Mapping[str, str]


def parse_collection_url(url: str, expected: str, known: Sequence[str]) -> CollectionUrl:
    """Parse a docstore URL. Raises :class:`StoreRejected` if it does not have the form ``expected``."""
    try:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError as exc:
        raise StoreRejected(f"storage.docdb.url: expected {expected}") from exc
    if "@" in parts.netloc:
        raise StoreRejected(
            "storage.docdb.url must not contain credentials: configure them for the database's client"
        )
    unknown = sorted(set(parameters) - set(known))
    if unknown or not parts.netloc or parts.fragment:
        about = f"unknown parameter {unknown[0][:40]!r}: " if unknown else ""
        raise StoreRejected(f"storage.docdb.url {shown(url)[:100]!r}: {about}expected {expected}")
    return CollectionUrl(parts.scheme, parts.netloc, parts.path.strip("/"), parameters)


class DocumentStore(Store):
    """The base class of the stores of all three databases. Each passes its :class:`Collection`."""

    def __init__(self, url: str, options: StoreOptions, collection: Collection) -> None:
        self.url = url.partition("?")[0]
        self._options, self._collection = options, collection

    async def put(self, record: Record) -> Stored:
        """Store Chains' document and the index document, then list entries; see :meth:`Store.put`."""
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
            # One call for both, so that databases with transactions write both or neither.
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
        """Return the evidence in the collection about ``digest`` (``algorithm:hex``)."""
        del reference
        if ":" not in digest:
            raise StoreRejected(f"cannot search for {digest[:100]!r}: expected algorithm:hex")
        # Chains' image signatures have the image's digest in their key, so they need no search.
        names = await self._collection.about(digest, self._action("search"))
        return await self._read_all([*names, image_key(digest)], digest, "")

    async def find_run(self, uid: str) -> Findings:
        """Return the evidence from the run ``uid``; of Chains' documents only the attestations."""
        names = await self._collection.of_run(uid, self._action("search"))
        return await self._read_all([*names, *(f"{kind}-{uid}" for kind in KINDS)], "", uid)

    async def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs with attestations here, Chains' included. Their end is unknown."""
        del until
        for run in runs_of([] if since else await self._collection.names(self._action("list"))):
            yield run

    async def scan(self) -> AsyncIterator[Part]:
        """Yield the evidence of all documents, Chains' image signatures included; see :meth:`Store.scan`."""
        names = sorted(name for name in await self._collection.names(self._action("list")) if is_key(name))
        async for part in read_each(names, self._read_one):
            yield part

    async def _read_one(self, name: str) -> Findings:
        collected = Found()
        await self._read([name], "", collected)
        return collected.findings()

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Write a document, read it back and delete it."""
        del places
        document = {"Name": "provenance-chains-probe", "Run": "probe"}
        try:
            await self._write([document])
            await self._collection.delete(document["Name"], self._action("delete a probe"))
        except StoreError as error:
            return [Probe("write", "failed", str(error), "correct storage.docdb.* or the permissions")]
        return [Probe("write", "ok", f"a document was written to {self.url}, read and deleted")]

    async def close(self) -> None:
        """Release threads and connections. A later call opens new ones."""
        await self._collection.close()

    async def _write(self, documents: Sequence[Document], record: Record | None = None) -> set[str]:
        """Write documents, make the first one findable, and read back what changed.

        Returns the names of the documents that changed.
        """
        key = str(documents[0]["Name"])
        where = f"write {key} in {self.url}"
        for document in documents:
            size = size_of(document)
            if size > self._collection.largest:
                raise StoreRejected(
                    f"{where}: about {size} bytes, but {self._collection.source} allows "
                    f"{self._collection.largest}: store large attestations in oci, gcs or s3"
                )
        changed = await self._collection.replace(documents, where)
        lists: list[str] = []
        if record is not None:
            lists = await self._collection.lead(key, digests_of(record), record.origin.uid, where)
        # A receipt means that the values can be read back, and that searches by digest and run find them.
        there = await self._collection.get([*changed, *lists], where)
        for document in documents:
            name = str(document["Name"])
            if name in changed and not same(there.get(name), document):
                raise StoreUnavailable(f"write {name} in {self.url}: other values came back")
        for name in lists:
            if key not in (there.get(name) or {}).get("Names", ()):
                raise StoreUnavailable(f"{where}: it is stored, but {name}, by which it is found, lacks it")
        return changed

    async def _read_all(self, names: Sequence[str], digest: str, run: str) -> Findings:
        """Read the named documents, and those that only a scan finds, up to :data:`MOST_DOCUMENTS`."""
        collected = Found()
        wanted = sorted({name for name in names if name})
        indexes = await self._read(wanted[:MOST_DOCUMENTS], digest, collected)
        more = await self._collection.rest(digest, run, indexes, self._action("search"))
        rest = sorted(set(more) - set(wanted))
        await self._read(rest[: max(0, MOST_DOCUMENTS - len(wanted))], digest, collected)
        if len(wanted) + len(rest) > MOST_DOCUMENTS:
            left = len(wanted) + len(rest) - MOST_DOCUMENTS
            collected.add([Skipped(self.url, "", f"{left} more documents were not read")])
        return collected.findings()

    async def _read(self, names: Sequence[str], digest: str, collected: Found) -> list[Document]:
        """Add the evidence about ``digest`` to ``collected``.

        Returns the index document of each document with evidence; an empty one if it has none.
        """
        indexes: list[Document] = []
        # Each name stands for two documents: Chains' and the index document.
        many = max(1, _BYTES_AT_ONCE // (2 * self._collection.largest))
        for start in range(0, len(names), many):
            part = names[start : start + many]
            there = await self._collection.get(
                [wanted for name in part for wanted in (name, name + INDEX)], self._action("read")
            )
            for name in part:
                items = self._items(name, there, digest)
                if items:
                    indexes.append(there.get(name + INDEX) or {})
                collected.add(items)
        return indexes

    def _items(self, name: str, there: Mapping[str, Document], digest: str) -> list[Evidence | Skipped]:
        """Return the evidence in one document and its index document."""
        document = there.get(name)
        if document is None:
            return []
        where = f"{self.url}#{name}"
        try:
            signed = signed_document(name, document)
        except (KeyError, TypeError, ValueError, AttributeError):
            return [Skipped(where, "", "it is not a document of Tekton Chains")]
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

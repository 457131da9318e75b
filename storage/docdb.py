"""The store ``docdb``: a collection of MongoDB, DynamoDB or Firestore, with Tekton Chains' documents.

Chains' document has the fields ``Signed``, ``Signature`` (base64), ``Cert``, ``Chain``, ``Object`` (the
payload's JSON) and ``Name`` (the key, see :mod:`storage.signed_document`), as go-cloud's docstore encodes
them. Its readers refuse a document with any other field, so ours is beside it: ``Name`` is the key and
``.index``, ``Subjects`` are digests (``algorithm:hex``), ``Run`` is the run's UID, ``Origin`` tells the run
in JSON, ``Bundle`` the Sigstore bundle in form B. Signing a run again replaces its documents, as with
Chains; so does another run that signs the same image.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

import orjson

from storage import lean_json
from storage.base import Probe, Store, StoreError, StoreOptions, StoreRejected, StoreUnavailable
from storage.blocking import Blocking
from storage.manifests import sha256
from storage.record import Evidence, Failure, Findings, ListedRun, Receipt, Record, Skipped, Stored
from storage.shown import shown
from storage.signed_document import (
    MOST_DOCUMENTS,
    Found,
    SignedDocument,
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

INDEX = ".index"
T = TypeVar("T")
Document = Mapping[str, Any]


class Collection(Protocol):
    """One database's collection; every method blocks, and raises what its client library raises."""

    source: str
    """``mongo``, ``dynamodb`` or ``firestore``."""
    largest: int
    """Bytes that one document may have."""

    def get(self, name: str) -> Document | None:
        """Return a document, None without one."""

    def put(self, document: Document) -> None:
        """Make or replace the document ``Name``."""

    def delete(self, name: str) -> None:
        """Delete a document, if it is there."""

    def about(self, field: str, value: str) -> list[str]:
        """Return the names of the documents of ours whose ``Run`` is, or ``Subjects`` hold, ``value``."""

    def signed(self, digest: str) -> list[str]:
        """Return the names of Chains' documents about ``digest``, where the database can tell."""

    def names(self) -> list[str]:
        """Return the names of all documents."""

    def explain(self, error: Exception, action: str) -> StoreError:
        """Return the port's error for what was raised."""

    def close(self) -> None:
        """Release connections; a later call opens them again."""


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
        self._threads = Blocking("docdb", collection.explain)

    async def put(self, record: Record) -> Stored:
        """Store Chains' document, then ours that leads to it; see :meth:`Store.put`."""
        try:
            signed = document_of(record)
            document = chains_document(signed)
            bundle = bundle_of(record, self._options)
            index: dict[str, Any] = {
                "Name": signed.key + INDEX,
                "Subjects": digests_of(record),
                "Run": record.origin.uid,
                "Origin": run_bytes(record).decode(),
            }
            if bundle:
                index["Bundle"] = bundle
            changed = await self._write(document)
            receipts = [self._receipt(signed.key, signed.signature, changed=changed)]
            changed = await self._write(index)
            if bundle:
                receipts.append(self._receipt(signed.key + INDEX, bundle, changed=changed))
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

        def look() -> list[str]:
            ours = [name.removesuffix(INDEX) for name in self._collection.about("Subjects", digest)]
            return [*ours, *self._collection.signed(digest), image_key(digest)]

        return await self._read_all(await self._run("search", look), digest)

    async def find_run(self, uid: str) -> Findings:
        """Return what came from the run ``uid``; of what Chains wrote, the attestations."""

        def look() -> list[str]:
            ours = [name.removesuffix(INDEX) for name in self._collection.about("Run", uid)]
            return [*ours, f"taskrun-{uid}", f"pipelinerun-{uid}"]

        return await self._read_all(await self._run("search", look), "")

    async def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs whose attestations are here, Chains' and ours; their times are not told."""
        del until
        for run in runs_of([] if since else await self._run("list", self._collection.names)):
            yield run

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Make a document, read it and delete it."""
        del places
        document = {"Name": "provenance-chains-probe", "Run": "probe"}
        try:
            await self._write(document)
            await self._run("delete a probe", lambda: self._collection.delete(document["Name"]))
        except StoreError as error:
            return [Probe("write", "failed", str(error), "mend storage.docdb.* or the account's permissions")]
        return [Probe("write", "ok", f"a document was made in {self.url}, read and deleted")]

    async def close(self) -> None:
        """Release threads and connections; a later call opens them again."""
        await self._threads.close()
        self._collection.close()

    async def _write(self, document: Document) -> bool:
        """Make or replace a document and read it back; False when it was there with these values."""
        name = str(document["Name"])

        def work() -> bool:
            if _same(self._collection.get(name), document):
                return False
            size = _size(document)
            if size > self._collection.largest:
                raise StoreRejected(
                    f"write {name} in {self.url}: about {size} bytes, and {self._collection.source} takes "
                    f"{self._collection.largest}: store large attestations in oci, gcs or s3"
                )
            self._collection.put(document)
            if not _same(self._collection.get(name), document):
                raise StoreUnavailable(f"write {name} in {self.url}: other values came back")
            return True

        return await self._run(f"write {name}", work)

    async def _read_all(self, names: Sequence[str], digest: str) -> Findings:
        wanted = sorted({name for name in names if name})

        def read() -> Findings:
            found = Found()
            for name in wanted[:MOST_DOCUMENTS]:
                found.add(self._read(name, digest))
            if len(wanted) > MOST_DOCUMENTS:
                found.add([Skipped(self.url, "", f"{len(wanted) - MOST_DOCUMENTS} more are not read")])
            return found.findings()

        return await self._run("read", read)

    def _read(self, name: str, digest: str) -> list[Evidence | Skipped]:
        document = self._collection.get(name)
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
        index = self._collection.get(name + INDEX) or {}
        bundle = index.get("Bundle")
        if isinstance(bundle, bytes):
            items.append(bundle_evidence(bundle, self._collection.source, where + INDEX))
        return of_run(items, run_of_bytes(str(index.get("Origin", "")).encode(), name))

    async def _run(self, action: str, work: Callable[[], T]) -> T:
        return await self._threads.run(f"{action} in {self.url}", work)


def chains_document(signed: SignedDocument) -> dict[str, Any]:
    """Return Chains' six fields; every number in ``Object`` is a float, as Go reads JSON.

    Raises :class:`StoreRejected` for a payload that is no JSON.
    """
    try:
        value = lean_json.loads(signed.payload, lean_json.MOST_PAYLOAD_VALUES)
    except orjson.JSONDecodeError as exc:
        raise StoreRejected("docdb takes JSON payloads only, as tekton chains does") from exc
    return {
        "Name": signed.key,
        "Signed": signed.payload,
        "Signature": base64.b64encode(signed.signature).decode("ascii"),
        "Cert": signed.certificate.decode("utf-8", "replace"),
        "Chain": signed.chain.decode("utf-8", "replace"),
        "Object": _as_go(value),
    }


def signed_document(name: str, document: Document) -> SignedDocument:
    """Read Chains' document. Raises :class:`ValueError` and its like for what is none."""
    try:
        signature = base64.b64decode(document["Signature"], validate=True)
    except binascii.Error as exc:
        raise ValueError("Signature is not base64") from exc
    payload = document["Signed"]
    if not isinstance(payload, bytes):
        raise TypeError("Signed is not binary")
    certificate, chain = (str(document.get(field) or "").encode() for field in ("Cert", "Chain"))
    return SignedDocument(name, payload, signature, certificate, chain)


def _as_go(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_go(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_go(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _same(there: Document | None, document: Document) -> bool:
    """Whether all but ``Object``, which follows from ``Signed``, is there."""
    if there is None:
        return False
    fields = (there.keys() | document.keys()) - {"Object", "Name"}
    return all((there.get(field) or None) == (document.get(field) or None) for field in fields)


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(len(key.encode()) + 1 + _size(one) for key, one in value.items())
    if isinstance(value, list):
        return sum(1 + _size(one) for one in value)
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    return len(value) if isinstance(value, bytes) else 8

"""The store ``gcs``: a Google Cloud Storage bucket, with the objects that Tekton Chains writes there.

::

    taskrun-<namespace>-<name>/<key>.payload, .signature, .cert, .chain    as Chains; those two may be empty
    taskrun-<namespace>-<name>/<key>.bundle                                ours: the Sigstore bundle, form B
    taskrun-<namespace>-<name>/<key>.run                                   ours: the run and its end, in JSON
    by-digest/<algorithm>/<hex>/taskrun-<namespace>-<name>/<key>           ours: empty, leads a search there
    by-run/<uid>/taskrun-<namespace>-<name>/<key>

``<key>`` is told in :mod:`storage.signed_document`. What Chains wrote is found by the run's UID, and by an
image's digest where the image's signature is in the bucket. Signing a run again replaces its objects, as
with Chains. ``STORAGE_EMULATOR_HOST`` names a server for tests, as for every client of Google's.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from storage import allowance
from storage.allowance import LARGEST, Allowance
from storage.base import BadContent, Probe, Store, StoreError, StoreOptions, StoreRejected, StoreUnavailable
from storage.blocking import Blocking
from storage.filesystem import plain_name
from storage.google_errors import explain_google
from storage.manifests import sha256
from storage.record import (
    Evidence,
    Failure,
    Findings,
    ListedRun,
    Origin,
    Receipt,
    Record,
    Skipped,
    Stored,
)
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

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,400}")
_DIGEST = re.compile(r"[A-Za-z0-9_]{1,40}:[0-9a-f]{2,256}")
_PERMISSION = "storage.objects.create, .get, .list and .delete (roles/storage.objectUser on the bucket)"
T = TypeVar("T")
_AT_ONCE = 16
_MEDIA_TYPE = "application/octet-stream"


class GcsStore(Store):
    """Stores records in the bucket of ``gcs://BUCKET``."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        bucket = url.removeprefix("gcs://")
        if not _BUCKET.fullmatch(bucket):
            raise StoreRejected(
                f"unknown store {shown(url)[:100]!r}: expected gcs://BUCKET (storage.gcs.bucket)"
            )
        self.url = url
        self._name, self._options = bucket, options
        self._threads = Blocking("gcs", lambda error, action: explain_google(error, action, _PERMISSION))
        self._making = threading.Lock()
        self._client: Any = None

    async def put(self, record: Record) -> Stored:
        """Store the objects of one record, evidence before what leads to it; see :meth:`Store.put`."""
        try:
            document = document_of(record)
            stem = f"{run_folder(record.origin)}/{plain(document.key)}"
            receipts = await self._put_document(stem, document)
            bundle = bundle_of(record, self._options)
            if bundle:
                changed = await self._write(f"{stem}.bundle", bundle)
                receipts.append(self._receipt(f"{stem}.bundle", bundle, changed=changed))
            await self._write(f"{stem}.run", run_bytes(record))
            places = [f"by-run/{plain(record.origin.uid)}"]
            places += [
                f"by-digest/{one.replace(':', '/')}" for one in digests_of(record) if _DIGEST.fullmatch(one)
            ]
            await asyncio.gather(*(self._write(f"{place}/{stem}", b"") for place in places))
        except StoreError as error:
            transient = isinstance(error, StoreUnavailable)
            return Stored(failures=(Failure(self.url, "object", "", str(error), transient),))
        return Stored(tuple(receipts))

    async def _put_document(self, stem: str, document: SignedDocument) -> list[Receipt]:
        parts = {"payload": document.payload, "cert": document.certificate, "chain": document.chain}
        told = await asyncio.gather(*(self._write(f"{stem}.{kind}", data) for kind, data in parts.items()))
        last = await self._write(f"{stem}.signature", document.signature)
        return [self._receipt(f"{stem}.signature", document.signature, changed=last or any(told))]

    def _receipt(self, name: str, data: bytes, *, changed: bool) -> Receipt:
        return Receipt(self.url, "object", "", f"{self.url}/{name}", sha256(data), changed)

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return what the bucket has about ``digest``; see the module for what Chains wrote."""
        del reference
        if not _DIGEST.fullmatch(digest):
            raise StoreRejected(f"cannot look for {digest[:100]!r}: expected algorithm:hex")
        place = f"by-digest/{digest.replace(':', '/')}/"
        stems = {name.removeprefix(place) for name in await self._names(prefix=place)}
        key = image_key(digest)
        signed = await self._names(match_glob=f"*/{key}.signature") if key else []
        for folder in {name.partition("/")[0] for name in signed}:
            stems |= _stems(await self._names(prefix=f"{folder}/"))
        return await self._read_all(stems, digest)

    async def find_run(self, uid: str) -> Findings:
        """Return what came from the run ``uid``; of what Chains wrote, the attestations."""
        place = f"by-run/{plain(uid)}/"
        stems = {name.removeprefix(place) for name in await self._names(prefix=place)}
        if _PLAIN.fullmatch(uid):
            stems |= _stems(await self._names(match_glob=f"*/*-{uid}.signature"))
        return await self._read_all(stems, "")

    async def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs whose attestations are here, Chains' and ours; their times are not told."""
        del until
        names = [] if since else await self._names(match_glob="*/*run-*.signature")
        for run in runs_of(name.rpartition("/")[2].removesuffix(".signature") for name in names):
            yield run

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Make an object, read it and delete it."""
        del places
        name = "provenance-chains-probe"
        try:
            await self._write(name, b"probe")
            await self._run(f"delete {name}", lambda bucket: bucket.blob(name).delete(**self._bounds()))
        except StoreError as error:
            return [Probe("write", "failed", str(error), f"give the account {_PERMISSION}")]
        return [Probe("write", "ok", f"an object was made in {self.url}, read and deleted")]

    async def close(self) -> None:
        """Release threads and connections; a later call opens them again."""
        await self._threads.close()
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _read_all(self, stems: Iterable[str], digest: str) -> Findings:
        found, allowed = Found(), allowance.current()
        wanted = sorted(stems)
        many = min(_AT_ONCE, allowed.at_once)
        for start in range(0, min(len(wanted), MOST_DOCUMENTS), many):
            part = wanted[start : min(start + many, MOST_DOCUMENTS)]
            read = await asyncio.gather(*(self._read(stem, digest, allowed) for stem in part))
            for items, size in read:
                allowed.give_back(size)  # what of it is evidence is counted now
                found.add(items)
        if len(wanted) > MOST_DOCUMENTS:
            found.add([Skipped(self.url, "", f"{len(wanted) - MOST_DOCUMENTS} more are not read")])
        return found.findings()

    async def _read(self, stem: str, digest: str, allowed: Allowance) -> tuple[list[Evidence | Skipped], int]:
        """Return what a stem has, and how many bytes were taken from what is allowed."""
        names = [f"{stem}.{kind}" for kind in ("payload", "signature", "cert", "chain", "bundle", "run")]
        ended = await asyncio.gather(*(self._state(name, allowed) for name in names), return_exceptions=True)
        told: list[tuple[int, bytes | None]] = []
        refused = ""
        for one in ended:
            if isinstance(one, BadContent):
                refused = refused or str(one)
            elif isinstance(one, BaseException):
                raise one
            else:
                told.append(one)
        size = sum(len(data or b"") for _, data in told)
        if refused:
            return [Skipped(f"{self.url}/{stem}", "", refused)], size
        payload, signature, cert, chain, bundle, run = (data for _, data in told)
        if payload is None or signature is None:
            return [Skipped(f"{self.url}/{stem}", "", "payload or signature is missing")], size
        key = stem.rpartition("/")[2]
        document = SignedDocument(key, payload, signature, cert or b"", chain or b"")
        if digest and not document.mentions(digest):
            return [], size
        items = [document.evidence("gcs", f"{self.url}/{stem}.signature")]
        if bundle is not None:
            items.append(bundle_evidence(bundle, "gcs", f"{self.url}/{stem}.bundle"))
        return of_run(items, run_of_bytes(run or b"", key)), size

    async def _write(self, name: str, data: bytes) -> bool:
        """Make or replace an object and read it back; False when it was there with these bytes."""
        for _ in range(max(1, self._options.attempts)):
            generation, there = await self._state(name)
            if there == data:
                return False
            if await self._run(f"write {name}", partial(self._upload, name, data, generation)):
                if (await self._state(name))[1] != data:
                    raise StoreUnavailable(f"write {self.url}/{name}: other bytes came back")
                return True
        raise StoreUnavailable(f"write {self.url}/{name}: somebody else writes it again and again")

    def _upload(self, name: str, data: bytes, generation: int, bucket: Any) -> bool:
        """Write an object that has this generation, 0 for none; False when it has another by now."""
        from google.api_core.exceptions import PreconditionFailed  # noqa: PLC0415

        try:
            bucket.blob(name).upload_from_string(
                data, _MEDIA_TYPE, if_generation_match=generation, checksum="md5", **self._bounds()
            )
        except PreconditionFailed:
            return False
        return True

    async def _state(self, name: str, allowed: Allowance | None = None) -> tuple[int, bytes | None]:
        """Return an object's generation and bytes, 0 and None without one. Raises :class:`BadContent`.

        Its bytes are taken from what is ``allowed``.
        """
        counted = allowed or Allowance(LARGEST)

        def look(bucket: Any) -> tuple[int, bytes | None]:
            from google.api_core.exceptions import NotFound  # noqa: PLC0415

            blob = bucket.get_blob(name, **self._bounds())
            if blob is None:
                return 0, None
            size = int(blob.size or 0)
            if reason := counted.take(size):
                raise BadContent(f"{self.url}/{name}: {reason}")
            try:
                data = blob.download_as_bytes(if_generation_match=blob.generation, **self._bounds())
            except NotFound:
                counted.give_back(size)
                return 0, None
            return int(blob.generation), bytes(data)

        return await self._run(f"read {name}", look)

    async def _names(self, **query: str) -> list[str]:
        def look(bucket: Any) -> list[str]:
            found = bucket.list_blobs(fields="items(name),nextPageToken", **self._bounds(), **query)
            return [str(blob.name) for blob in found]

        return await self._run("list", look)

    async def _run(self, action: str, work: Callable[[Any], T]) -> T:
        return await self._threads.run(
            f"{action} (bucket {self._name})", lambda: work(self._made().bucket(self._name))
        )

    def _bounds(self) -> dict[str, Any]:
        """Return how long a request may take, and all tries of it together."""
        from google.cloud.storage.retry import (  # type: ignore[import-untyped] # noqa: PLC0415
            DEFAULT_RETRY,
        )

        seconds = self._options.timeout
        return {"timeout": seconds, "retry": DEFAULT_RETRY.with_timeout(seconds)}

    def _made(self) -> Any:
        with self._making:
            if self._client is None:
                try:
                    from google.cloud import storage  # type: ignore[attr-defined] # noqa: PLC0415 - takes a second
                except ImportError as exc:
                    raise StoreRejected(f"{exc}: install provenance-chains with its extra gcp") from exc
                self._client = storage.Client()
            return self._client


def run_folder(origin: Origin) -> str:
    """Return ``<kind>-<namespace>-<name>``, changed only where no Kubernetes object could be called so."""
    return plain(f"{origin.kind}-{origin.namespace}-{origin.name}")


def plain(text: str) -> str:
    """Return ``text`` if it can be part of an object's name, else something like it that can."""
    return text if _PLAIN.fullmatch(text) else plain_name(text)


def _stems(names: Iterable[str]) -> set[str]:
    def each() -> Iterator[str]:
        for name in names:
            if name.endswith(".signature") and not name.startswith(("by-run/", "by-digest/")):
                yield name.removesuffix(".signature")

    return set(each())

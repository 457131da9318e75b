"""The store ``gcs``: a bucket of Google Cloud Storage with the objects of Tekton Chains.

::

    taskrun-<namespace>-<name>/<key>.payload, .signature, .cert, .chain    Chains'; the last two may be empty
    taskrun-<namespace>-<name>/<key>.bundle                                ours: the Sigstore bundle, form B
    taskrun-<namespace>-<name>/<key>.run                                   ours: the run and its end, in JSON
    by-digest/<algorithm>/<hex>/taskrun-<namespace>-<name>/<key>           ours: empty, a pointer for searches
    by-run/<uid>/taskrun-<namespace>-<name>/<key>

:mod:`storage.formats.chains_document` defines ``<key>``. Objects of Chains are found by the run's UID, and by
an image's digest if the image's signature is in the bucket. Signing a run again replaces its objects, as
Chains does. ``STORAGE_EMULATOR_HOST`` names a test server, as for all of Google's clients.

Every write has the condition that the object is absent or unchanged. Before a receipt is returned, the list
of objects under ``<key>`` must have the size and MD5 of each. Once an hour the lists that searches use are
checked too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

from storage.base import Probe, Store, StoreOptions
from storage.errors import BadContent, StoreError, StoreRejected, StoreUnavailable
from storage.formats.chains_document import (
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
from storage.formats.digest import sha256
from storage.formats.names import plain_name
from storage.gcs.objects import PERMISSION, Kept, Objects
from storage.limits import allowance
from storage.limits.allowance import Allowance
from storage.limits.belief import Belief
from storage.limits.together import together
from storage.parts import Part, read_each
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
from storage.redacted_url import shown

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,400}")
_DIGEST = re.compile(r"[A-Za-z0-9_]{1,40}:[0-9a-f]{2,256}")
_AT_ONCE = 16
"""Documents that one search reads at the same time."""
_PROBE = "provenance-chains-probe"


class GcsStore(Store):
    """Stores records in the bucket of ``gcs://BUCKET``."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        bucket = url.removeprefix("gcs://")
        if not _BUCKET.fullmatch(bucket):
            raise StoreRejected(
                f"unknown store {shown(url)[:100]!r}: expected gcs://BUCKET (storage.gcs.bucket)"
            )
        self.url = url
        self._options = options
        self._objects = Objects(bucket, options)
        self._lists = Belief()

    async def put(self, record: Record) -> Stored:
        """Store the objects of one record, evidence before the pointers to it; see :meth:`Store.put`."""
        try:
            document = document_of(record)
            stem = f"{run_folder(record.origin)}/{plain(document.key)}"
            parts = {
                f"{stem}.payload": document.payload,
                f"{stem}.cert": document.certificate,
                f"{stem}.chain": document.chain,
                f"{stem}.run": run_bytes(record),
            }
            bundle = bundle_of(record, self._options)
            if bundle:
                parts[f"{stem}.bundle"] = bundle
            signature = {f"{stem}.signature": document.signature}
            changed = await self._write(parts, stem)
            changed |= await self._write(signature, stem)  # last, because searches list signatures
            places = [f"by-run/{plain(record.origin.uid)}"]
            places += [
                f"by-digest/{digest.replace(':', '/')}"
                for digest in digests_of(record)
                if _DIGEST.fullmatch(digest)
            ]
            pointers = [f"{place}/{stem}" for place in places]
            await together([self._objects.make(pointer, b"") for pointer in pointers])
            await self._read_back(parts | signature, stem)
            if not self._lists:
                await self._check_listed(pointers)
        except StoreError as error:
            transient = isinstance(error, StoreUnavailable)
            return Stored(failures=(Failure(self.url, "object", "", str(error), transient),))
        document_names = {f"{stem}.{kind}" for kind in ("payload", "cert", "chain", "signature")}
        is_new = bool(changed & document_names)
        receipts = [self._receipt(f"{stem}.signature", document.signature, changed=is_new)]
        if bundle:
            receipts.append(self._receipt(f"{stem}.bundle", bundle, changed=f"{stem}.bundle" in changed))
        return Stored(tuple(receipts))

    def _receipt(self, name: str, data: bytes, *, changed: bool) -> Receipt:
        return Receipt(self.url, "object", "", f"{self.url}/{name}", sha256(data), changed)

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the evidence in the bucket about ``digest``; the module says which of Chains' are found."""
        del reference
        if not _DIGEST.fullmatch(digest):
            raise StoreRejected(f"cannot search for {digest[:100]!r}: expected algorithm:hex")
        place = f"by-digest/{digest.replace(':', '/')}/"
        stems = {name.removeprefix(place) for name in await self._objects.listed(prefix=place)}
        key = image_key(digest)
        # The objects of Chains for an image: its signature's key is the digest's beginning.
        signed = await self._objects.listed(matchGlob=f"*/{key}.signature") if key else {}
        for folder in {name.partition("/")[0] for name in signed}:
            stems |= _stems(await self._objects.listed(prefix=f"{folder}/"))
        return await self._read_all(stems, digest)

    async def find_run(self, uid: str) -> Findings:
        """Return the evidence from the run ``uid``; of Chains' objects only the attestations."""
        place = f"by-run/{plain(uid)}/"
        stems = {name.removeprefix(place) for name in await self._objects.listed(prefix=place)}
        if _PLAIN.fullmatch(uid):
            stems |= _stems(await self._objects.listed(matchGlob=f"*/*-{uid}.signature"))
        return await self._read_all(stems, "")

    async def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs with attestations here, Chains' included. Their end is unknown."""
        del until
        names = {} if since else await self._objects.listed(matchGlob="*/*run-*.signature")
        for run in runs_of(name.rpartition("/")[2].removesuffix(".signature") for name in names):
            yield run

    async def scan(self) -> AsyncIterator[Part]:
        """Yield the evidence of all objects, Chains' image signatures included; see :meth:`Store.scan`."""
        stems = sorted(_stems(await self._objects.listed(matchGlob="*/*.signature")))
        async for part in read_each(stems, self._read_one):
            yield part

    async def _read_one(self, stem: str) -> Findings:
        return await self._read_all([stem], "")

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Write an object, read it back and delete it."""
        del places
        parts = {_PROBE: b"probe"}
        try:
            await self._write(parts, _PROBE)
            await self._read_back(parts, _PROBE)
            await self._objects.delete(_PROBE)
        except StoreError as error:
            return [Probe("write", "failed", str(error), f"give the account {PERMISSION}")]
        return [Probe("write", "ok", f"an object was written to {self.url}, read and deleted")]

    async def close(self) -> None:
        """Release connections. A later call opens new ones."""
        await self._objects.close()

    async def _read_all(self, stems: Iterable[str], digest: str) -> Findings:
        """Read the objects of several stems, a few at the same time."""
        collected, allowed = Found(), allowance.current()
        wanted = sorted(stems)
        many = min(_AT_ONCE, allowed.at_once)
        for start in range(0, min(len(wanted), MOST_DOCUMENTS), many):
            part = wanted[start : min(start + many, MOST_DOCUMENTS)]
            read = await asyncio.gather(*(self._read(stem, digest, allowed) for stem in part))
            for items, size in read:
                allowed.give_back(size)  # collected.add() counts the part of it that is evidence
                collected.add(items)
        if len(wanted) > MOST_DOCUMENTS:
            collected.add(
                [Skipped(self.url, "", f"{len(wanted) - MOST_DOCUMENTS} more documents were not read")]
            )
        return collected.findings()

    async def _read(self, stem: str, digest: str, allowed: Allowance) -> tuple[list[Evidence | Skipped], int]:
        """Return the evidence of one stem, and the number of bytes taken from the allowance."""
        there = await self._objects.listed(prefix=f"{stem}.")
        kinds = ("payload", "signature", "cert", "chain", "bundle", "run")
        ended = await asyncio.gather(
            *(self._state(there.get(f"{stem}.{kind}"), allowed) for kind in kinds), return_exceptions=True
        )
        contents: list[bytes | None] = []
        refused = ""
        for content in ended:
            # A part that is too large or damaged makes the whole document skipped; other errors end the
            # search.
            if isinstance(content, BadContent):
                refused = refused or str(content)
            elif isinstance(content, BaseException):
                raise content
            else:
                contents.append(content)
        size = sum(len(data or b"") for data in contents)
        if refused:
            return [Skipped(f"{self.url}/{stem}", "", refused)], size
        payload, signature, cert, chain, bundle, run = contents
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

    async def _write(self, parts: Mapping[str, bytes], prefix: str) -> set[str]:
        """Create or replace objects; return the names of those that changed."""
        left, changed = dict(parts), set[str]()
        # The first round creates the objects. Those that exist are compared, and replaced in the next round
        # if they differ. This repeats while other writers change them.
        generations = dict.fromkeys(left, 0)
        for _ in range(max(1, self._options.attempts) + 1):
            names = list(left)
            made = await together([self._objects.make(name, left[name], generations[name]) for name in names])
            written = {name for name, entry in zip(names, made, strict=True) if entry is not None}
            changed |= written
            left = {name: data for name, data in left.items() if name not in written}
            if not left:
                return changed
            there = await self._objects.listed(prefix=prefix)
            for name, data in list(left.items()):
                current = there.get(name)
                if await self._objects.has(current, data):
                    del left[name]
                else:
                    generations[name] = current.generation if current else 0
            if not left:
                return changed
        raise StoreUnavailable(
            f"write {self.url}/{next(iter(left))}: other writers change it at the same time"
        )

    async def _read_back(self, parts: Mapping[str, bytes], prefix: str) -> None:
        """Check that the list has what was written. Raises :class:`StoreUnavailable`."""
        there = await self._objects.listed(prefix=prefix)
        for name, data in parts.items():
            if not await self._objects.has(there.get(name), data):
                raise StoreUnavailable(f"write {self.url}/{name}: other bytes came back")

    async def _check_listed(self, pointers: Sequence[str]) -> None:
        """Check once an hour that the lists that searches use have the pointers."""
        lists = await together([self._objects.listed(prefix=name) for name in pointers])
        for pointer, listed in zip(pointers, lists, strict=True):
            if pointer not in listed:
                raise StoreUnavailable(
                    f"write {self.url}/{pointer}: it was written, but the bucket's list does not have it"
                )
        self._lists.seen()

    async def _state(self, there: Kept | None, allowed: Allowance) -> bytes | None:
        """Return the bytes of an object, None if it does not exist. They are taken from the allowance.

        Raises :class:`BadContent`.
        """
        if there is None:
            return None
        if not there.size:
            return b""
        if reason := allowed.take(there.size):
            raise BadContent(f"{self.url}/{there.name}: {reason}")
        data = None
        try:
            data = await self._objects.read(there, there.size)
        finally:
            # The reservation was for the listed size; give back what was not read.
            allowed.give_back(there.size - len(data or b""))
        return data


def run_folder(origin: Origin) -> str:
    """Return ``<kind>-<namespace>-<name>``, replaced if no Kubernetes object can have such names."""
    return plain(f"{origin.kind}-{origin.namespace}-{origin.name}")


def plain(text: str) -> str:
    """Return ``text`` if it can be part of an object's name, else a similar unique name."""
    return text if _PLAIN.fullmatch(text) else plain_name(text)


def _stems(names: Iterable[str]) -> set[str]:
    """Return the stems of the signatures among the names of objects."""

    def stems() -> Iterator[str]:
        for name in names:
            if name.endswith(".signature") and not name.startswith(("by-run/", "by-digest/")):
                yield name.removesuffix(".signature")

    return set(stems())

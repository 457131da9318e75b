"""The store ``s3``: a bucket of AWS S3 or a compatible service. :mod:`storage.s3.keys` has the layout.

Every object is created with ``If-None-Match: *`` and its SHA-256. So a repeated call changes nothing, and
nothing is ever overwritten. A receipt is returned after the object was read back: the same bytes, encrypted
and locked as configured. (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html,
object-lock.html)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cachetools import FIFOCache

from storage.base import Probe, Store, StoreOptions
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.limits.allowance import LARGEST, Allowance
from storage.limits.belief import Belief
from storage.limits.single_flight import InFlight
from storage.locks import Doomed, ObjectLock, Protection, Removed
from storage.record import Evidence, Failure, Findings, ListedRun, Receipt, Record, Stored
from storage.s3.client import Got, S3Client, digest_of
from storage.s3.deletion import delete_all
from storage.s3.errors import Conflict, Exists
from storage.s3.find import find_digest, find_run, list_runs
from storage.s3.keys import (
    Blob,
    blobs_of,
    metadata_of,
    run_folder,
    snapshot_blob,
    subject_folder,
    subjects_of,
    uid_part,
)
from storage.s3.locks import (
    lengthen,
    locks_of,
    objects_of,
    objects_of_run,
    place_of,
    read_protection,
    removed,
)
from storage.s3.probe import check_bucket, probe_bucket
from storage.s3.settings import Lock, parse_s3_url

FORM = "object"
_REMEMBERED = 4096
"""The most pointers and snapshots that are remembered as written."""
_PAUSE = 0.05
"""Seconds before the second try after a conflict."""
_SLACK = timedelta(days=1)
"""How much shorter than configured the retention of an existing object may be. Clocks differ."""


class S3Store(Store):
    """Stores records in the bucket of an ``s3:`` URL; see :mod:`storage.s3.settings`."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        self._settings = parse_s3_url(url)
        self.url = self._settings.url
        self._options = options
        self._client = S3Client(self._settings, options)
        self._checked = False
        self._lists = Belief()
        self._flights: InFlight[str, None] = InFlight()
        self._kept: FIFOCache[str, None] = FIFOCache(_REMEMBERED)
        self._protection_found: Protection | None = None
        self._shared: FIFOCache[str, list[ObjectLock]] = FIFOCache(_REMEMBERED)

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Try the bucket, its configuration and the right to write; see :meth:`Store.probe`."""
        del places
        return await probe_bucket(self._client, self._settings)

    async def put(self, record: Record) -> Stored:
        """Store every form that ``record`` has; one receipt per object of evidence. See :meth:`Store.put`."""
        try:
            if not self._checked:
                await self._flights.run("check", self._check)
            blobs = blobs_of(record)
            folder = run_folder(record.origin, record.created)
        except StoreError as error:
            return Stored(failures=(self._failure("", error),))
        lock = self._settings.lock_for(record.origin.namespace)
        shared = [self._keep_beside(record, folder, lock)]
        stored = await asyncio.gather(
            *(self._put_blob(record, folder, blob, lock) for blob in blobs), *shared
        )
        failures = [result for result in stored if isinstance(result, Failure)]
        if failures:
            return Stored(failures=tuple(failures))
        # Pointers are written after the evidence, so that a search never follows a pointer to nothing.
        pointed = await asyncio.gather(
            *(
                self._point(f"{subject}/{folder}/{uid_part(record.origin.uid)}/{blob.tail}", named, lock)
                for subject, named in subjects_of(record).items()
                for blob in blobs
                if blob.is_evidence
            )
        )
        lost = await self._check_listed(record, folder, blobs)
        if lost is not None:
            return Stored(failures=(lost,))
        return Stored(
            tuple(result for result in stored if isinstance(result, Receipt)),
            # Several pointers of one subject can fail; one failure per subject is reported.
            tuple({result.subject: result for result in pointed if result is not None}.values()),
        )

    async def _check_listed(self, record: Record, folder: str, blobs: Sequence[Blob]) -> Failure | None:
        """Check once an hour that the bucket's list, which searches use, has the pointers."""
        pointers = [
            f"{self._settings.root}{subject}/{folder}/{uid_part(record.origin.uid)}/{blob.tail}"
            for subject in subjects_of(record)
            for blob in blobs
            if blob.is_evidence
        ]
        # Checked recently, or there is nothing to find by digest.
        if self._lists or not pointers:
            return None
        try:
            page = await self._client.call("list_objects_v2", pointers[0], Prefix=pointers[0], MaxKeys=1)
            if not page.get("Contents"):
                where = f"s3://{self._settings.bucket}/{pointers[0]}"
                raise StoreUnavailable(f"{where}: it was written, but the bucket's list does not have it")
        except StoreError as error:
            return self._failure("", error)
        self._lists.seen()
        return None

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the evidence about ``digest``, which is ``sha256:hex`` or has another algorithm."""
        del reference
        algorithm, _, value = digest.partition(":")
        folder = subject_folder(algorithm, value)
        if folder is None:
            raise StoreRejected(f"cannot search for {digest[:100]!r}: expected algorithm:hex")
        return await find_digest(self._client, self._settings, folder)

    async def find_run(self, uid: str) -> Findings:
        """Return the evidence from the run ``uid``, with its snapshot."""
        return await find_run(self._client, self._settings, uid)

    async def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs under the days from ``since`` to ``until``; see :meth:`Store.list_runs`."""
        async for run in list_runs(self._client, self._settings, since, until):
            yield run

    async def protection(self) -> Protection:
        """Return versioning, object lock and default retention of the bucket."""
        if self._protection_found is None:
            self._protection_found = await read_protection(self._client, self._settings)
        return self._protection_found

    async def locks(self, evidence: Evidence, subjects: Sequence[str] = ()) -> tuple[ObjectLock, ...]:
        """Return the lock of each version of each object of a piece; see :meth:`Store.locks`."""
        client, settings, protection = self._client, self._settings, await self.protection()
        found = await objects_of(client, settings, evidence.location, subjects)
        shared = await self._shared_locks(evidence, protection)
        return (*await locks_of(client, settings, found, protection, evidence.location), *shared)

    async def _shared_locks(self, evidence: Evidence, protection: Protection) -> list[ObjectLock]:
        """Return the locks of what the evidence of one run shares; asked once for each run."""
        folder = "/".join(place_of(self._settings, evidence.location)[0].split("/")[:6])
        kept = self._shared.get(folder)
        if kept is None:
            found = await objects_of_run(self._client, self._settings, evidence.location)
            kept = await locks_of(self._client, self._settings, found, protection, evidence.location)
            self._shared[folder] = kept
        return kept

    async def lengthen(self, lock: ObjectLock, mode: str, until: datetime | None, *, hold: bool) -> None:
        """Make the lock of an object longer or stricter, and set a legal hold; see :meth:`Store.lengthen`."""
        await lengthen(self._client, self._settings, lock, mode, until, hold=hold)

    can_delete = True

    async def delete(self, pieces: Sequence[Doomed]) -> list[str]:
        """Delete every version of every object of each piece; see :meth:`Store.delete`."""
        self._shared.clear()
        return await delete_all(self._client, self._settings, pieces, await self.protection())

    async def removed(self) -> AsyncIterator[Removed]:
        """Yield the evidence that has a delete marker; see :meth:`Store.removed`."""
        async for one in removed(self._client, self._settings):
            yield one

    async def close(self) -> None:
        """Release threads and connections."""
        await self._client.close()

    async def _check(self) -> None:
        await check_bucket(self._client, self._settings)
        self._checked = True

    def _failure(self, subject: str, error: StoreError) -> Failure:
        return Failure(self.url, FORM, subject, str(error), isinstance(error, StoreUnavailable))

    async def _put_blob(
        self, record: Record, folder: str, blob: Blob, lock: Lock | None
    ) -> Receipt | Failure | None:
        """Store one object; a receipt if it is evidence, None if it belongs to evidence."""
        key = f"{self._settings.root}runs/{folder}/{uid_part(record.origin.uid)}/{blob.tail}"
        try:
            changed = await self._write(key, blob, metadata_of(record, blob.beside), lock)
        except StoreError as error:
            return self._failure("", error)
        if not blob.is_evidence:
            return None
        location = f"s3://{self._settings.bucket}/{key}"
        return Receipt(self.url, FORM, "", location, "sha256:" + digest_of(blob.data).hex(), changed)

    async def _keep_beside(self, record: Record, folder: str, lock: Lock | None) -> Failure | None:
        """Store once per run what all of its records share: the pointer to its day, and its snapshot."""
        uid = uid_part(record.origin.uid)
        pointer = f"{self._settings.root}uids/{uid}/{folder}"
        try:
            await self._once(pointer, lambda: self._write_pointer(pointer, lock))
            blob = snapshot_blob(record) if self._settings.snapshots == "true" else None
            if blob is not None:
                await self._once(
                    f"{uid}/{blob.tail}", lambda: self._write_snapshot(record, folder, blob, lock)
                )
        except StoreError as error:
            return self._failure("", error)
        return None

    async def _write_snapshot(self, record: Record, folder: str, blob: Blob, lock: Lock | None) -> None:
        key = f"{self._settings.root}runs/{folder}/{uid_part(record.origin.uid)}/{blob.tail}"
        await self._write(key, blob, metadata_of(record), lock)

    async def _once(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` unless it was done recently under this name."""
        if name in self._kept:
            return
        await self._flights.run(name, work)
        self._kept[name] = None

    async def _point(self, tail: str, subject: str, lock: Lock | None) -> Failure | None:
        """Write the pointer from a subject to evidence."""
        try:
            await self._write_pointer(self._settings.root + tail, lock)
        except StoreError as error:
            return self._failure(subject, error)
        return None

    async def _write_pointer(self, key: str, lock: Lock | None) -> None:
        await self._create(key, b"", self._protection(lock))

    async def _write(self, key: str, blob: Blob, metadata: dict[str, str], lock: Lock | None) -> bool:
        """Create an object and read it back; return False if it existed with these bytes."""
        protection = self._protection(lock)
        made = await self._create(
            key, blob.data, protection | {"ContentType": blob.content_type, "Metadata": metadata}
        )
        version = made or ""
        got = await self._client.get(key, Allowance(LARGEST), version)
        # An existing certificate file may differ (the same signature with another chain); the first one
        # stays. Evidence has its digest in the key, so other bytes are always an error.
        if got.data != blob.data and (made is not None or not blob.is_beside):
            actual = digest_of(got.data).hex()
            raise StoreRejected(
                f"s3://{self._settings.bucket}/{key}: read back sha256:{actual}, expected "
                f"sha256:{digest_of(blob.data).hex()}: the service or another writer changed it"
            )
        self._check_encryption(key, got)
        if lock is not None:
            await self._check_lock(key, version, lock, got, protection, is_new=made is not None)
        return made is not None

    async def _create(self, key: str, data: bytes, settings: dict[str, Any]) -> str | None:
        """Create an object and return its version; None if the key exists."""
        for attempt in range(self._options.attempts):
            try:
                return await self._client.put(key, data, digest_of(data), **settings)
            except Exists:
                return None
            except Conflict:
                if attempt + 1 == self._options.attempts:
                    raise
                await asyncio.sleep(_PAUSE * 2**attempt)
        return None

    def _protection(self, lock: Lock | None) -> dict[str, Any]:
        """Return the arguments of ``put_object`` for encryption and lock."""
        arguments: dict[str, Any] = {}
        if self._settings.sse:
            arguments["ServerSideEncryption"] = self._settings.sse
        if self._settings.sse_kms_key_id:
            arguments["SSEKMSKeyId"] = self._settings.sse_kms_key_id
        if lock is not None and lock.mode:
            # S3 stores whole seconds, and the value is compared later.
            until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=lock.days)
            arguments |= {"ObjectLockMode": lock.mode, "ObjectLockRetainUntilDate": until}
        if lock is not None and lock.hold:
            arguments["ObjectLockLegalHoldStatus"] = "ON"
        return arguments

    def _check_encryption(self, key: str, got: Got) -> None:
        """Raise :class:`StoreRejected` if an object is not encrypted as configured."""
        asked = self._settings.sse
        if asked and got.encryption != asked:
            raise StoreRejected(
                f"s3://{self._settings.bucket}/{key}: storage.s3.sse is {asked}, but the object has "
                f"{got.encryption or 'no encryption that the service reports'}: correct the setting, or the "
                "bucket"
            )

    async def _check_lock(
        self, key: str, version: str, lock: Lock, got: Got, protection: dict[str, Any], *, is_new: bool
    ) -> None:
        """Make sure that the object is locked. An existing object without lock is locked now."""
        if _is_locked(got, lock):
            return
        got = await self._client.head(key, version)  # some services report locks only in HEAD answers
        if _is_locked(got, lock):
            return
        # An object that existed without a lock was written before locks were configured: lock it now.
        if not is_new:
            await self._lock(key, lock, protection)
            if _is_locked(await self._client.head(key, version), lock):
                return
        raise StoreRejected(
            f"s3://{self._settings.bucket}/{key}: stored, but not locked as storage.s3.object-lock.* says; "
            "the credentials need s3:GetObjectRetention and s3:GetObjectLegalHold to see it"
        )

    async def _lock(self, key: str, lock: Lock, protection: dict[str, Any]) -> None:
        if lock.mode:
            retention = {"Mode": lock.mode, "RetainUntilDate": protection["ObjectLockRetainUntilDate"]}
            await self._client.call("put_object_retention", key, Key=key, Retention=retention)
        if lock.hold:
            await self._client.call("put_object_legal_hold", key, Key=key, LegalHold={"Status": "ON"})


def _is_locked(got: Got, lock: Lock) -> bool:
    """Whether an object is protected at least as long as configured, counted from its creation."""
    if lock.hold and not got.hold:
        return False
    if not lock.mode:
        return True
    # Compliance is stricter than governance, so it satisfies both.
    if got.lock_mode not in {lock.mode, "COMPLIANCE"} or got.retain_until is None:
        return False
    since = got.modified or datetime.now(UTC)
    return got.retain_until >= since + timedelta(days=lock.days) - _SLACK

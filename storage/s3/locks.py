"""Locks of a bucket's objects: read back for each version, made longer, never shorter.

``HeadObject`` leaves the lock out of its answer if the credentials may not see it, as it does for an object
without a lock. So where it says nothing, ``GetObjectRetention`` and ``GetObjectLegalHold`` are asked: they
refuse where they may not say. (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from storage.errors import StoreError, StoreRejected
from storage.locks import COMPLIANCE, LockState, ObjectLock, Protection, Removed
from storage.s3.client import Got, S3Client
from storage.s3.errors import NotLockable, Unlocked
from storage.s3.keys import FORMATS, PAYLOAD, Place, parse_key, subject_folder, uid_part
from storage.s3.settings import S3Settings


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object, or a delete marker, as the bucket lists it."""

    key: str
    version: str
    is_latest: bool
    is_marker: bool
    modified: datetime | None


async def versions(client: S3Client, prefix: str) -> AsyncIterator[Version]:
    """Yield the versions and delete markers of the keys with this prefix."""
    more: dict[str, Any] = {}
    while True:
        page = await client.call("list_object_versions", prefix, Prefix=prefix, **more)
        for name, is_marker in (("Versions", False), ("DeleteMarkers", True)):
            for entry in page.get(name) or ():
                yield Version(
                    str(entry["Key"]),
                    str(entry.get("VersionId") or ""),
                    bool(entry.get("IsLatest")),
                    is_marker,
                    entry.get("LastModified"),
                )
        if not page.get("IsTruncated"):
            return
        more = {"KeyMarker": page.get("NextKeyMarker", "")}
        if page.get("NextVersionIdMarker"):
            more["VersionIdMarker"] = page["NextVersionIdMarker"]


async def read_protection(client: S3Client, settings: S3Settings) -> Protection:
    """Return versioning, object lock and default retention of the bucket."""
    versioning = str((await client.call("get_bucket_versioning", "")).get("Status") or "off").lower()
    try:
        answer = await client.call("get_object_lock_configuration", "")
    except NotLockable:
        return Protection(LockState.NONE, f"object lock is off for the bucket {settings.bucket}", versioning)
    found = answer.get("ObjectLockConfiguration") or {}
    if found.get("ObjectLockEnabled") != "Enabled":
        return Protection(LockState.NONE, f"object lock is off for the bucket {settings.bucket}", versioning)
    rule = (found.get("Rule") or {}).get("DefaultRetention") or {}
    length = next((f"{rule[unit]} {unit.lower()}" for unit in ("Days", "Years") if rule.get(unit)), "")
    default = f"{rule.get('Mode', '')} {length}".strip()
    return Protection(
        LockState.LOCKED, f"object lock is on for the bucket {settings.bucket}", versioning, default
    )


def place_of(settings: S3Settings, location: str) -> tuple[str, Place]:
    """Return the tail under ``runs/`` of evidence of this store, and its parts.

    Raises :class:`StoreRejected` for a location of another store.
    """
    start = f"s3://{settings.bucket}/{settings.root}runs/"
    place = parse_key(location.removeprefix(start)) if location.startswith(start) else None
    if place is None or place.suffix not in FORMATS:
        raise StoreRejected(f"{location[:300]!r} is no evidence of {settings.url}")
    return location.removeprefix(start), place


async def objects_of(
    client: S3Client, settings: S3Settings, location: str, subjects: Sequence[str]
) -> list[Version]:
    """Return the versions of every object of the evidence at a location, and of the pointers to it."""
    tail, place = place_of(settings, location)
    folder = tail.rpartition("/")[0]
    found = [
        one
        async for one in versions(client, f"{settings.root}runs/{folder}/{place.digest}")
        if _belongs(one.key.rpartition("/")[2], place)
    ]
    for subject in subjects:
        algorithm, _, value = subject.partition(":")
        pointers = subject_folder(algorithm, value)
        if pointers is not None:
            key = f"{settings.root}{pointers}/{tail}"
            found += [one async for one in versions(client, key) if one.key == key]
    return found


def _belongs(name: str, place: Place) -> bool:
    """Whether an object with this name in the folder of evidence is the evidence, or belongs to it."""
    stem = f"{place.digest}-{place.signature}" if place.signature else place.digest
    payload = f"{place.digest}{PAYLOAD}"
    return name.startswith(f"{stem}.") or name == payload


async def objects_of_run(client: S3Client, settings: S3Settings, location: str) -> list[Version]:
    """Return the versions of what all evidence of a run shares: the pointer to its day, and its snapshot."""
    tail, place = place_of(settings, location)
    folder, uid = "/".join(tail.split("/")[:5]), uid_part(place.uid)
    pointer = f"{settings.root}uids/{uid}/{folder}"
    snapshots = f"{settings.root}runs/{folder}/{uid}/snapshot/"
    return [
        *[one async for one in versions(client, pointer) if one.key == pointer],
        *[one async for one in versions(client, snapshots)],
    ]


async def read_lock(
    client: S3Client, settings: S3Settings, one: Version, protection: Protection, evidence: str
) -> ObjectLock:
    """Return the lock of one version. ``evidence`` is the location of the evidence that it belongs to."""
    location = f"s3://{settings.bucket}/{one.key}"
    made = ObjectLock(
        location,
        one.version,
        LockState.NONE,
        hold=False,
        stored=one.modified,
        is_current=one.is_latest,
        is_evidence=location == evidence,
        detail=protection.detail,
    )
    if protection.state is not LockState.LOCKED:
        return made  # nothing can be locked, so nothing is asked
    try:
        return await _asked(client, one, replace(made, detail=""))
    except StoreError as error:
        return replace(made, state=LockState.UNKNOWN, hold=None, detail=str(error))


async def _asked(client: S3Client, one: Version, made: ObjectLock) -> ObjectLock:
    got = await client.head(one.key, one.version)
    mode, until, hold = got.lock_mode, got.retain_until, got.hold
    named = {"Key": one.key} | ({"VersionId": one.version} if one.version else {})
    if not mode:
        try:
            found = (await client.call("get_object_retention", one.key, **named)).get("Retention") or {}
        except Unlocked:
            found = {}
        mode, until = str(found.get("Mode") or ""), found.get("RetainUntilDate")
    if not hold:
        try:
            answer = await client.call("get_object_legal_hold", one.key, **named)
        except Unlocked:
            answer = {}
        hold = (answer.get("LegalHold") or {}).get("Status") == "ON"
    state = LockState.LOCKED if (mode and until is not None) or hold else LockState.NONE
    return replace(made, state=state, mode=mode, until=until, hold=hold)


async def lengthen(
    client: S3Client, settings: S3Settings, lock: ObjectLock, mode: str, until: datetime | None, *, hold: bool
) -> None:
    """Make a lock longer or stricter, and set a legal hold; what is there is read again before.

    Raises :class:`StoreRejected` for a lock that would become shorter or weaker.
    """
    key = lock.location.removeprefix(f"s3://{settings.bucket}/")
    named: Mapping[str, Any] = {"Key": key} | ({"VersionId": lock.version} if lock.version else {})
    if until is not None:
        got = await client.head(key, lock.version)
        if _is_weaker(got, mode, until):
            raise StoreRejected(
                f"{lock.location}: its lock is {got.lock_mode} until {got.retain_until}: it never becomes "
                f"{mode} until {until}"
            )
        retention = {"Mode": mode, "RetainUntilDate": until}
        # a lock of governance becomes one of compliance only for who may lift it
        bypass = {"BypassGovernanceRetention": True} if (got.lock_mode or mode) != mode else {}
        await client.call("put_object_retention", key, Retention=retention, **bypass, **named)
    if hold:
        await client.call("put_object_legal_hold", key, LegalHold={"Status": "ON"}, **named)


def _is_weaker(got: Got, mode: str, until: datetime) -> bool:
    """Whether another lock than an object has protects it less."""
    if got.retain_until is not None and until < got.retain_until:
        return True
    return got.lock_mode == COMPLIANCE and mode != COMPLIANCE


async def removed(client: S3Client, settings: S3Settings) -> AsyncIterator[Removed]:
    """Yield the evidence whose newest version is a delete marker."""
    start = f"{settings.root}runs/"
    async for one in versions(client, start):
        place = parse_key(one.key.removeprefix(start))
        if one.is_marker and one.is_latest and place is not None and place.suffix in FORMATS:
            location = f"s3://{settings.bucket}/{one.key}"
            yield Removed(location, f"sha256:{place.digest}", place.uid, one.modified)


async def locks_of(
    client: S3Client,
    settings: S3Settings,
    found: Sequence[Version],
    protection: Protection,
    location: str,
) -> list[ObjectLock]:
    """Return the locks of versions of the evidence at a location. Delete markers have none."""
    return list(
        await asyncio.gather(
            *(read_lock(client, settings, one, protection, location) for one in found if not one.is_marker)
        )
    )

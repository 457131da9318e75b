"""Deletes evidence from a bucket: every version of each object, and what leads to it.

The order lets a later call go on wherever an earlier one ended: pointers from subjects first, then what
belongs to the evidence, then the evidence, and last what the evidence of a run shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from storage.errors import StoreError
from storage.locks import Doomed, LockState, ObjectLock, Protection
from storage.s3.client import S3Client
from storage.s3.locks import Version, locks_of, objects_of, objects_of_run, place_of, versions
from storage.s3.settings import S3Settings

_AT_ONCE = 16
"""Pieces that are deleted at the same time."""


async def delete_all(
    client: S3Client, settings: S3Settings, pieces: Sequence[Doomed], protection: Protection
) -> list[str]:
    """Return for each piece why it is still there; empty if it is gone."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def work(piece: Doomed) -> str:
        async with turns:
            try:
                return await _delete(client, settings, piece, protection)
            except StoreError as error:
                return str(error)

    reasons = list(await asyncio.gather(*(work(piece) for piece in pieces)))
    # what runs share goes after the last evidence of each run, once
    runs = {
        place_of(settings, piece.location)[0].rpartition("/")[0].rpartition("/")[0]: piece
        for piece, reason in zip(pieces, reasons, strict=True)
        if not reason
    }
    left = await asyncio.gather(
        *(_delete_shared(client, settings, run, piece) for run, piece in runs.items())
    )
    shared = dict(zip(runs.values(), left, strict=True))
    return [reason or shared.get(piece, "") for piece, reason in zip(pieces, reasons, strict=True)]


async def _delete(client: S3Client, settings: S3Settings, piece: Doomed, protection: Protection) -> str:
    found = await objects_of(client, settings, piece.location, piece.about)
    now = datetime.now(UTC)
    for lock in await locks_of(client, settings, found, protection, piece.location):
        if reason := why_locked(lock, now):
            return reason
    key = piece.location.removeprefix(f"s3://{settings.bucket}/")
    runs = f"{settings.root}runs/"
    for one in sorted(found, key=lambda one: (one.key.startswith(runs), one.key == key)):
        await _delete_version(client, one)
    return ""


async def _delete_shared(client: S3Client, settings: S3Settings, run: str, piece: Doomed) -> str:
    """Delete the snapshot of a run and the pointer to its day, if no evidence of it is left."""
    try:
        start = f"{settings.root}runs/{run}/"
        async for one in versions(client, start):
            if not one.key.startswith(f"{start}snapshot/"):
                return ""
        shared = await objects_of_run(client, settings, piece.location)
        # the pointer last: by it, the snapshot is found
        for one in sorted(shared, key=lambda one: not one.key.startswith(start)):
            await _delete_version(client, one)
    except StoreError as error:
        return f"the evidence is gone, but not what belongs to its run: {error}"
    return ""


async def _delete_version(client: S3Client, one: Version) -> None:
    # without versioning there is one version, whose name some services do not take
    named = {} if one.version in {"", "null"} else {"VersionId": one.version}
    await client.call("delete_object", one.key, Key=one.key, **named)


def why_locked(lock: ObjectLock, now: datetime) -> str:
    """Return why an object cannot be deleted, empty if nothing is in the way."""
    if lock.state is LockState.UNKNOWN:
        return f"{lock.location}: whether it is locked is not known: {lock.detail}"
    if lock.hold:
        return f"{lock.location}: it has a legal hold"
    if lock.until is not None and lock.until > now:
        return f"{lock.location}: it is locked ({lock.mode.lower()}) until {lock.until.isoformat()}"
    return ""

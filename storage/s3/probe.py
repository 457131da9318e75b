"""Checks whether a bucket can store evidence as configured. Leaves nothing behind."""

from __future__ import annotations

from storage.base import Probe
from storage.errors import StoreError, StoreRejected
from storage.s3.client import S3Client, digest_of
from storage.s3.errors import BadDigest, NotLockable
from storage.s3.settings import S3Settings

_PROBE = b"a probe, not evidence"


async def check_bucket(client: S3Client, settings: S3Settings) -> None:
    """Check that the bucket exists and, if objects are to be locked, has versioning and object lock.

    Raises :class:`StoreError` with the next step.
    """
    # A listing and not HeadBucket, because the answer to HEAD has no reason.
    await client.call("list_objects_v2", "", MaxKeys=1)
    if not settings.locks:
        return
    status = (await client.call("get_bucket_versioning", "")).get("Status")
    if status != "Enabled":
        raise StoreRejected(
            f"{settings.url}: object lock needs versioning, which is {status or 'off'} for this bucket: "
            "create a bucket with object lock, or unset storage.s3.object-lock.*"
        )
    if not await _is_lockable(client):
        raise StoreRejected(
            f"{settings.url}: object lock is off for this bucket: enable it, or unset "
            "storage.s3.object-lock.*"
        )


async def probe_bucket(client: S3Client, settings: S3Settings) -> list[Probe]:
    """Try the connection, the configuration and the right to write. Never raises :class:`StoreError`."""
    try:
        await check_bucket(client, settings)
    except StoreError as error:
        return [Probe("bucket", "failed", str(error), "see docs/runbooks/s3-unavailable.md")]
    what = "exists, with versioning and object lock" if settings.locks else "exists"
    return [Probe("bucket", "ok", f"{settings.url} {what}"), await _write(client, settings)]


async def _write(client: S3Client, settings: S3Settings) -> Probe:
    """Send bytes with a wrong digest.

    A service that checks it refuses them after it checked the right to write, so nothing is stored.
    """
    key = f"{settings.root}probe"
    try:
        await client.put(key, _PROBE, digest_of(b""))
    except BadDigest:
        return Probe("write", "ok", f"{settings.url} can be written to, and checks the digest")
    except StoreError as error:
        return Probe("write", "failed", str(error), "let these credentials put objects")
    detail = f"{settings.url} accepted bytes that do not have their SHA-256"
    try:
        # The service stored the probe although its digest was wrong: remove it.
        await client.call("delete_object", key, Key=key)
    except StoreError as error:
        detail += f", and they are still there: {error}"
    return Probe("write", "warning", detail, "nothing to do: every object is read back and checked anyway")


async def _is_lockable(client: S3Client) -> bool:
    try:
        answer = await client.call("get_object_lock_configuration", "")
    except NotLockable:
        return False
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

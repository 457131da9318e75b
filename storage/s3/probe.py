"""Whether a bucket can take evidence as configured, found out without leaving anything there."""

from __future__ import annotations

from storage.base import Probe
from storage.errors import StoreError, StoreRejected
from storage.s3.client import S3Client, digest_of
from storage.s3.errors import BadDigest, NotLockable
from storage.s3.settings import S3Settings

_PROBE = b"a probe, not evidence"


async def check_bucket(client: S3Client, settings: S3Settings) -> None:
    """Look whether the bucket is there and, where objects are to be locked, versioned and lockable.

    Raises :class:`StoreError` with the next step.
    """
    # unlike HeadBucket it tells why not
    await client.call("list_objects_v2", "", MaxKeys=1)
    if not settings.locks:
        return
    status = (await client.call("get_bucket_versioning", "")).get("Status")
    if status != "Enabled":
        raise StoreRejected(
            f"{settings.url}: object lock needs versioning, which is {status or 'off'} for this bucket: make "
            "a bucket with object lock, or unset storage.s3.object-lock.*"
        )
    if not await _is_lockable(client):
        raise StoreRejected(
            f"{settings.url}: object lock is off for this bucket: enable it, or unset "
            "storage.s3.object-lock.*"
        )


async def probe_bucket(client: S3Client, settings: S3Settings) -> list[Probe]:
    """Try reach and configuration, and the right to write. Never raises :class:`StoreError`."""
    try:
        await check_bucket(client, settings)
    except StoreError as error:
        return [Probe("bucket", "failed", str(error), "docs/runbooks/s3-unavailable.md has what to do")]
    what = "is there, versioned and lockable" if settings.locks else "is there"
    return [Probe("bucket", "ok", f"{settings.url} {what}"), await _write(client, settings)]


async def _write(client: S3Client, settings: S3Settings) -> Probe:
    """Send bytes under the digest of others: who may write is told that they are wrong, and none stay."""
    key = f"{settings.root}probe"
    try:
        await client.put(key, _PROBE, digest_of(b""))
    except BadDigest:
        return Probe("write", "ok", f"{settings.url} may be written to, and checks what it is sent")
    except StoreError as error:
        return Probe("write", "failed", str(error), "let these credentials put objects")
    told = f"{settings.url} took bytes that are not those of their SHA-256"
    try:
        await client.call("delete_object", key, Key=key)
    except StoreError as error:
        told += f", and they are still there: {error}"
    return Probe("write", "warning", told, "every object is read back all the same")


async def _is_lockable(client: S3Client) -> bool:
    try:
        answer = await client.call("get_object_lock_configuration", "")
    except NotLockable:
        return False
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

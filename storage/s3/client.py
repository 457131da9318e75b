"""Calls the AWS SDK from a bounded thread pool and maps its exceptions to :class:`StoreError`.

boto3 is imported by the first call. Credentials, region, endpoint and proxies that the settings do not name
are those of the SDK. A call takes about 1.5 ms of processor time, most of it under the interpreter's lock, so
more threads help only with a slow network. Small objects therefore go over :mod:`storage.s3.wire` as soon as
the SDK has reached the bucket once.
"""

from __future__ import annotations

import asyncio
import base64
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

from storage.aws_wire import AskTheSdk, ca_file_of_sdk
from storage.base import StoreOptions
from storage.errors import BadContent, StoreError, StoreRejected
from storage.limits.allowance import Allowance
from storage.s3.errors import Exists, explain
from storage.s3.settings import S3Settings
from storage.s3.wire import BucketWire, answer_of

THREADS = 32
"""The number of threads for calls of the SDK."""
_CONNECT_SECONDS = 10.0
"""The time limit of a connection attempt, if the configured time limit is longer."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Got:
    """One object as it was read, with its encryption and lock."""

    data: bytes
    metadata: dict[str, str]
    encryption: str
    kms_key: str
    lock_mode: str
    retain_until: datetime | None
    hold: bool
    modified: datetime | None


class S3Client:
    """One bucket. Every method raises :class:`StoreError`; its text names the object and no secret."""

    def __init__(self, settings: S3Settings, options: StoreOptions) -> None:
        self._settings, self._options = settings, options
        self._client: Any = None
        self._making = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._wire: BucketWire | None = None

    async def put(self, key: str, data: bytes, digest: bytes, **more: Any) -> str:
        """Create an object and return its version; ``""`` without versioning.

        ``digest`` is the SHA-256 that the service checks. Raises :class:`Exists` if the key exists.
        """
        if self._wire is not None:
            with suppress(AskTheSdk):
                # The fast path; anything unusual raises AskTheSdk and falls through to the SDK.
                version = await self._wire.put(key, data, digest, more)
                if version is None:
                    raise Exists(f"put object {self._where(key)}: 412: the key exists")
                return version
        answer = await self._run(
            "put_object",
            key,
            lambda client: client.put_object(
                Bucket=self._settings.bucket,
                Key=key,
                Body=data,
                IfNoneMatch="*",
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=base64.b64encode(digest).decode(),
                **more,
            ),
        )
        return str(answer.get("VersionId") or "")

    async def get(self, key: str, allowed: Allowance, version: str = "") -> Got:
        """Read an object. Raises :class:`Missing`, or :class:`BadContent` for more than is ``allowed``."""

        def check(size: int) -> None:
            if reason := allowed.take(size):
                raise BadContent(reason)

        if self._wire is not None:
            with suppress(AskTheSdk):
                response = await self._wire.get(key, version)
                # The wire limits the size itself, so here the bytes are counted after reading.
                check(len(response.body))
                return _got(answer_of(response.headers), response.body)

        def read(client: Any) -> Got:
            named = {"VersionId": version} if version else {}
            answer = client.get_object(Bucket=self._settings.bucket, Key=key, **named)
            with answer["Body"] as body:
                size = int(answer["ContentLength"])
                check(size)
                # One byte more than announced: a longer body is then noticed by its digest.
                return _got(answer, body.read(size + 1))

        return await self._run("get_object", key, read)

    async def head(self, key: str, version: str = "") -> Got:
        """Return encryption and lock of an object, without its bytes."""
        named = {"VersionId": version} if version else {}
        return _got(await self.call("head_object", key, Key=key, **named), b"")

    async def call(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        """Call one operation of the SDK on the bucket and return its answer."""
        return await self._run(
            operation,
            key,
            lambda client: getattr(client, operation)(Bucket=self._settings.bucket, **arguments),
        )

    async def keys(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        """Yield the keys with this prefix that sort after ``after``."""
        async for page in self._pages(Prefix=prefix, **({"StartAfter": after} if after else {})):
            for entry in page.get("Contents", ()):
                yield str(entry["Key"])

    async def folders(self, prefix: str) -> list[str]:
        """Return the names directly under ``prefix`` that have keys under them."""
        names = []
        async for page in self._pages(Prefix=prefix, Delimiter="/"):
            names += [str(entry["Prefix"])[len(prefix) : -1] for entry in page.get("CommonPrefixes", ())]
        return names

    async def _pages(self, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the pages of a listing."""
        more: dict[str, Any] = {}
        while True:
            page = await self.call("list_objects_v2", arguments["Prefix"], **arguments, **more)
            yield page
            token = page.get("NextContinuationToken") if page.get("IsTruncated") else None
            if not token:
                return
            more = {"ContinuationToken": token}

    async def _run(self, operation: str, key: str, work: Callable[[Any], T]) -> T:
        """Run ``work`` with the SDK's client in a thread. Raises only :class:`StoreError`."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")

        def told() -> T:
            try:
                return work(self._made())
            except StoreError:
                raise
            except Exception as exc:  # noqa: BLE001 - the SDK also raises what its libraries raise
                raise explain(exc, operation, self._where(key)) from None

        return await asyncio.get_running_loop().run_in_executor(self._pool, told)

    def _where(self, key: str) -> str:
        return f"s3://{self._settings.bucket}/{key}" if key else f"s3://{self._settings.bucket}"

    def _made(self) -> Any:
        """Return the SDK's client; the first call makes it."""
        with self._making:
            if self._client is None:
                self._client = self._make()
            return self._client

    def _make(self) -> Any:
        try:
            import boto3  # noqa: PLC0415 - takes a second and 30 MB
            from botocore.config import Config  # noqa: PLC0415
            from botocore.handlers import add_expect_header  # noqa: PLC0415
        except ImportError as exc:
            raise StoreRejected(f"{exc}: install provenance-chains with its extra aws") from exc

        settings, options = self._settings, self._options
        config = Config(
            connect_timeout=min(_CONNECT_SECONDS, options.timeout),
            read_timeout=options.timeout,
            retries={"mode": "standard", "total_max_attempts": options.attempts},
            max_pool_connections=THREADS,
            # No further checksums: contents are checked against their SHA-256 when written and read.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": settings.addressing_style},  # type: ignore[arg-type] # checked words
        )
        session = boto3.session.Session()
        client = session.client(
            "s3",
            # boto3 reads only AWS_DEFAULT_REGION, but pods with web identity have AWS_REGION
            region_name=settings.region or os.environ.get("AWS_REGION") or None,
            endpoint_url=settings.endpoint or None,
            verify=settings.ca_file or None,
            config=config,
        )
        # "Expect: 100-continue" would cost every PUT of a few kilobytes a round trip
        client.meta.events.unregister("before-call.s3", add_expect_header)
        credentials = session.get_credentials()
        if credentials is not None:
            self._wire = wire = BucketWire(credentials, settings.ca_file or ca_file_of_sdk(), options.timeout)
            client.meta.events.register(
                "before-send.s3.ListObjectsV2",
                lambda request, **_: wire.learn(request, "", f"/{settings.bucket}"),
            )
        return client

    async def close(self) -> None:
        """Release threads and connections. A later call opens new ones."""
        pool, client, wire = self._pool, self._client, self._wire
        self._pool = self._client = self._wire = None
        if wire is not None:
            await wire.close()
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)
        if client is not None:
            client.close()


def digest_of(data: bytes) -> bytes:
    """Return the SHA-256 of ``data``, 32 bytes."""
    return sha256(data).digest()


def _got(answer: dict[str, Any], data: bytes) -> Got:
    """Return an answer of the SDK as :class:`Got`."""
    return Got(
        data=data,
        metadata={str(name).lower(): str(value) for name, value in answer.get("Metadata", {}).items()},
        encryption=str(answer.get("ServerSideEncryption") or ""),
        kms_key=str(answer.get("SSEKMSKeyId") or ""),
        lock_mode=str(answer.get("ObjectLockMode") or ""),
        retain_until=answer.get("ObjectLockRetainUntilDate"),
        hold=answer.get("ObjectLockLegalHoldStatus") == "ON",
        modified=answer.get("LastModified"),
    )

"""The two requests that a bucket gets most, without the SDK's machinery around each of them.

boto3 takes 1.5 ms of processor time for a request, holding the interpreter's lock, where signing and sending
take 0.3 ms. So :class:`Wire` puts and gets small objects itself, signed by the SDK's own signer with the
SDK's own credentials, to the host that the SDK chose for its first request. It knows two answers: that it
worked, and that the key is taken. Whatever else happens, an outage, a refusal, a redirect, a large object, is
:class:`AskTheSdk`: the same request then goes through the SDK, with its retries and its words for errors.
Every PUT is conditional, so that sending one twice changes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

from multidict import CIMultiDictProxy
from yarl import URL

from storage.http1 import Broken, Client, Response, TooLarge

LARGEST = 1024 * 1024
"""Bytes of the largest object that goes this way; larger ones are counted before they are read."""
AT_ONCE = 32
_OK, _TAKEN = 200, 412
_SETTINGS = {
    "ContentType": "Content-Type",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockRetainUntilDate": "x-amz-object-lock-retain-until-date",
    "ObjectLockLegalHoldStatus": "x-amz-object-lock-legal-hold",
}
"""Arguments of the SDK's ``put_object``, each with its header."""
_META = "x-amz-meta-"


class AskTheSdk(Exception):  # noqa: N818 - says what to do next
    """Nothing is known of the request; it may have been carried out."""


class Wire:
    """Signed requests to one bucket; use from one event loop.

    Closed until :meth:`learn` saw a request of the SDK that it can do likewise: signed with SigV4 for ``s3``,
    through no proxy. ``credentials`` are those of botocore, which renew themselves.
    """

    def __init__(self, credentials: Any, ca_file: str, seconds: float) -> None:
        self._credentials, self._seconds = credentials, seconds
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._base: URL | None = None
        self._region = ""
        self._places = asyncio.Semaphore(AT_ONCE)
        self._client = Client()
        self._is_off = False

    def learn(self, request: Any, bucket: str) -> None:
        """Take host, path style and region from a request that botocore is about to send to ``bucket``."""
        from botocore.utils import get_environ_proxies  # noqa: PLC0415 - takes a second and 30 MB

        parts = urlsplit(request.url)
        authorization = request.headers.get("Authorization", b"")
        if isinstance(authorization, bytes):
            authorization = authorization.decode("latin-1")
        scheme, _, rest = authorization.partition(" Credential=")
        scope = rest.partition(",")[0].split("/")[-4:]
        path = parts.path.rstrip("/")
        if (
            scheme != "AWS4-HMAC-SHA256"
            or scope[2:] != ["s3", "aws4_request"]
            or path not in {"", f"/{bucket}"}
            or get_environ_proxies(request.url)
        ):
            self._base = None
            return
        if parts.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._ca_file)
        self._region = scope[1]
        self._base = URL(f"{parts.scheme}://{parts.netloc}{path}/", encoded=True)

    async def put(self, key: str, data: bytes, digest: bytes, settings: Mapping[str, Any]) -> str | None:
        """Make an object that is not there; its version, None when the key is taken."""
        headers = {
            "If-None-Match": "*",
            "x-amz-checksum-sha256": base64.b64encode(digest).decode(),
            "x-amz-sdk-checksum-algorithm": "SHA256",
        }
        for name, value in settings.items():
            if name == "Metadata":
                headers |= {_META + each: text for each, text in value.items()}
            elif isinstance(value, datetime):
                headers[_SETTINGS[name]] = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            else:
                headers[_SETTINGS[name]] = value
        found = await self._send("PUT", key, headers, data)
        if found.status == _TAKEN:
            return None
        return found.headers.get("x-amz-version-id", "")

    async def get(self, key: str, version: str) -> Response:
        """Read an object of at most :data:`LARGEST` bytes."""
        query = f"?versionId={quote(version, safe='-_.~')}" if version else ""
        return await self._send("GET", key, {}, None, query)

    async def close(self) -> None:
        """Close every connection; a later request opens new ones."""
        await self._client.close()

    async def _send(
        self, method: str, key: str, headers: dict[str, str], data: bytes | None, query: str = ""
    ) -> Response:
        if self._base is None or self._is_off or len(data or b"") > LARGEST:
            raise AskTheSdk
        url = URL(f"{self._base}{quote(key, safe='/-_.~')}{query}", encoded=True)
        async with self._places:
            signed = await self._signed(method, str(url), headers, data)
            try:
                async with asyncio.timeout(self._seconds):
                    found = await self._client.send(method, url, signed, data, limit=LARGEST, tls=self._tls)
            except ssl.SSLError:
                self._is_off = True  # the SDK has its own words for what is wrong with the certificate
                raise AskTheSdk from None
            except (Broken, TooLarge, TimeoutError, OSError, ValueError):
                raise AskTheSdk from None
        if found.status != _OK and not (method == "PUT" and found.status == _TAKEN):
            raise AskTheSdk
        return found

    async def _signed(
        self, method: str, url: str, headers: dict[str, str], data: bytes | None
    ) -> dict[str, str]:
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415 - see learn
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        renewing = getattr(self._credentials, "refresh_needed", None)
        try:
            if renewing is not None and renewing():
                frozen = await asyncio.to_thread(self._credentials.get_frozen_credentials)
            else:
                frozen = self._credentials.get_frozen_credentials()
            request = AWSRequest(method, url, headers=headers, data=data or b"")
            S3SigV4Auth(frozen, "s3", self._region).add_auth(request)
        except (BotoCoreError, OSError):
            raise AskTheSdk from None
        return {**dict(request.headers), "Accept-Encoding": "identity", "User-Agent": "provenance-chains"}


def answer_of(headers: CIMultiDictProxy[str]) -> dict[str, Any]:
    """Return headers of an object as the SDK's ``get_object`` does, those that tell what protects it."""
    try:
        until = headers.get("x-amz-object-lock-retain-until-date")
        modified = headers.get("Last-Modified")
        return {
            "Metadata": {
                name[len(_META) :]: value for name, value in headers.items() if name.lower().startswith(_META)
            },
            "ServerSideEncryption": headers.get("x-amz-server-side-encryption"),
            "SSEKMSKeyId": headers.get("x-amz-server-side-encryption-aws-kms-key-id"),
            "ObjectLockMode": headers.get("x-amz-object-lock-mode"),
            "ObjectLockRetainUntilDate": datetime.fromisoformat(until) if until else None,
            "ObjectLockLegalHoldStatus": headers.get("x-amz-object-lock-legal-hold"),
            "LastModified": parsedate_to_datetime(modified) if modified else None,
        }
    except ValueError:
        raise AskTheSdk from None

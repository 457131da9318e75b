"""The two most frequent requests to a bucket, over :mod:`storage.aws_wire`.

It puts and gets small objects and understands two answers: success, and that the key exists. Everything else
is left to the SDK. Every PUT is conditional, so sending it twice changes nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from multidict import CIMultiDictProxy

from storage.aws_wire import AskTheSdk, Wire
from storage.http_client.exchange import Response

LARGEST = 1024 * 1024
"""The largest object in bytes. The size of larger ones must be checked before they are read, which the SDK's
client does."""
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


class BucketWire(Wire):
    """Signed requests to one bucket."""

    def __init__(self, credentials: Any, ca_file: str, seconds: float) -> None:
        super().__init__("s3", credentials, ca_file, seconds)

    async def put(self, key: str, data: bytes, digest: bytes, settings: Mapping[str, Any]) -> str | None:
        """Create an object and return its version; None if the key exists."""
        headers = {
            "If-None-Match": "*",
            "x-amz-checksum-sha256": base64.b64encode(digest).decode(),
            "x-amz-sdk-checksum-algorithm": "SHA256",
        }
        for name, value in settings.items():
            if name == "Metadata":
                headers |= {_META + entry: text for entry, text in value.items()}
            elif isinstance(value, datetime):
                headers[_SETTINGS[name]] = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            else:
                headers[_SETTINGS[name]] = value
        response = await self._send("PUT", key, headers, data)
        if response.status == _TAKEN:
            return None
        return response.headers.get("x-amz-version-id", "")

    async def get(self, key: str, version: str) -> Response:
        """Read an object of at most :data:`LARGEST` bytes."""
        query = f"?versionId={quote(version, safe='-_.~')}" if version else ""
        return await self._send("GET", key, {}, None, query)

    async def _send(
        self, method: str, key: str, headers: dict[str, str], data: bytes | None, query: str = ""
    ) -> Response:
        """Send a request for a key. Raises :class:`AskTheSdk` for any answer that is not understood."""
        if len(data or b"") > LARGEST:
            raise AskTheSdk
        response = await self.ask(method, f"{quote(key, safe='/-_.~')}{query}", headers, data, LARGEST)
        # Redirects, refusals and outages are left to the SDK, which knows how to handle them.
        if response.status != _OK and not (method == "PUT" and response.status == _TAKEN):
            raise AskTheSdk
        return response


def answer_of(headers: CIMultiDictProxy[str]) -> dict[str, Any]:
    """Return the headers of an object in the form of the SDK's ``get_object`` answer."""
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

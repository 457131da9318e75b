"""The two requests that a bucket gets most, over :mod:`storage.aws_wire`.

It puts and gets small objects and knows two answers: that it worked, and that the key is taken. All else is
for the SDK. Every PUT is conditional, so that sending one twice changes nothing.
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
from storage.http_client.http1 import Response

LARGEST = 1024 * 1024
"""Bytes of the largest object that goes this way; larger ones are counted before they are read."""
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

    async def _send(
        self, method: str, key: str, headers: dict[str, str], data: bytes | None, query: str = ""
    ) -> Response:
        if len(data or b"") > LARGEST:
            raise AskTheSdk
        found = await self.ask(method, f"{quote(key, safe='/-_.~')}{query}", headers, data, LARGEST)
        if found.status != _OK and not (method == "PUT" and found.status == _TAKEN):
            raise AskTheSdk
        return found


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

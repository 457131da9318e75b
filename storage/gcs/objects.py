"""The objects of one bucket of Google Cloud Storage, over its JSON API.

A request takes 0.3 ms of processor time here and 2 ms in Google's client library, which also sends several
requests where one is enough. The API returns size and MD5 with each object and each list entry, so written
objects are compared without reading them. (https://cloud.google.com/storage/docs/json_api/v1/objects)
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass
from typing import Any

import orjson

from storage.base import StoreOptions
from storage.errors import BadContent, StoreUnavailable
from storage.google.login import GoogleLogin
from storage.http_client.json_service import LARGEST_ANSWER, WebService, json_of

PERMISSION = "storage.objects.create, .get, .list and .delete (roles/storage.objectUser on the bucket)"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_MEDIA_TYPE = "application/octet-stream"
_FIELDS = "name,generation,size,md5Hash"
_MISSING, _CHANGED = frozenset({404}), frozenset({412})
_NOT_THERE = _MISSING | _CHANGED


@dataclass(frozen=True, slots=True)
class Kept:
    """The service's description of a stored object."""

    name: str
    generation: int
    size: int
    md5: str
    """In base64; empty if the service has none, as for composed objects."""


class Objects:
    """The objects of ``bucket``. Methods raise :class:`StoreError`. Call :meth:`close` at the end."""

    def __init__(self, bucket: str, options: StoreOptions) -> None:
        self._bucket = bucket
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        # Google's clients accept the variable with and without a scheme.
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        domain = os.environ.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN") or "googleapis.com"
        self._login = GoogleLogin(f"bucket {bucket}", PERMISSION, _SCOPE)
        login = {} if emulator else {"headers": self._login.headers}
        self._service = WebService(
            emulator or f"https://storage.{domain}", options, f"the account needs {PERMISSION}", **login
        )

    async def make(self, name: str, data: bytes, generation: int = 0) -> Kept | None:
        """Write an object if its generation is this one; 0 means that it must not exist.

        Returns None if the generation is another. The service checks the MD5 before it stores the object.
        """
        # One multipart request with metadata and bytes; the service checks the MD5 in the metadata.
        about = {"name": name, "contentType": _MEDIA_TYPE, "md5Hash": md5_of(data)}
        # The boundary is random, so the data cannot contain it by intention.
        mark = secrets.token_hex(16).encode()
        body = b"".join(
            (
                b"--%b\r\nContent-Type: application/json\r\n\r\n%b\r\n" % (mark, orjson.dumps(about)),
                b"--%b\r\nContent-Type: %b\r\n\r\n" % (mark, _MEDIA_TYPE.encode()),
                data,
                b"\r\n--%b--\r\n" % mark,
            )
        )
        purpose = f"write {name} (bucket {self._bucket})"
        answer = await self._service.send(
            "POST",
            f"upload/storage/v1/b/{self._bucket}/o",
            purpose,
            query={"uploadType": "multipart", "ifGenerationMatch": str(generation), "fields": _FIELDS},
            data=body,
            content_type=f"multipart/related; boundary={mark.decode()}",
            passes=_CHANGED,
        )
        if answer.status in _CHANGED:
            return None
        made = _kept(json_of(answer, purpose), purpose)
        if made.name != name or made.size != len(data) or made.md5 not in {"", about["md5Hash"]}:
            raise StoreUnavailable(f"{purpose}: the service stored something else, according to its answer")
        return made

    async def read(self, there: Kept, limit: int) -> bytes | None:
        """Return the bytes of an object; None if it was deleted or replaced in the meantime.

        Raises :class:`BadContent` for more than ``limit`` bytes, and for bytes that do not match size and
        MD5.
        """
        purpose = f"read {there.name} (bucket {self._bucket})"
        answer = await self._service.send(
            "GET",
            f"storage/v1/b/{self._bucket}/o",
            purpose,
            query={"alt": "media", "ifGenerationMatch": str(there.generation)},
            name=there.name,
            passes=_NOT_THERE,
            limit=limit,
            expected=there.size,
        )
        if answer.status in _NOT_THERE:
            return None
        # The condition on the generation makes sure that the bytes belong to the listed size and MD5.
        if len(answer.body) != there.size or there.md5 not in {"", md5_of(answer.body)}:
            raise BadContent(f"{purpose}: the bytes do not match the size and MD5 that the service lists")
        return answer.body

    async def has(self, there: Kept | None, data: bytes) -> bool:
        """Whether an object holds ``data``. It is read only if the service has no MD5 of it."""
        if there is None or there.size != len(data):
            return False
        return there.md5 == md5_of(data) if there.md5 else await self.read(there, len(data)) == data

    async def listed(self, **query: str) -> dict[str, Kept]:
        """Return the objects with a ``prefix``, or whose names match a ``matchGlob``, by name."""
        objects: dict[str, Kept] = {}
        purpose, token = f"list (bucket {self._bucket})", ""
        while True:
            answer = await self._service.json(
                "GET",
                f"storage/v1/b/{self._bucket}/o",
                purpose,
                query=query
                | {"fields": f"items({_FIELDS}),nextPageToken"}
                | ({"pageToken": token} if token else {}),
                limit=LARGEST_ANSWER,
            )
            for item in answer.get("items") or ():
                entry = _kept(item, purpose)
                objects[entry.name] = entry
            token = str(answer.get("nextPageToken") or "")
            if not token:
                return objects

    async def delete(self, name: str) -> None:
        """Delete an existing object."""
        purpose = f"delete {name} (bucket {self._bucket})"
        await self._service.send("DELETE", f"storage/v1/b/{self._bucket}/o", purpose, name=name)

    async def close(self) -> None:
        """Close every connection. A later request opens new ones."""
        await self._service.close()
        await self._login.close()


def md5_of(data: bytes) -> str:
    """Return the MD5 in the service's form. It detects damage only, not an attack."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")


def _kept(item: Any, purpose: str) -> Kept:
    """Return one list entry of the service. Raises :class:`BadContent`."""
    try:
        name = str(item["name"])
        return Kept(name, int(item["generation"]), int(item["size"]), str(item.get("md5Hash") or ""))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadContent(f"{purpose}: the answer lacks an object's name, generation or size") from None

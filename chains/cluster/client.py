"""A client of the Kubernetes API: get, list in pages, patch, create. Connections are kept.

Its exceptions are those of :mod:`chains.cluster.errors`.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from multidict import CIMultiDict

from chains.cluster.access import Access
from chains.cluster.errors import (
    ClusterError,
    ClusterForbidden,
    ClusterRejected,
    ClusterUnauthorized,
    ClusterUnavailable,
    ListExpired,
    ObjectChanged,
    ObjectGone,
    ObjectLarge,
    ObjectRefused,
    ObjectUnreadable,
)
from chains.cluster.paging import LARGEST_ANSWER, MOST_LARGE_ANSWERS, Pages, is_large, read_some, weight_of
from chains.cluster.rate_limit import Pace
from chains.documents.decode import UNREADABLE, Unreadable, decode_object, decode_page
from storage import lean_json

_TOKEN_SECONDS = 60.0
_LEASES = "/apis/coordination.k8s.io/"
_EXCERPT = 256
_METADATA = "application/json;as={};g=meta.k8s.io;v=v1,application/json"
METADATA_ONLY = _METADATA.format("PartialObjectMetadata")
"""Requests the metadata of one object only, which costs the server less."""
_UNAUTHORIZED, _SERVER_ERROR = 401, 500
_TOO_LARGE = ("request is too large", "larger than max")
"""The words with which etcd and its client refuse an object. The API server answers with 500 then."""


class _TooLong(ClusterUnavailable):
    """The answer is longer than the limit."""


def tls_of(access: Access) -> ssl.SSLContext | bool:
    """Return the TLS settings for the API server, for aiohttp."""
    if not access.server.startswith("https:"):
        return True
    context = ssl.create_default_context(cadata=access.ca_data or None)
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.certificate is not None:
        context.load_cert_chain(access.certificate, access.key)
    return context


class Cluster:
    """A connection to one API server. Use as ``async with``. Calls may run concurrently.

    All requests are limited by ``pace``, except those for Leases, on which other replicas wait.
    """

    def __init__(
        self, access: Access, *, connections: int = 64, timeout: float = 60.0, pace: Pace | None = None
    ) -> None:
        self._access, self._pace = access, pace or Pace()
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None
        self._large_answers = asyncio.Semaphore(MOST_LARGE_ANSWERS)
        self._token, self._token_read = f"Bearer {access.token}" if access.token else "", -math.inf
        # the certificate must be for the host of the URL, unless the kubeconfig gives another name
        self._tls: dict[str, Any] = {"server_hostname": access.server_name} if access.server_name else {}

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections, ssl=tls_of(self._access))
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers=CIMultiDict(self._access.headers),
            proxy=self._access.proxy or None,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(
        self, path: str, *, accept: str = "", check: Callable[[bytes], None] | None = None
    ) -> dict[str, Any]:
        """Return one object, in the media type ``accept`` if given. Raises :class:`ClusterError`.

        ``check`` is called with the object's text before it is decoded. What it raises is raised here.
        """
        data = await self._send("GET", path, headers={"Accept": accept} if accept else None)
        if check is not None:
            check(data)
        found = await lean_json.aside(data, partial(decode_object, data))
        if found is None:
            raise ClusterUnavailable(f"GET {path}: the answer is no JSON object")
        return _readable(path, found)

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Merge ``body`` into one object. A ``resourceVersion`` in it limits the patch to that version.

        Only metadata is requested as the answer, which costs the server less. Raises :class:`ClusterError`.
        """
        headers = {
            "Content-Type": "application/merge-patch+json",
            "Accept": METADATA_ONLY,
        }
        # the answer is not decoded: its managed fields are nested as deeply as the object
        await self._send("PATCH", path, orjson.dumps(body), headers)

    async def apply(
        self, path: str, body: Mapping[str, Any], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> None:
        """Create or change one object by server-side apply, as the field manager ``manager``.

        Without ``force``, fields of other managers are an :class:`ObjectChanged`. With ``dry_run`` the API
        server only checks. Raises :class:`ClusterError`.
        """
        query = {"fieldManager": manager, "force": str(force).lower()} | (
            {"dryRun": "All"} if dry_run else {}
        )
        headers = {"Content-Type": "application/apply-patch+yaml", "Accept": METADATA_ONLY}
        await self._send("PATCH", f"{path}?{urlencode(query)}", orjson.dumps(body), headers)

    async def delete(self, path: str, *, uid: str, dry_run: bool = False) -> None:
        """Delete one object if it still has this UID. With ``dry_run`` the API server only checks.

        Raises :class:`ClusterError`.
        """
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            **({"dryRun": ["All"]} if dry_run else {}),
        }
        headers = {"Content-Type": "application/json", "Accept": METADATA_ONLY}
        await self._send("DELETE", path, orjson.dumps(options), headers)

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create one object and return it as the server stored it. Raises :class:`ClusterError`."""
        data = await self._send("POST", path, orjson.dumps(body), {"Content-Type": "application/json"})
        found = decode_object(data)
        if found is None:
            raise ClusterUnavailable(f"POST {path}: the answer is no JSON object")
        return _readable(path, found)

    async def list(
        self, path: str, selector: str = "", *, outlines: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of a collection, page by page. Raises :class:`ClusterError`.

        An unreadable object is an error, or with ``outlines`` yields its outline.
        """
        async for item in self._pages(path, selector, {}):
            if item is None and not outlines:
                raise ClusterRejected(f"GET {path}: an object of the list can neither be read nor named")
            if item is not None:
                yield item if outlines else _readable(path, item)

    async def list_metadata(self, path: str, selector: str = "") -> AsyncIterator[dict[str, Any]]:
        """Yield the metadata of the objects of a collection, page by page. Raises :class:`ClusterError`."""
        async for item in self._pages(
            path, selector, {"Accept": _METADATA.format("PartialObjectMetadataList")}
        ):
            if item is not None:
                yield item["metadata"]

    async def _pages(
        self, path: str, selector: str, headers: Mapping[str, str]
    ) -> AsyncIterator[dict[str, Any] | None]:
        following, pages = "", Pages()
        while True:
            query = f"?limit={pages.objects}&labelSelector={quote(selector)}&continue={following}"
            data = await self._page(path + query, headers, pages)
            if data is None:
                continue
            try:
                page = await lean_json.aside(data, partial(decode_page, data))
            except Unreadable as error:
                raise ClusterUnavailable(f"GET {path}: {error}") from error
            del data
            for item in page.get("items") or ():  # the API server sends null for an empty list of metadata
                yield item
            following = page.get("metadata", {}).get("continue", "")
            if not following:
                return

    async def _page(self, path: str, headers: Mapping[str, str], pages: Pages) -> bytes | None:
        """Return a page; None if the next request must ask for fewer objects."""
        asked = pages.objects
        try:
            data: bytes | None = await self._send("GET", path, headers=headers, limit=pages.largest)
        except _TooLong:
            if asked == 1:
                raise
            data = None
        return data if pages.takes(data) else None

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = LARGEST_ANSWER,
    ) -> bytes:
        token = await self._bearer(_TOKEN_SECONDS)
        try:
            return await self._exchange(method, path, body, headers, token, limit)
        except ClusterUnauthorized:
            # the token may have been replaced after the file was read
            if (newer := await self._bearer(0.0)) == token:
                raise
            return await self._exchange(method, path, body, headers, newer, limit)

    async def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        token: str,
        limit: int,
    ) -> bytes:
        if self._session is None:
            raise ClusterRejected("the cluster is not open")
        if _LEASES not in path:
            await self._pace.turn()
        sent = {"Authorization": token} if token else {}
        url = self._access.server + path
        try:
            async with self._session.request(
                method, url, data=body, headers={**sent, **(headers or {})}, **self._tls
            ) as answer:
                data = await read_some(answer, limit, self._large_answers)
                if data is None:
                    raise _TooLong(f"{method} {path}: the answer has more than {limit} bytes")
                if answer.status < 300:  # noqa: PLR2004 - 2xx
                    return data
                raise _error(method, path, answer.status, data)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterUnavailable(f"{method} {path}: {error or type(error).__name__}") from error

    async def server_time(self) -> datetime | None:
        """Return the API server's time in whole seconds; None if its answer has none.

        Raises :class:`ClusterUnavailable`, and :class:`ClusterRejected` for an account that it does not know.
        """
        if self._session is None:
            raise ClusterRejected("the cluster is not open")
        token = await self._bearer(_TOKEN_SECONDS)
        headers = {"Authorization": token} if token else {}
        try:
            async with self._session.get(
                self._access.server + "/version", headers=headers, **self._tls
            ) as answer:
                if answer.status == _UNAUTHORIZED:
                    raise _error("GET", "/version", answer.status, await answer.read())
                return parsedate_to_datetime(answer.headers["Date"])
        except (KeyError, ValueError):
            return None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterUnavailable(f"GET /version: {error or type(error).__name__}") from error

    async def _bearer(self, seconds: float) -> str:
        """Return the Authorization header. It is made again if it is older than ``seconds``."""
        file, authorize = self._access.token_file, self._access.authorize
        if (file is None and authorize is None) or time.monotonic() - self._token_read < seconds:
            return self._token
        if file is not None:
            try:
                self._token = f"Bearer {(await asyncio.to_thread(file.read_text)).strip()}"
            except OSError as error:
                raise ClusterUnavailable(f"cannot read the token in {file}: {error.strerror}") from error
        elif authorize is not None:
            self._token = await asyncio.to_thread(authorize)
        self._token_read = time.monotonic()
        return self._token


async def get_outline(
    cluster: Cluster, path: str, *, accept: str = "", check: Callable[[bytes], None] | None = None
) -> dict[str, Any]:
    """Return one object, or its outline if it cannot be read. Raises :class:`ClusterError`."""
    options: dict[str, Any] = {"accept": accept} if accept else {}
    if check is not None:
        options["check"] = check
    try:
        return await cluster.get(path, **options)
    except ObjectUnreadable as error:
        return error.outline


def expect_small(data: bytes) -> None:
    """Raise :class:`ObjectLarge` for an object so large that only a few are held at a time."""
    if is_large(data):
        raise ObjectLarge(f"the object has {len(data)} bytes", weight_of(data))


def _readable(path: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return an object that is complete. Raises :class:`ObjectUnreadable`."""
    if UNREADABLE not in found:
        return found
    metadata = found["metadata"]
    name = f"{found.get('kind') or 'object'} {metadata.get('namespace', '')}/{metadata['name']}"
    raise ObjectUnreadable(f"GET {path}: {name} cannot be read: {found[UNREADABLE]}", found)


def _error(method: str, path: str, status: int, data: bytes) -> ClusterError:
    try:
        message = str(lean_json.loads(data, lean_json.FEW_VALUES).get("message", ""))
    except (orjson.JSONDecodeError, AttributeError):
        message = data.decode(errors="replace")
    text = f"{method} {path.partition('?')[0]}: {status} {message[:_EXCERPT]}"
    if status >= _SERVER_ERROR and any(words in message for words in _TOO_LARGE):
        return ObjectRefused(text)
    if status >= _SERVER_ERROR:
        return ClusterUnavailable(text)
    return _KINDS.get(status, ClusterRejected)(text)


_KINDS = {
    _UNAUTHORIZED: ClusterUnauthorized,
    403: ClusterForbidden,
    404: ObjectGone,
    409: ObjectChanged,
    410: ListExpired,
    413: ObjectRefused,
    422: ObjectRefused,
    429: ClusterUnavailable,
}

"""Requests to one JSON web service, with retries and limits on time and size."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson
from yarl import URL

from storage import lean_json
from storage.base import StoreOptions
from storage.errors import BadContent, StoreRejected
from storage.http_client.answer import ERROR_TEXT, Answer
from storage.http_client.attempts import Later, answered
from storage.http_client.connections import Connections
from storage.http_client.meanings import is_busy

_AT_ONCE = 16
"""The most requests to one service at the same time."""
_FORBIDDEN = frozenset({401, 403})
_MOVED = range(300, 400)
LARGEST_ANSWER = 4 * 1024 * 1024
"""The largest answer in bytes, unless a request states another limit."""
_SLOWEST = 256 * 1024
"""The slowest transfer of large bodies in bytes per second. Their time is added to the time limit."""
JSON = "application/json"

Headers = Callable[[], Awaitable[dict[str, str]]]


async def _no_headers() -> dict[str, str]:
    return {}


class WebService:
    """One server at ``base``. ``headers`` is called before each try; a 403 error names ``permission``."""

    def __init__(
        self, base: str, options: StoreOptions, permission: str, headers: Headers = _no_headers
    ) -> None:
        self._base = URL(base.rstrip("/"))
        # storage.oci.repository.insecure applies to registries only
        self._connections = Connections(replace(options, insecure=False))
        self._tries, self._seconds = max(1, options.attempts), options.timeout
        self._permission, self._headers = permission, headers
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def send(
        self,
        method: str,
        path: str,
        purpose: str,
        *,
        query: dict[str, str] | None = None,
        data: bytes | None = None,
        passes: frozenset[int] = frozenset(),
        limit: int = LARGEST_ANSWER,
        name: str = "",
        content_type: str = JSON,
        expected: int = 0,
    ) -> Answer:
        """Return the answer; a status of 400 and above only if ``passes`` has it.

        An answer may have ``limit`` bytes plus twice the size of ``data``, because services repeat what they
        store. ``name`` is a last path segment that may contain slashes. ``expected`` is the size of the
        answer in bytes and extends the time limit. Raises :class:`StoreUnavailable` and
        :class:`StoreRejected`, whose texts name ``purpose`` and no header.
        """
        # Services return what they stored, as base64 and with metadata.
        limit += 2 * len(data or b"")
        url = self._base / path
        if name:
            url = URL(f"{url}/{quote(name, safe='')}", encoded=True)
        url = url.with_query(query or {})
        headers = {"Content-Type": content_type} if data is not None else {}

        async def attempt() -> Answer:
            answer = await self._try(method, url, headers, data, limit, expected)
            if answer.status in passes or answer.status < _MOVED.start:
                return answer
            if not is_busy(answer, ""):
                raise self._refused(answer, purpose)
            raise Later(f"{answer.status}: {_said(answer)}", answer.retry_after)

        return await answered(attempt, purpose, self._tries, self._connections.is_silent)

    async def _try(
        self,
        method: str,
        url: URL,
        headers: dict[str, str],
        data: bytes | None,
        limit: int,
        expected: int,
    ) -> Answer:
        """Send the request once."""
        async with self._places:
            # Before every try, because a token may have expired while waiting.
            more = await self._headers()
            seconds = self._seconds + max(len(data or b""), expected) / _SLOWEST
            return await self._connections.send(method, url, headers | more, data, limit, seconds)

    def _refused(self, answer: Answer, purpose: str) -> StoreRejected:
        """Return the exception for a refusal."""
        problem = _said(answer)
        if answer.status in _FORBIDDEN:
            problem = f"not allowed: {self._permission} ({problem})"
        elif answer.status in _MOVED:
            problem = "the service is at another address: correct it"
        return StoreRejected(f"{purpose}: {answer.status}: {problem}")

    async def json(
        self,
        method: str,
        path: str,
        purpose: str,
        *,
        query: dict[str, str] | None = None,
        data: bytes | None = None,
        limit: int = LARGEST_ANSWER,
    ) -> dict[str, Any]:
        """Return the JSON object of an answer. Also raises :class:`BadContent`."""
        answer = await self.send(method, path, purpose, query=query, data=data, limit=limit)
        return await lean_json.aside(answer.body, lambda: json_of(answer, purpose))

    async def close(self) -> None:
        """Close every connection. A later request opens new ones."""
        await self._connections.close()


def json_of(answer: Answer, purpose: str) -> dict[str, Any]:
    """Return the JSON object in an answer. Raises :class:`BadContent`."""
    try:
        document = lean_json.loads(answer.body)
    except lean_json.TooMany as exc:
        raise BadContent(f"{purpose}: the answer is not read: {exc.msg}") from None
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise BadContent(f"{purpose}: the answer is not a JSON object")
    return document


def _said(answer: Answer) -> str:
    """Return the beginning of an answer's body on one line."""
    text = answer.body[:ERROR_TEXT].decode("utf-8", "replace")
    return " ".join(text.split()) or "nothing said"

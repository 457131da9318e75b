"""The objects of kopf's lists and watches, handed over here and not through kopf's own tasks.

kopf lists, watches, and starts again when a stream ends. For that it needs only the version that was reached.
It would give each object a queue and a task, which cost more than what is done with the object.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
import orjson

from chains.cluster.paging import Pages, is_large, read_some
from chains.documents.decode import UNREADABLE, Unreadable, decode_event, decode_page
from storage import lean_json

Seen = Callable[[str | None, dict[str, Any]], None]
"""Gets the type of an event, None for a listed object, and the object."""
_OF_OBJECTS = frozenset({"ADDED", "MODIFIED", "DELETED"})
_AT_ONCE = 25
"""Objects of a list that are handed over before other tasks of the event loop run."""
_FAILED = 400
_LONGEST_LINE = 16 * 1024 * 1024
_LARGE_ON_AVERAGE = 64 * 1024
IN_PART = "provenance.chains/in-part"
"""The member of an object that says that it is only a part of the object."""
_log = logging.getLogger("chains.observe")


class Heard:
    """When something was last heard of each watched path.

    A watch that goes on where the last one ended misses nothing. A list that takes its place misses the runs
    that came and went since then: ``interrupted`` is told that time, and the path.
    """

    def __init__(self, interrupted: Callable[[datetime, str], None] = lambda _since, _path: None) -> None:
        self._interrupted = interrupted
        self._last: dict[str, datetime] = {}

    def watched(self, path: str) -> None:
        """Note that a watch delivers."""
        self._last[path] = datetime.now(UTC)

    def listed(self, path: str) -> None:
        """Note that a list begins."""
        since = self._last.get(path)
        self._last[path] = datetime.now(UTC)
        if since is not None:
            self._interrupted(since, f"the watch of {path} began again with a list")


class Lines:
    """The stream of a watch: events go to ``seen`` at once, and kopf gets only the version that was
    reached. ``heard`` is called for each part that arrives."""

    def __init__(
        self, content: aiohttp.StreamReader, seen: Seen, heard: Callable[[], None] = lambda: None
    ) -> None:
        self._content, self._seen, self._heard = content, seen, heard

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield whole lines, each an event that kopf can decode."""
        parts: list[bytes] = []
        length = 0
        async for chunk in self._content.iter_chunked(size):
            self._heard()
            *lines, rest = chunk.split(b"\n")
            version = ""
            for line in lines:
                whole = b"".join((*parts, line))
                parts, length = [], 0
                event = _event_of(whole) if whole else None
                if event is None:
                    continue
                if event.get("type") in _OF_OBJECTS:
                    version = _told(self._seen, event["type"], event["object"]) or version
                    continue
                if version:
                    yield _bookmark(version)
                    version = ""
                yield orjson.dumps(event) + b"\n"
            if version:
                yield _bookmark(version)
            length += len(rest)
            if length <= _LONGEST_LINE:
                parts.append(rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)


def _bookmark(version: str) -> bytes:
    """Return the BOOKMARK event with the version that a watch has reached, as the API server writes it."""
    return orjson.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}) + b"\n"


def _event_of(line: bytes) -> dict[str, Any] | None:
    """Return one event, decoded within limits, so that no object ends the watch; None for an invalid line."""
    event = decode_event(line)
    found = event.get("object") if event is not None else None
    if event is None or (event.get("type") in _OF_OBJECTS and not _is_object(found)):
        _log.error("an event of the watch can neither be read nor named", extra={"begins": repr(line[:200])})
        return None
    if isinstance(found, dict) and is_large(line):
        event["object"] = _part_of(found)
    return event


def _is_object(found: object) -> bool:
    metadata = found.get("metadata") if isinstance(found, dict) else None
    return isinstance(metadata, dict) and all(
        isinstance(metadata.get(name), str) for name in ("namespace", "name", "uid")
    )


def _told(seen: Seen, event: str | None, raw: dict[str, Any]) -> str:
    """Hand an object over and return its version. A failure with one object must not end the watch of all."""
    try:
        seen(event, raw)
    except Exception:  # noqa: BLE001 - whatever it is, the others are to be seen
        name = "/".join(raw["metadata"][part] for part in ("namespace", "name"))
        _log.exception("an event of the watch was lost", extra={"run": name})
    return str(raw["metadata"].get("resourceVersion") or "")


class Requests:
    """Sends kopf's requests. The page size of a list follows the size of its pages before.

    ``seen`` has, by plural, what gets the objects; ``heard`` is told of lists and watches.
    """

    def __init__(self, seen: Mapping[str, Seen], heard: Heard | None = None) -> None:
        self.session: aiohttp.ClientSession | None = None
        self._seen, self._heard = seen, heard or Heard()
        self._pages: dict[str, Pages] = {}

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request for kopf."""
        query, seen = request.url.query, self._seen.get(request.url.name)
        if seen is not None and query.get("watch") == "true":
            answer = await handler(request)
            if answer.status < _FAILED:
                heard = partial(self._heard.watched, request.url.path)
                heard()
                answer.content = Lines(answer.content, seen, heard)  # type: ignore[assignment] # kopf asks it for chunks alone
            return answer
        if "limit" not in query:
            return await handler(request)
        pages = self._pages.setdefault(request.url.path, Pages())
        request.url = request.url.update_query(limit=pages.objects)
        answer = await handler(request)
        if seen is not None and answer.status < _FAILED and "continue" not in query:
            self._heard.listed(request.url.path)
        if isinstance(answer, Response):
            answer.pages, answer.session, answer.seen = pages, self.session, seen
        return answer


def _part_of(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the members of an object that are needed before its turn, marked with :data:`IN_PART`."""
    status, spec = raw.get("status"), raw.get("spec")
    told = {name: raw[name] for name in ("apiVersion", "kind", "metadata", UNREADABLE) if name in raw}
    if isinstance(status, dict):
        told["status"] = {name: status[name] for name in ("conditions", "completionTime") if name in status}
    if isinstance(spec, dict):
        told["spec"] = {name: spec[name] for name in ("managedBy",) if name in spec}
    return {**told, IN_PART: True}


class Response(aiohttp.ClientResponse):
    """An answer of the API server to kopf. An object that cannot be read does not affect the others."""

    pages: Pages | None = None
    session: aiohttp.ClientSession | None = None
    seen: Seen | None = None

    async def _page(self) -> bytes:
        """Return the body; of a list a page that is within the limits, with its continue token."""
        answer: aiohttp.ClientResponse = self
        pages = self.pages
        if pages is None or self.session is None or "limit" not in self.url.query:
            return await self.read()
        while True:
            asked = pages.objects
            data = await read_some(answer, pages.largest)
            if pages.takes(data) and data is not None:
                return data
            if asked == 1:
                raise aiohttp.ClientPayloadError(f"an object of {self.url.path} is larger than is read")
            answer.close()
            answer = await self.session.get(self.url, raise_for_status=True)

    async def json(self, **_: Any) -> Any:
        """Return the decoded body; of a list only its metadata, after its objects were handed over."""
        data = await self._page()
        try:
            page = await lean_json.aside(data, partial(decode_page, data))
        except Unreadable as error:
            raise orjson.JSONDecodeError(str(error), "", 0) from error
        if isinstance(page.get("items"), list):
            nameless = page["items"].count(None)
            if nameless:
                _log.error("objects of a list can neither be read nor named", extra={"count": nameless})
            page["items"] = [item for item in page["items"] if item is not None]
            if self.seen is not None:
                await self._hand_over(page, is_large=len(data) > _LARGE_ON_AVERAGE * len(page["items"]))
        return page

    async def _hand_over(self, page: dict[str, Any], *, is_large: bool) -> None:
        """Hand over the objects of a page, some at a time. kopf gets none of them."""
        items, page["items"] = page["items"], []
        assert self.seen is not None  # noqa: S101 - asked before
        for number, item in enumerate(items, 1):
            if _is_object(item):
                _told(self.seen, None, _part_of(item) if is_large else item)
            else:
                _log.error("an object of a list has no name", extra={"begins": repr(item)[:200]})
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

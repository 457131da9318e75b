"""A route of the API: what it takes, what it answers, and the handler that aiohttp calls."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import web

from chains.web.api.written import plain

Handler = Callable[[web.Request], Awaitable[Any]]
PRIVATE: Final = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
"""An answer is one viewer's own, and is asked for again each time."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or of the path with ``is_path``. ``schema`` is JSON Schema."""

    name: str
    text: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    is_path: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A route. ``answer`` is the type of what ``handler`` returns, ``errors`` are statuses of its own."""

    path: str
    summary: str
    text: str
    answer: type
    handler: Handler
    parameters: Sequence[Parameter] = ()
    errors: Sequence[int] = ()

    @property
    def name(self) -> str:
        """Its operation: ``getSearch``."""
        first = self.path.removeprefix("/api/v1/").partition("/")[0]
        return f"get{first.capitalize()}"

    async def answered(self, request: web.Request) -> web.Response:
        """Answer with JSON, or with 304 to who has it."""
        unknown = [name for name in request.query if all(name != one.name for one in self._of_query)]
        if unknown:
            known = ", ".join(one.name for one in self._of_query) or "none"
            raise web.HTTPBadRequest(text=f"unknown parameter {unknown[0][:60]!r}; known parameters: {known}")
        twice = [name for name in request.query if len(request.query.getall(name)) > 1]
        if twice:
            raise web.HTTPBadRequest(text=f"{twice[0]}: it is given twice")
        return tagged(request, orjson.dumps(plain(await self.handler(request))), "application/json")

    @property
    def _of_query(self) -> list[Parameter]:
        return [one for one in self.parameters if not one.is_path]


def tagged(request: web.Request, body: bytes, content_type: str) -> web.Response:
    """Return an answer with an ETag of its bytes, or 304 for a request that has them."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, **PRIVATE}
    given = request.headers.get("If-None-Match", "")
    if given.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in given.split(",")]:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers={"Content-Type": content_type, **headers})

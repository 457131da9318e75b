"""Style, script and icon. They are read once, and named by their content, so that browsers keep them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import web

STATIC: Final = "/static/"
"""Files for everybody, also before a login. What is not there is a plain 404: no page is made for it."""
_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SHORT: Final = 12


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    return {
        path.name: (path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(_FOLDER.iterdir())
        if path.suffix in _TYPES
    }


@cache
def static_path(name: str) -> str:
    """Return the path of a file with the digest of its content."""
    return f"{STATIC}{name}?v={hashlib.sha256(_files()[name][0]).hexdigest()[:_SHORT]}"


def add_static(application: web.Application) -> None:
    """Add the route of the files."""

    async def answer(request: web.Request) -> web.Response:
        found = _files().get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        body, content_type = found
        # for a year only under the name with the digest
        kept = "public, max-age=31536000, immutable" if request.query.get("v") else "no-cache"
        return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": kept})

    application.router.add_get(f"{STATIC}{{name}}", answer)

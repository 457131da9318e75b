"""The page of an artifact."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from chains.index.query.scope import View
from chains.web.answers.artifact import Artifact, artifact_of
from chains.web.keys import SOURCE
from chains.web.pages.page import Crumb, page
from chains.web.render.text import short
from chains.web.viewer import VIEWER

_ALGORITHM: Final = re.compile(r"[a-zA-Z0-9]{2,16}", re.ASCII)
_VALUE: Final = re.compile(r"[0-9a-f]{12,128}", re.ASCII)


async def show(request: web.Request) -> web.Response:
    """Show everything that is known about an artifact."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    digest = digest_in(request)
    now = source.clock()

    def work(view: View) -> Artifact:
        return artifact_of(view, source.place, digest, now, viewer.namespaces)

    found = await source.read(viewer, work)
    name = found.names[0] if found.names else ""
    return page(
        request,
        "artifact.html",
        f"{name}@{short(digest)}" if name else short(digest),
        crumbs=(Crumb("Search", "/search"), Crumb(name or short(digest))),
        state=found.answer.state,
        status=200 if found.hits else 404,
        found=found,
        digest=digest,
        name_of=name,
    )


def digest_in(request: web.Request) -> str:
    """Return the digest in the path. Raises an answer of HTTP for what is none."""
    algorithm, value = request.match_info["algorithm"], request.match_info["value"]
    if not _ALGORITHM.fullmatch(algorithm) or not _VALUE.fullmatch(value):
        raise web.HTTPNotFound
    return f"{algorithm}:{value}"

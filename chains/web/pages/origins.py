"""Pages of what runs used: a commit, and any other input such as a base image."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from chains.index.query.scope import View
from chains.index.query.terms import Digest, Key, Query, Term
from chains.web.answers.listing import Users, users_listed
from chains.web.keys import SOURCE
from chains.web.pages.artifact import digest_in
from chains.web.pages.page import Crumb, page
from chains.web.render import paths
from chains.web.render.text import short
from chains.web.viewer import VIEWER

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}", re.ASCII)


async def commit(request: web.Request) -> web.Response:
    """Show what was built from a commit."""
    value = request.match_info["value"]
    if not _COMMIT.fullmatch(value):
        raise web.HTTPNotFound
    query = Query((Term(Key.COMMIT, Digest(value)),))
    found = await _users(request, f"sha1:{value}", query)
    return _page(request, found, f"Commit {value[:12]}", "commit", value, query)


async def used(request: web.Request) -> web.Response:
    """Show what was made with an input."""
    digest = digest_in(request)
    algorithm, _, value = digest.partition(":")
    query = Query((Term(Key.INPUT, Digest(value, algorithm)),))
    found = await _users(request, digest, query)
    name = found.names[0] if found.names else short(digest)
    return _page(request, found, f"Input {name}", "input", digest, query)


async def _users(request: web.Request, digest: str, query: Query) -> Users:
    source, viewer = request.app[SOURCE], request[VIEWER]
    now, cursor = source.clock(), request.query.get("cursor", "")

    def work(view: View) -> Users:
        return users_listed(view, source.place, digest, query, now, viewer.namespaces, cursor)

    return await source.read(viewer, work)


def _page(
    request: web.Request, found: Users, title: str, kind: str, value: str, query: Query
) -> web.Response:
    cursor = found.answer.cursor
    return page(
        request,
        "origin.html",
        title,
        crumbs=(Crumb("Search", "/search"), Crumb(title)),
        state=found.answer.state,
        status=200 if found.answer.hits else 404,
        exports=(("CSV", paths.export(str(query), "csv")), ("JSON", paths.export(str(query), "json"))),
        api=(paths.api("/search", q=str(query), cursor=request.query.get("cursor", "")),),
        found=found,
        kind=kind,
        value=value,
        next_path=f"{request.path}?cursor={cursor}" if cursor else "",
    )

"""Pages with the runs of one pipeline, and of one namespace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiohttp import web

from chains.index.query.detail.counts import RunCount, run_count
from chains.index.query.scope import View
from chains.index.query.terms import Key, Query, Term, Word
from chains.web.answers.listing import Listing, runs_listed
from chains.web.keys import FILES, SOURCE
from chains.web.pages.page import Crumb, page
from chains.web.render import paths
from chains.web.viewer import VIEWER

_LONGEST = 2000


async def pipeline(request: web.Request) -> web.Response:
    """Show the history of a pipeline."""
    return await _listing(request, Key.PIPELINE, "Pipeline")


async def namespace(request: web.Request) -> web.Response:
    """Show the runs of a namespace, and how many of them have evidence that was confirmed."""
    return await _listing(request, Key.NAMESPACE, "Namespace")


async def _listing(request: web.Request, key: Key, label: str) -> web.Response:
    source, viewer = request.app[SOURCE], request[VIEWER]
    name = request.match_info["name"]
    if len(name) > _LONGEST:
        raise web.HTTPNotFound
    query = Query((Term(key, Word(name)),))
    now, cursor = source.clock(), request.query.get("cursor", "")

    def work(view: View) -> tuple[Listing, RunCount | None]:
        found = runs_listed(view, source.place, query, now, viewer.namespaces, cursor)
        if key is not Key.NAMESPACE:
            return found, None
        return found, run_count(view, datetime(1970, 1, 1, tzinfo=UTC), now + timedelta(days=1), name)

    found, counted = await source.read(viewer, work)
    files = request.app[FILES]
    audit = None
    if key is Key.NAMESPACE and files.audits.is_given:
        newest = (await files.audits.value()).at("")
        audit = newest.within(viewer.namespaces) if newest is not None else None
    text = str(query)
    return page(
        request,
        "listing.html",
        f"{label} {name}",
        crumbs=(Crumb("Search", "/search"), Crumb(f"{label} {name}")),
        state=found.answer.state,
        status=200 if found.answer.hits else 404,
        exports=(("CSV", paths.export(text, "csv")), ("JSON", paths.export(text, "json"))),
        api=(paths.api("/search", q=text, cursor=request.query.get("cursor", "")),),
        found=found,
        counted=counted,
        audit=audit,
        label=label,
        name_of=name,
        query=text,
        next_path=f"{request.rel_url.raw_path}?cursor={found.answer.cursor}" if found.answer.cursor else "",
    )

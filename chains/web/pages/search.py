"""The page of results, and the same filter as CSV and JSON."""

from __future__ import annotations

from typing import Final

import orjson
from aiohttp import web

from chains.errors import UsageError
from chains.index.query.answer import FIELDS, LONGEST_PAGE, PAGE, Answer
from chains.index.query.errors import QueryError
from chains.index.query.overview import Counted, values
from chains.index.query.parse import parse
from chains.index.query.report import to_csv, to_json
from chains.index.query.scope import View
from chains.index.query.terms import Key, Query, Term
from chains.web.keys import SOURCE
from chains.web.pages.page import Crumb, page
from chains.web.render import paths
from chains.web.viewer import VIEWER

FACETS: Final = (Key.NAMESPACE, Key.PIPELINE, Key.SIGNER, Key.TYPE, Key.REPO)
"""Keys whose commonest values are offered to narrow a search."""
_MOST_VALUES: Final = 6
_NO_FACETS_BEFORE: Final = 2


async def results(request: web.Request) -> web.Response:
    """Show what fits a query."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    text = request.query.get("q", "").strip()
    try:
        query = parse(text)
    except QueryError as error:
        return _misunderstood(request, text, str(error))
    cursor = request.query.get("cursor", "")
    answer = await source.ask(viewer, query, limit=_limit(request), cursor=cursor)
    facets = await _facets(request, query) if answer.count.number >= _NO_FACETS_BEFORE else []
    canonical = str(query)
    return page(
        request,
        "search.html",
        f"Search: {text}" if text else "Search",
        crumbs=(Crumb("Search", "/search"), *([Crumb(text)] if text else [])),
        state=answer.state,
        search=text,
        exports=(
            ("CSV", paths.export(canonical, "csv")),
            ("JSON", paths.export(canonical, "json")),
        ),
        answer=answer,
        chips=[(term.words, paths.search(_without(query, term))) for term in query.terms],
        facets=facets,
        next_path=paths.search(text, cursor=answer.cursor) if answer.cursor else "",
        first_path=paths.search(text) if cursor else "",
        keys=list(FIELDS),
    )


def _misunderstood(request: web.Request, text: str, error: str) -> web.Response:
    return page(
        request,
        "search_error.html",
        "Search",
        crumbs=(Crumb("Search", "/search"), Crumb("not understood")),
        status=web.HTTPBadRequest.status_code,
        search=text[:8192],
        error=error,
        keys=list(FIELDS),
    )


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(PAGE))
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= len(str(LONGEST_PAGE))):
        raise UsageError(f"limit: expected a number from 1 to {LONGEST_PAGE}")
    return int(text)


def _without(query: Query, term: Term) -> str:
    return str(Query(tuple(one for one in query.terms if one is not term)))


async def _facets(request: web.Request, query: Query) -> list[tuple[str, list[tuple[Counted, str]]]]:
    source, viewer = request.app[SOURCE], request[VIEWER]
    now = source.clock()
    keys = [key for key in FACETS if not any(not term.is_negated for term in query.of(key))]

    def work(view: View) -> list[tuple[Key, list[Counted]]]:
        return [(key, values(view, query, key, now, _MOST_VALUES)) for key in keys]

    found = []
    for key, counted in await source.read(viewer, work):
        if len(counted) > 1:
            narrowed = [
                (one, paths.search(f"{query} {key}:{paths.quoted(one.text)}".strip())) for one in counted
            ]
            found.append((key.value, narrowed))
    return found


async def as_csv(request: web.Request) -> web.Response:
    """Return the attestations that fit as CSV."""
    answer = await _exported(request)
    text = "".join(f"{line}\n" for line in to_csv(answer))
    return _download(text.encode(), "search.csv", "text/csv; charset=utf-8", answer)


async def as_json(request: web.Request) -> web.Response:
    """Return the attestations that fit as JSON."""
    answer = await _exported(request)
    told = to_json(answer)
    told["index"].pop("place")  # where it lies on the server
    return _download(orjson.dumps(told), "search.json", "application/json", answer)


async def _exported(request: web.Request) -> Answer:
    text = request.query.get("q", "")
    cursor = request.query.get("cursor", "")
    return await request.app[SOURCE].ask(request[VIEWER], text, limit=LONGEST_PAGE, cursor=cursor)


def _download(body: bytes, file: str, content_type: str, answer: Answer) -> web.Response:
    headers = {"Content-Type": content_type, "Content-Disposition": f'attachment; filename="{file}"'}
    if answer.cursor:
        # there is more than a file has; the next one begins here
        headers["X-Next-Cursor"] = answer.cursor
    return web.Response(body=body, headers=headers)

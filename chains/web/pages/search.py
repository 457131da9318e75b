"""The page of results, and the same filter as CSV and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson
from aiohttp import web

from chains.errors import UsageError
from chains.index.query.answer import FIELDS, LONGEST_PAGE, PAGE, Answer
from chains.index.query.errors import QueryError
from chains.index.query.overview import Counted
from chains.index.query.parse import parse
from chains.index.query.report import to_csv, to_json
from chains.index.query.rows import Hit
from chains.index.query.terms import Key, Query, Term
from chains.web.api.handlers import MOST_PAGE
from chains.web.keys import SOURCE
from chains.web.pages.page import Crumb, page
from chains.web.render import paths
from chains.web.viewer import VIEWER
from storage.redacted_url import shown as without_secrets

_VALUE_OF: Final[Mapping[Key, Callable[[Hit], str]]] = {
    Key.NAMESPACE: lambda hit: hit.namespace,
    Key.PIPELINE: lambda hit: hit.pipeline,
    Key.SIGNER: lambda hit: hit.signer,
    Key.TYPE: lambda hit: hit.predicate,
    Key.REPO: lambda hit: hit.repository,
}
"""Keys whose commonest values are offered to narrow a search."""
_MOST_VALUES: Final = 6


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
    facets = _facets(query, answer.hits)
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
        api=(_api(request, canonical),),
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


def _api(request: web.Request, query: str) -> tuple[str, str]:
    limit = min(_limit(request), MOST_PAGE) if "limit" in request.query else ""
    return paths.api("/search", q=query, limit=str(limit), cursor=request.query.get("cursor", ""))


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(PAGE))
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= len(str(LONGEST_PAGE))):
        raise UsageError(f"limit: expected a number from 1 to {LONGEST_PAGE}")
    return int(text)


def _without(query: Query, term: Term) -> str:
    return str(Query(tuple(one for one in query.terms if one is not term)))


def _facets(query: Query, hits: Sequence[Hit]) -> list[tuple[str, list[tuple[Counted, str]]]]:
    """Return the commonest values of what is on this page, each with the search that it narrows to.

    Those of everything that fits would take longer to count than the page itself.
    """
    found = []
    for key, value_in in _VALUE_OF.items():
        if any(not term.is_negated for term in query.of(key)):
            continue
        counted = Counter(filter(None, map(value_in, hits))).most_common(_MOST_VALUES)
        if len(counted) > 1:
            narrowed = [
                (Counted(text, number), paths.search(f"{query} {key}:{paths.quoted(text)}".strip()))
                for text, number in counted
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
    for one in told["index"]["stores"]:
        one["url"] = without_secrets(one["url"])
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

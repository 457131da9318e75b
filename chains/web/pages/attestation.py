"""The page of one attestation, and its raw bytes to download."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from aiohttp import web

from chains.index.query.detail.evidence import Details, details_of, position_of_digest
from chains.index.query.detail.trust import Trusted, trusted_of
from chains.index.query.rows import Hit, hits
from chains.index.query.scope import View
from chains.index.query.state import IndexState, state_of
from chains.web.answers.statements import Read, read_all, tree_of, wanted_of
from chains.web.keys import SOURCE
from chains.web.pages.page import Crumb, page
from chains.web.raw import Found
from chains.web.render import paths
from chains.web.render.text import short
from chains.web.render.words import type_name
from chains.web.viewer import VIEWER

_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COPIES: Final = 4
RAW_HEADERS: Final = {
    "Content-Type": "application/octet-stream",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
"""Headers of bytes of others: a browser saves them, and never shows them."""


async def show(request: web.Request) -> web.Response:
    """Show the statement, who signed it, where it lies, and what was checked."""
    hit, details, state, trusted = await _found(request)
    found = await request.app[SOURCE].raw.fetch(request[VIEWER], [wanted_of(hit, details)])
    read = read_all([hit], {hit.position.id: details}, found)[0]
    return page(
        request,
        "attestation.html",
        f"{type_name(hit.predicate)} {short(hit.digest)}",
        crumbs=(Crumb("Search", "/search"), Crumb(f"{type_name(hit.predicate)} {short(hit.digest)}")),
        state=state,
        api=(paths.api(paths.attestation(hit.digest)),),
        hit=hit,
        details=details,
        trusted=trusted,
        read=read,
        statement_digest=hashlib.sha256(read.payload).hexdigest(),
        problems=found.problems,
        content=tree_of(read.payload) if read.payload else None,
    )


async def statement(request: web.Request) -> web.Response:
    """Give the signed bytes of the statement."""
    hit, details, read = await _read(request)
    if not read.payload:
        raise web.HTTPNotFound
    del details
    return download(read.payload, f"{hit.digest.replace(':', '-')}.statement.json")


async def copy(request: web.Request) -> web.Response:
    """Give the bytes of one stored copy, exactly as the store has them."""
    hit, details, _, _ = await _found(request)
    digest = f"sha256:{request.match_info['copy']}"
    wanted = [one for one in details.copies if one.digest == digest]
    if not wanted:
        raise web.HTTPNotFound
    asked = wanted_of(hit, Details(tuple(wanted)), _COPIES)
    found = await request.app[SOURCE].raw.fetch(request[VIEWER], [asked])
    evidence = found.evidence.get(digest)
    if evidence is None:
        raise web.HTTPNotFound
    kind = "bundle" if evidence.is_bundle else evidence.format
    return download(evidence.data, f"{digest.replace(':', '-')}.{kind}.json")


def download(body: bytes, name: str) -> web.Response:
    """Return the answer with bytes that a browser saves under a name."""
    headers = {**RAW_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(body=body, headers=headers)


async def _read(request: web.Request) -> tuple[Hit, Details, Read]:
    hit, details, _, _ = await _found(request)
    found: Found = await request.app[SOURCE].raw.fetch(request[VIEWER], [wanted_of(hit, details, _COPIES)])
    return hit, details, read_all([hit], {hit.position.id: details}, found)[0]


async def _found(request: web.Request) -> tuple[Hit, Details, IndexState, Trusted]:
    """Return the attestation in the path. Raises an answer of HTTP for none that may be seen."""
    value = request.match_info["value"]
    if not _HEX.fullmatch(value):
        raise web.HTTPNotFound

    def work(view: View) -> Any:
        position = position_of_digest(view, f"sha256:{value}")
        if position is None:
            return None
        found = hits(view, [position])
        if not found:
            return None
        return found[0], details_of(view, [position.id])[position.id], state_of(view), trusted_of(view)

    answer: tuple[Hit, Details, IndexState, Trusted] | None = await request.app[SOURCE].read(
        request[VIEWER], work
    )
    if answer is None:
        raise web.HTTPNotFound
    return answer

"""Pages of keys and identities."""

from __future__ import annotations

import re

from aiohttp import web

from chains.index.query.scope import View
from chains.index.query.terms import Key, Query, Term, Word
from chains.web.answers.signers import Signer, Signers, signer_of, signers_of
from chains.web.keys import SOURCE
from chains.web.pages.attestation import download
from chains.web.pages.page import Crumb, page
from chains.web.render import paths
from chains.web.render.words import signer_words
from chains.web.viewer import VIEWER

_LONGEST = 4000


async def every(request: web.Request) -> web.Response:
    """Show whom the index trusts, and whose signatures verified."""
    found: Signers = await request.app[SOURCE].read(request[VIEWER], signers_of)
    return page(
        request,
        "signers.html",
        "Keys and identities",
        crumbs=(Crumb("Keys and identities"),),
        state=found.state,
        found=found,
    )


async def one(request: web.Request) -> web.Response:
    """Show one signer."""
    source, viewer = request.app[SOURCE], request[VIEWER]
    text = _signer(request)
    now, cursor = source.clock(), request.query.get("cursor", "")

    def work(view: View) -> Signer:
        return signer_of(view, source.place, text, now, viewer.namespaces, cursor)

    found = await source.read(viewer, work)
    kind, who, issuer = signer_words(text)
    query = str(Query((Term(Key.SIGNER, Word(text)),)))
    title = f"{kind.capitalize()} {who}"
    return page(
        request,
        "signer.html",
        title,
        crumbs=(Crumb("Keys and identities", "/signers"), Crumb(title)),
        state=found.answer.state,
        status=200 if found.key or found.answer.hits else 404,
        exports=(("CSV", paths.export(query, "csv")), ("JSON", paths.export(query, "json"))),
        api=(paths.api("/search", q=query, cursor=request.query.get("cursor", "")),),
        found=found,
        kind=kind,
        who=who,
        issuer=issuer,
        next_path=f"{paths.signer(text)}?cursor={found.answer.cursor}" if found.answer.cursor else "",
    )


async def key(request: web.Request) -> web.Response:
    """Give a trusted public key as PEM."""
    text = _signer(request)
    found: Signers = await request.app[SOURCE].read(request[VIEWER], signers_of)
    for known in found.keys:
        if known.keyid == text:
            name = re.sub(r"[^A-Za-z0-9]+", "-", text)[:60].strip("-")
            return download(known.key.pem.encode(), f"{name}.pub")
    raise web.HTTPNotFound


def _signer(request: web.Request) -> str:
    text = request.match_info["signer"]
    if len(text) > _LONGEST:
        raise web.HTTPNotFound
    return text

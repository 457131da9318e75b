"""What every page has: title, way to it, search field, and from when its data are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from chains.index.query.state import IndexState
from chains.web.keys import API, LOGOUT
from chains.web.render.environment import render
from chains.web.static_files import static_path
from storage.redacted_url import shown as without_secrets

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
"""A field of one line has none of them."""
_HTML: Final = "text/html; charset=utf-8"
NAVIGATION: Final = (
    ("Overview", "/"),
    ("Search", "/search"),
    ("Gaps", "/gaps"),
    ("Ledger", "/ledger"),
    ("Signers", "/signers"),
    ("Policies", "/policies"),
    ("Reports", "/reports"),
    ("Controls", "/controls"),
    ("About", "/about"),
)
"""The pages that every page links."""


@dataclass(frozen=True, slots=True)
class Crumb:
    """A step of the way to a page. Without a ``path`` it is the page itself."""

    label: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Behind:
    """A store as the line "as of" tells it."""

    url: str
    updated: int
    behind: int | None
    is_whole: bool


def page(
    request: web.Request,
    template: str,
    title: str,
    *,
    crumbs: Sequence[Crumb] = (),
    state: IndexState | None = None,
    status: int = 200,
    search: str = "",
    exports: Sequence[tuple[str, str]] = (),
    api: Sequence[tuple[str, str]] = (),
    **values: Any,
) -> web.Response:
    """Return the answer with a page.

    ``state`` is that of the index, None for a page that is not from it. ``search`` is the text in the search
    field. ``exports`` are names and paths of the same data in other forms, ``api`` are those of
    the same data in the API, below its base.
    """
    stores = [] if state is None else [
        Behind(without_secrets(one.url), one.updated, one.behind, one.is_whole) for one in state.stores
    ]  # fmt: skip
    base = request.app.get(API, "")
    text = render(
        template,
        {
            "title": title,
            "crumbs": (Crumb("Overview", "/"), *crumbs) if crumbs else (),
            "state": state,
            "stores": stores,
            "navigation": NAVIGATION,
            "here": _section(request.path),
            # one slash: two would lead to another host
            "permalink": f"/{str(request.rel_url).lstrip('/')}",
            "search_text": _CONTROLS.sub(" ", search),
            "exports": exports,
            "api": [(label, f"{base}{path}") for label, path in api] if base else (),
            "logout": request.app.get(LOGOUT, ""),
            "style": static_path("style.css"),
            "script": static_path("comfort.js"),
            "icon": static_path("icon.svg"),
            **values,
        },
    )
    return web.Response(body=text.encode(), status=status, headers={"Content-Type": _HTML})


def failure_page(request: web.Request, status: int, title: str, text: str, next_step: str) -> web.Response:
    """Return the answer with what went wrong, and what to do next."""
    return page(
        request,
        "failure.html",
        title,
        crumbs=(Crumb(title),),
        status=status,
        search=request.query.get("q", "")[:8192],
        text=text,
        next_step=next_step,
    )


def _section(path: str) -> str:
    first = "/" + path.split("/")[1] if path != "/" else "/"
    return {"/signer": "/signers", "/policy": "/policies"}.get(first, first)

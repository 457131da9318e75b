"""The built site: its files, and what every page has, defines and leads to."""

from __future__ import annotations

import posixpath
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

STRUCTURE = frozenset(
    "h1 h2 h3 h4 table tr th td li ol ul pre code a img strong em blockquote".split()  # noqa: SIM905
)
"""Elements that a page has as often in the site as on a plain view of the repository."""
_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}


@dataclass
class BuiltPage:
    """One page of HTML."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    """What a browser fetches to show the page."""
    structure: Counter[str] = field(default_factory=Counter)
    """How often each element is in the text of the page."""


class _Reader(HTMLParser):
    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.page, self._within = BuiltPage(), whole

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._within = self._within or tag == "article"
        self.page.anchors.update(given[name] for name in ("id", "name") if given.get(name))
        if tag == "a" and "href" in given:
            self.page.links.append(given["href"])
        if _LOADED.get(tag) in given and "canonical" not in given.get("rel", ""):
            self.page.loaded.append(given[_LOADED[tag]])
        if self._within and tag in STRUCTURE and "headerlink" not in given.get("class", ""):
            self.page.structure[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        self._within = self._within and tag != "article"


def read(html: str, *, whole: bool = False) -> BuiltPage:
    """Read a page. Its structure is that of its ``<article>``, or of everything."""
    reader = _Reader(whole=whole)
    reader.feed(html)
    return reader.page


def read_site(folder: Path) -> dict[str, BuiltPage]:
    """Read every page, by its path in the site."""
    return {
        file.relative_to(folder).as_posix(): read(file.read_text(encoding="utf-8"))
        for file in sorted(folder.rglob("*.html"))
    }


def dead(folder: Path, pages: dict[str, BuiltPage]) -> list[str]:
    """Return each link and each loaded file that is not there, as ``PAGE: ADDRESS``."""
    return [
        f"{path}: {address}"
        for path, page in pages.items()
        for address in [*page.links, *page.loaded]
        if not _leads_somewhere(folder, pages, path, address)
    ]


def _leads_somewhere(folder: Path, pages: dict[str, BuiltPage], page: str, address: str) -> bool:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return True  # in another site; what is loaded from there is another question
    # the page for unknown addresses is shown at any of them, so its own addresses begin at the site's top
    here = "" if page == "404.html" else posixpath.dirname(page)
    path = posixpath.normpath(posixpath.join(here, unquote(parts.path).lstrip("/" if not here else "")))
    path = page if not parts.path else path
    if (folder / path).is_dir():
        path = posixpath.normpath(f"{path}/index.html")
    if not (folder / path).is_file():
        return False
    return not parts.fragment or path not in pages or unquote(parts.fragment) in pages[path].anchors


def foreign(pages: dict[str, BuiltPage]) -> list[str]:
    """Return what browsers would fetch from another site, as ``PAGE: ADDRESS``."""
    return [
        f"{path}: {address}"
        for path, page in pages.items()
        for address in page.loaded
        if urlsplit(address).netloc
    ]

"""What the site needs beyond the pages in ``docs/``: pages and files of other folders, and their links.

The pages are written for a plain view of the repository: a link is a path from the page's own file. The
site has other paths, so this hook of mkdocs maps them. There is no other plugin, so that the pages can be
moved to another generator.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""
_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "deploy/**/*.md", "examples/*.md")
"""Pages outside ``docs/``. They keep their path; a README becomes the page of its folder."""
_FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(?=[)\s])")
_ITEM = re.compile(r"(?:[-*]|\d+\.) +")
_FENCE_MARK = re.compile(r"`{3,}|~{3,}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
DECISIONS = "docs/decisions/README.md"
"""Made while the site is built: the list of decisions. On a plain view, the folder is that list."""


def slug(heading: str, separator: str = "-") -> str:
    """Return the anchor that code hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def outer_pages() -> list[str]:
    """Return the pages outside ``docs/`` as paths in the repository."""
    found = {page for pattern in _PAGES for page in ROOT.glob(pattern)}
    return sorted(page.relative_to(ROOT).as_posix() for page in found)


def site_path(path: str) -> str:
    """Return where a file of the repository is in the site. Its README is the site's first page."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/")


def repository_path(source: str) -> str:
    """Return the file of the repository behind a page of the site."""
    return source if source in outer_pages() else f"docs/{source}"


def target_of(page: str, link: str) -> str:
    """Return what a relative link on a page leads to, as a path in the repository; a folder to its README."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return f"{path}/README.md" if (ROOT / path).is_dir() else path


def links(text: str) -> Iterator[re.Match[str]]:
    """Find the links to files of the repository: group 2 is the address. Code is passed over."""
    blind = _blank(_CODE, _blank(_FENCE, text))
    for found in _LINK.finditer(blind):
        if not _SCHEME.match(found[2]) and not found[2].startswith("#"):
            yield found


def _blank(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def rewritten(page: str, text: str) -> str:
    """Return a page of the repository with links for the site."""
    parts, end = [], 0
    here = posixpath.dirname(site_path(page)) or "."
    for found in links(text):
        path, mark, anchor = found[2].partition("#")
        to = site_path(target_of(page, path))
        parts += [text[end : found.start(2)], posixpath.relpath(to, here), mark, anchor]
        end = found.end(2)
    return "".join([*parts, text[end:]])


def with_lists(text: str) -> str:
    """Return a page with its lists as mkdocs reads them.

    On a plain view, what is in an item begins below its text, and a list needs no empty line before it.
    mkdocs wants four spaces for each level, and the empty line.
    """
    lines: list[str] = []
    columns: list[int] = []  # where the content of each open item begins
    fence, apart = "", False  # apart: an item of this list has several paragraphs
    for line in text.split("\n"):
        bare = line.lstrip(" ")
        indent, item, open_items = len(line) - len(bare), _ITEM.match(bare), len(columns)
        if bare and not fence:
            while columns and indent < columns[-1]:
                columns.pop()
        apart = apart or (not bare and bool(columns))
        beyond = max(indent - columns[-1], 0) if columns else indent
        if mark := _FENCE_MARK.match(bare):
            fence = fence if fence and not mark[0].startswith(fence) else "" if fence else mark[0]
        elif item and not fence:
            apart = apart and bool(open_items)
            if lines and lines[-1] and (apart or not open_items):
                lines.append("")
            beyond = 0
        lines.append(" " * (4 * len(columns) + beyond) + bare if bare else "")
        if item and not fence and not mark:
            columns.append(indent + item.end())
    return "\n".join(lines)


def decisions_page() -> str:
    """Return the list of decisions, the newest first."""
    rows = []
    for page in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"), reverse=True):
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        number, _, words = title.partition(". ")
        rows.append(f"| {number} | [{words}]({page.name}) |")
    intro = "Why things are as they are. A decision is not changed afterwards; a later one replaces it."
    return "\n".join(["# Decisions", "", intro, "", "| | |", "| --- | --- |", *rows, ""])


def linked_files(pages: Iterable[str]) -> set[str]:
    """Return the files that pages link to and that are no pages: examples, manifests, schemas, sources."""
    found = set()
    for page in pages:
        for link in links((ROOT / page).read_text(encoding="utf-8")):
            path = target_of(page, link[2].partition("#")[0])
            if not path.endswith(".md") and (ROOT / path).is_file():
                found.add(path)
            elif path.endswith("/README.md") and path != DECISIONS and not (ROOT / path).exists():
                folder = (ROOT / path).parent
                found |= {one.relative_to(ROOT).as_posix() for one in folder.rglob("*") if one.is_file()}
    return found


def listings(pages: Iterable[str]) -> dict[str, str]:
    """Return a page for each folder that pages link to and that has no README: the list of its files."""
    made = {}
    for page in pages:
        for link in links((ROOT / page).read_text(encoding="utf-8")):
            path = target_of(page, link[2].partition("#")[0])
            if path.endswith("/README.md") and path != DECISIONS and not (ROOT / path).exists():
                folder = (ROOT / path).parent
                names = sorted(
                    one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()
                )
                rows = [f"- [{name}]({name})" for name in names]
                made[path] = "\n".join([f"# {folder.relative_to(ROOT)}", "", *rows, ""])
    return made


# what mkdocs calls


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Use the anchors of code hosts, and leave pages out of the navigation that are not written yet."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    config.nav = _existing(config.nav)
    return config


def _existing(entries: list[Any]) -> list[Any]:
    kept = []
    for entry in entries:
        title, value = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
        if isinstance(value, list):
            kept.append({title: _existing(value)})
        elif (path := repository_path(value)) == DECISIONS or (ROOT / path).is_file():
            kept.append(entry)
    return kept


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of other folders, and the files that pages link to."""
    pages = outer_pages()
    inner = [f"docs/{file.src_uri}" for file in files if file.src_uri.endswith(".md")]
    for path in [*pages, *sorted(linked_files([*pages, *inner]))]:
        if files.get_file_from_path(site_path(path)) is None:
            files.append(File.generated(config, site_path(path), abs_src_path=str(ROOT / path)))
    for path, text in listings([*pages, *inner]).items():
        files.append(File.generated(config, site_path(path), content=text))
    files.append(File.generated(config, site_path(DECISIONS), content=decisions_page()))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Rewrite the page's links. A page that was made has links of the site."""
    if not (ROOT / repository_path(page.file.src_uri)).is_file():
        return with_lists(markdown)
    return with_lists(rewritten(repository_path(page.file.src_uri), markdown))

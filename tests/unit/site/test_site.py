"""The documentation as a site: it builds, leads nowhere dead, loads nothing from elsewhere, and has every page."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.unit.site.built import STRUCTURE, BuiltPage, dead, foreign, read, read_site

ROOT = Path(__file__).parents[3]
MARKDOWN = MarkdownIt("commonmark").enable("table")
"""Reads pages as code hosts do."""


def load_hooks() -> ModuleType:
    """Import the hooks as mkdocs does: from their file."""
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()
SETTINGS: dict[str, Any] = yaml.load(
    (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by the command that the project documents."""
    folder = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).with_name("mkdocs")
    done = subprocess.run(
        [str(mkdocs), "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, BuiltPage]:
    return read_site(site)


def sources(pages: dict[str, BuiltPage]) -> Iterator[tuple[str, Path]]:
    """The path in the site of each page that is written, and its file."""
    for path in pages:
        stem = path.removesuffix(".html")
        for source in (f"{stem}.md", f"{stem.removesuffix('index')}README.md"):
            file = ROOT / hooks.repository_path(source)
            if file.is_file():
                yield path, file
                break


def entries(tree: list[Any]) -> Iterator[str]:
    """The pages of the navigation."""
    for entry in tree:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(value, list):
            yield from entries(value)
        else:
            yield value


def test_every_link_anchor_and_picture_of_the_site_is_there(site: Path, pages: dict[str, BuiltPage]) -> None:
    assert dead(site, pages) == []
    assert sum(len(page.links) for page in pages.values()) > 3000
    assert any(address.endswith(".png") for page in pages.values() for address in page.loaded)


def test_no_page_loads_anything_from_elsewhere(site: Path, pages: dict[str, BuiltPage]) -> None:
    assert foreign(pages) == []
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", styles) == []


def test_every_page_reads_as_on_a_plain_view_of_the_repository(pages: dict[str, BuiltPage]) -> None:
    compared, different = 0, {}
    for path, file in sources(pages):
        plain = read(MARKDOWN.render(file.read_text(encoding="utf-8")), whole=True).structure
        compared += 1
        if plain != pages[path].structure:
            names = [name for name in STRUCTURE if plain[name] != pages[path].structure[name]]
            different[path] = {name: (plain[name], pages[path].structure[name]) for name in names}
    assert different == {}
    written = [file.relative_to(ROOT).as_posix() for _, file in sources(pages)]
    # lists of decisions and of folders are made, and so is the page for unknown addresses
    assert compared == len(pages) - 2 - len(hooks.listings(written))


def test_every_page_is_in_the_navigation_or_in_a_list_that_is() -> None:
    written = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    listed = set(entries(SETTINGS["nav"]))
    patterns = [pattern.lstrip("/") for pattern in SETTINGS["not_in_nav"].split()]
    unlisted = {page for page in written if any(fnmatch.fnmatch(page, pattern) for pattern in patterns)}
    assert sorted({*written, *hooks.outer_pages()} - listed - unlisted) == [], "add them to nav in mkdocs.yml"
    double = [page for page, times in Counter(entries(SETTINGS["nav"])).items() if times > 1]
    assert double == []


@pytest.mark.parametrize(
    "body",
    [
        '<a href="other.html">x</a>',
        '<a href="page.html#two">x</a>',
        '<a href="#two">x</a>',
        '<img src="picture.png">',
        '<a href="../page.html">x</a>',
    ],
)
def test_a_dead_link_anchor_or_picture_is_found(body: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(f'<h1 id="one">One</h1><a href="page.html#one">fine</a>{body}')
    address = re.findall(r'(?:href|src)="([^"]+)"', body)[0]
    assert dead(tmp_path, read_site(tmp_path)) == [f"page.html: {address}"]


def test_what_is_loaded_from_elsewhere_is_found() -> None:
    page = read('<script src="//cdn.example/x.js"></script><a href="https://example.com">fine</a>')
    assert foreign({"page.html": page}) == ["page.html: //cdn.example/x.js"]


def test_links_lead_to_the_same_place_in_the_site() -> None:
    text = (
        "[a](../deploy/README.md#images) `[b](c.md)` [d](verify.md) [e](https://example.com) [f](decisions/)"
    )
    assert hooks.rewritten("docs/policy.md", text) == (
        "[a](deploy/README.md#images) `[b](c.md)` [d](verify.md) [e](https://example.com) [f](decisions/README.md)"
    )
    assert hooks.rewritten("deploy/README.md", "[a](../docs/verify.md)") == "[a](../verify.md)"
    assert hooks.rewritten("docs/decisions/0001-x.md", "[a](../../README.md)") == "[a](../index.md)"


def test_lists_are_written_as_mkdocs_reads_them() -> None:
    text = "Text:\n- one\n  goes on\n\n  ```sh\n  - no item\n  ```\n- two\n\nEnd"
    assert hooks.with_lists(text) == (
        "Text:\n\n- one\n    goes on\n\n    ```sh\n    - no item\n    ```\n\n- two\n\nEnd"
    )

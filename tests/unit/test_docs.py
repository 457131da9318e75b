"""Documents: every link, anchor and path that a page names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/*.md")
    for page in ROOT.glob(pattern)
)
every_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:chains|signers|storage|tests|docs|deploy|examples)/[\w./-]+)`")


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing(page: Path, link: str) -> bool:
    """Whether a link within the repository leads to no file, or to no heading of it."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


@every_page
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    links = [link for link in _LINK.findall(prose(page)) if not re.match(r"[a-z]+:", link)]
    assert [link for link in links if missing(page, link)] == []


@every_page
def test_every_path_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    # the changelog and the decisions also tell of rooms that are to come or are gone
    paths = (
        [] if page.name == "CHANGELOG.md" or page.parent.name == "decisions" else _PATH.findall(prose(page))
    )
    coming = {f"chains/{room}/" for room in ("policy", "index", "audit", "report", "admission", "web")}
    assert [path for path in paths if path not in coming and not (ROOT / path).exists()] == []


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`, three\n")
    assert not missing(page, "#one-two-three")
    assert not missing(page, "page.md#one-two-three")
    assert missing(page, "page.md#two")
    assert missing(page, "other.md")


def test_every_decision_has_a_number_of_its_own_which_its_title_repeats() -> None:
    numbers = []
    for page in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        numbers.append(page.name[:4])
        assert page.read_text(encoding="utf-8").startswith(f"# {int(page.name[:4])}. "), page.name
    assert len(set(numbers)) == len(numbers)

"""The HTML of a report in real programs: the Nu Html Checker, and Chromium with hostile text in every field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from chains.report.document.file import Document
from chains.report.forms.html import html_files
from tests.testbed.npm import html_problems
from tests.unit.chains.report.hostile import hostile
from tests.unit.chains.report.made import report_of

CHROMIUM = "/usr/bin/chromium"
# the checker does not compare the digests of a policy with those of inline styles, Chromium does; names are shown
# as they are, and not in a normal form
LEFT_OUT = (
    "Inline style violates Content Security Policy (meta tag)",
    "Text run is not in Unicode Normalization",
    # its guess of a language, where the text is that of strangers
    "This document appears to be written in",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "world").mkdir()
    document = report_of(folder / "world")
    found = {}
    for name, one in (("good", document), ("hostile", hostile(document)), ("empty", empty(document))):
        found[name] = folder / f"{name}.html"
        found[name].write_bytes(b"".join(part for file in html_files(one) for part in file.parts))
    return found


def empty(document: Document) -> Document:
    """Return a report of a period in which nothing ran, and of which nothing is known."""
    head: Any = dict(document.head)
    lists = (
        "namespaces", "days", "namespaceDays", "reasons", "levels", "keys", "figures", "controls", "cited",
    )  # fmt: skip
    head |= {name: [] for name in lists}
    unknown = ("latencies", "keyChanges", "revocations", "exemptions", "dispositions", "configuration")
    head |= dict.fromkeys((*unknown, "coverage"))
    head["counts"] = dict.fromkeys(head["counts"], 0)
    return Document.of(head)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_the_checker_of_html_finds_nothing(pages: dict[str, Path]) -> None:
    found = [one for one in html_problems(*pages.values()) if not one["message"].startswith(LEFT_OUT)]
    assert found == []


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_runs_nothing_is_asked_for_and_nothing_is_cut_off(
    pages: dict[str, Path], browser: Browser, width: int
) -> None:
    for name, path in pages.items():
        page = browser.new_page(viewport={"width": width, "height": 800})
        told: list[str] = []
        page.on("request", lambda request, told=told: told.append(f"request {request.url}"))
        page.on("console", lambda message, told=told: told.append(f"console {message.text}"))
        page.on("pageerror", lambda error, told=told: told.append(f"error {error}"))
        page.on("dialog", lambda dialog, told=told: (told.append("dialog"), dialog.dismiss()))
        page.goto(path.as_uri())
        assert told == [f"request {path.as_uri()}"], name
        # the style counts: its digest is the one of the policy
        assert page.evaluate("getComputedStyle(document.querySelector('.answer')).borderLeftWidth") == "8px"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.locator("section").count() >= 14
        page.close()


def test_the_page_is_printed_without_its_navigation_and_read_in_the_dark(
    pages: dict[str, Path], browser: Browser
) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(pages["good"].as_uri())
    ink = "getComputedStyle(document.body).color"
    assert page.evaluate(ink) == "rgb(232, 235, 238)"
    page.emulate_media(media="print")
    assert page.evaluate(ink) == "rgb(0, 0, 0)"
    assert not page.locator("nav").is_visible()
    assert page.locator("#coverage svg").first.is_visible()
    page.close()

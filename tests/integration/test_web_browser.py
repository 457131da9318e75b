"""The pages in a real Chromium: with and without scripts, on a phone, in the dark, by keyboard, and full of hostile text.

The pages are visited once for all tests; each test then looks at one kind of finding.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from chains.assembly.trust import open_listed_keys
from chains.web.application import application
from chains.web.source import Source
from tests.testbed.browser import ARGUMENTS, axe_source, chromium
from tests.testbed.npm import html_problems
from tests.unit.chains.index.made import UID
from tests.unit.chains.web.hostile import corpus, make_hostile_world
from tests.unit.chains.web.world import EXAMPLES, World, inside, make_world

pytestmark = pytest.mark.server
PHONE = {"width": 360, "height": 740}
SERIOUS = frozenset({"serious", "critical"})
_AXE = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations.map(v => [v.id, v.impact, v.nodes.slice(0, 3).map(n => n.html)])"
_WIDE = """() => document.documentElement.scrollWidth - document.documentElement.clientWidth"""


@dataclass
class Visited:
    """What was found on the pages, by their path."""

    console: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    access: dict[str, Any] = field(default_factory=dict)
    wide: dict[str, int] = field(default_factory=dict)
    without_scripts: dict[str, str] = field(default_factory=dict)
    html: list[Path] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[tuple[str, Browser]]:
    """Give the address of the pages and a browser."""
    source = Source(world.settings.index)
    async with TestServer(application(source, world.settings)) as server, async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        try:
            yield str(server.make_url("")).rstrip("/"), browser
        finally:
            await browser.close()
            await source.close()


def watch(page: Page, base: str, found: Visited) -> None:
    """Note every message of the console, every error, and every request that leaves."""
    page.on("console", lambda message: found.console.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: found.console.append(f"{page.url}: {error}"))
    page.on("dialog", lambda dialog: found.console.append(f"{page.url}: dialog {dialog.message}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((base, "data:"))
            else found.outside.append(f"{page.url}: {request.url}")
        ),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The browser with everything that it can show: an audit, a ledger, records, policies and a report."""
    made = make_world(tmp_path_factory.mktemp("pages"))
    with inside(made.folder):
        keys = open_listed_keys([str(EXAMPLES / "ledger/ledger.pub")])
    made.settings = replace(
        made.settings,
        records=(made.folder / "pipelinerun.json",),
        ledger=EXAMPLES / "ledger",
        ledger_keys=keys,
    )
    return made


async def paths_of(page: Page, base: str, world: World) -> list[str]:
    """Return a page of each kind."""
    await page.goto(f"{base}/run/{world.uids['taskrun-image']}")
    html = await page.content()

    def first(pattern: str) -> str:
        match = re.search(pattern, html)
        assert match is not None, pattern
        return match[1]

    return [
        "/", "/?days=365", "/search", "/search?q=verdict:failed", "/search?q=nosuchthing", "/search?q=colour:blue",
        f"/run/{world.uids['taskrun-image']}", f"/run/{world.uids['pipelinerun']}", f"/run/{world.uids['taskrun-failed']}",
        first(r'href="(/artifact/sha256/[0-9a-f]{64})"'), first(r'href="(/attestation/sha256/[0-9a-f]{64})"'),
        first(r'href="(/input/sha256/[0-9a-f]{64})"'), first(r'href="(/commit/[0-9a-f]{40})"'),
        "/artifact/sha256/" + "0" * 64, "/namespace/ci", "/signers", first(r'href="(/signer/[^"/]+)"'), "/gaps", "/policies",
        "/ledger", "/ledger/2026-03-04", "/reports", "/controls", "/about", "/nowhere",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def visited(world: World, tmp_path_factory: pytest.TempPathFactory) -> Visited:
    """Visit a page of each kind: in the light and the dark with axe, on a phone, and without scripts."""
    found, axe = Visited(), axe_source()
    folder = tmp_path_factory.mktemp("html")

    async def visit() -> None:
        async with serving(world) as (base, browser):
            light = await browser.new_context(viewport={"width": 1280, "height": 900})
            dark = await browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark")
            phone = await browser.new_context(viewport=PHONE, java_script_enabled=True)  # type: ignore[arg-type]
            plain = await browser.new_context(java_script_enabled=False)
            found.pages = await paths_of(await light.new_page(), base, world)
            contexts: list[BrowserContext] = [light, dark, phone, plain]
            for context in contexts:
                page = await context.new_page()
                watch(page, base, found)
                for place, path in enumerate(found.pages):
                    if context is dark and place % 3:
                        continue
                    answer = await page.goto(base + path)
                    assert answer is not None
                    if context is light:
                        file = folder / f"{place}.html"
                        file.write_bytes(await answer.body())
                        found.html.append(file)
                    if context is plain:
                        found.without_scripts[path] = await page.inner_text("main")
                    if context is phone:
                        found.wide[path] = await page.evaluate(_WIDE)
                    # the dark has the same elements with other colours: each third page is enough
                    if context is light or (context is dark and place % 3 == 0):
                        # a checker is no script of the page: it goes past the page's policy
                        await page.evaluate(axe)
                        found.access[
                            f"{path} {'dark' if context is dark else 'light'}"
                        ] = await page.evaluate(_AXE)

    with inside(world.folder):
        asyncio.run(visit())
    return found


def test_no_page_has_an_error_in_the_console(visited: Visited) -> None:
    missing = ("/artifact/sha256/0", "/nowhere", "colour:blue")
    # a page that says 404 or 400 is told by the browser itself
    assert [one for one in visited.console if not any(path in one for path in missing)] == []


def test_no_request_leaves_to_another_host(visited: Visited) -> None:
    assert visited.outside == []


def test_axe_finds_nothing_serious_on_any_page_in_light_and_dark(visited: Visited) -> None:
    wrong = {
        path: [one for one in found if one[1] in SERIOUS]
        for path, found in visited.access.items()
        if any(one[1] in SERIOUS for one in found)
    }
    assert wrong == {}
    assert len(visited.access) == len(visited.pages) + len(visited.pages[::3])


def test_every_page_fits_a_phone(visited: Visited) -> None:
    assert {path: wide for path, wide in visited.wide.items() if wide > 0} == {}


def test_everything_is_read_without_scripts(visited: Visited) -> None:
    assert {path for path, text in visited.without_scripts.items() if len(text) < 60} == set()


def test_every_page_is_valid_html(visited: Visited) -> None:
    wrong = [one for one in html_problems(*visited.html) if one["type"] == "error"]
    assert [
        (one.get("url", "").rpartition("/")[2], one["message"], one.get("extract", "")[:120]) for one in wrong
    ] == []


def test_a_reader_with_a_keyboard_alone_gets_from_the_overview_to_a_statement(world: World) -> None:
    async def walk() -> None:
        async with serving(world) as (base, browser):
            page = await browser.new_page()
            await page.goto(base + "/")
            await page.keyboard.press("Tab")
            assert await page.evaluate("document.activeElement.className") == "skip"
            assert await page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
            await page.keyboard.press("Enter")
            assert await page.evaluate("document.activeElement.id") == "main"
            await page.keyboard.press("/")
            assert await page.evaluate("document.activeElement.id") == "q"
            await page.keyboard.type("type:provenance verdict:verified")
            await page.keyboard.press("Enter")
            await page.wait_for_url("**/search?q=*")
            for wanted in ("/artifact/", "/attestation/"):
                await tab_to(page, wanted)
                await page.keyboard.press("Enter")
                await page.wait_for_url(f"**{wanted}*/**")
            await tab_to(page, "SUMMARY")
            was_open = await page.evaluate("document.activeElement.parentElement.open")
            await page.keyboard.press("Enter")
            assert await page.evaluate("document.activeElement.parentElement.open") is not was_open

    with inside(world.folder):
        asyncio.run(walk())


async def tab_to(page: Page, wanted: str) -> None:
    """Press Tab until a link to a place, or an element of a kind, has the focus; each stop must be seen."""
    for _ in range(200):
        await page.keyboard.press("Tab")
        told = await page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.getAttribute('href') || '', e.tagName, s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
        )
        assert told[1] == "BODY" or (told[2] != "none" and told[3] >= 2), f"the focus is not seen: {told}"
        if told[0].startswith(wanted) or told[1] == wanted:
            return
    raise AssertionError(f"the keyboard does not reach {wanted}")


def test_hostile_text_runs_nothing_leaves_nothing_and_breaks_no_layout(tmp_path: Path) -> None:
    strange, found = make_hostile_world(tmp_path), Visited()
    numbers = range(0, len(corpus()), 11)

    async def visit() -> None:
        async with serving(strange) as (base, browser):
            context = await browser.new_context(viewport=PHONE)  # type: ignore[arg-type]
            page = await context.new_page()
            watch(page, base, found)
            await page.add_init_script(
                "Object.defineProperty(window, 'pwned', {set() { document.title = 'PWNED'; }});"
            )
            paths = [
                "/",
                "/search?limit=700",
                "/gaps",
                "/signers",
                *(f"/run/{UID(number)}" for number in numbers),
            ]
            for path in paths:
                await page.goto(base + path)
                found.wide[path] = await page.evaluate(_WIDE)
                assert "PWNED" not in await page.title(), path
                # a pointer over everything that has a handler or a tooltip of its own
                assert (
                    await page.evaluate(
                        "document.querySelectorAll('[onclick],[onmouseover],[onerror],[onload]').length"
                    )
                    == 0
                )
                links = await page.evaluate("[...document.links].map(l => l.protocol)")
                assert set(links) <= {"http:", "https:"}, path

    asyncio.run(visit())
    assert found.console == []
    assert found.outside == []
    assert {path: wide for path, wide in found.wide.items() if wide > 0} == {}

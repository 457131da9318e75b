"""Three hundred strings in every field of runs: none becomes markup, a link that runs, or an invisible character."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from yarl import URL

from tests.unit.chains.index.made import UID
from tests.unit.chains.web.hostile import corpus, make_hostile_world
from tests.unit.chains.web.world import Client, World

TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "body",
        "a",
        "header",
        "div",
        "svg",
        "path",
        "form",
        "label",
        "input",
        "button",
        "nav",
        "ul",
        "ol",
        "li",
        "main",
        "h1",
        "h2",
        "p",
        "span",
        "bdi",
        "code",
        "section",
        "dl",
        "dt",
        "dd",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "strong",
        "details",
        "summary",
        "time",
        "br",
        "footer",
        "circle",
        "figure",
        "figcaption",
        "pre",
        "rect",
        "text",
        "g",
        "defs",
        "marker",
        "desc",
        "pattern",
        "kbd",
    ]
)
ATTRIBUTES = frozenset(
    [
        "lang",
        "charset",
        "name",
        "content",
        "rel",
        "href",
        "type",
        "src",
        "defer",
        "class",
        "id",
        "for",
        "value",
        "placeholder",
        "autocomplete",
        "spellcheck",
        "maxlength",
        "role",
        "action",
        "method",
        "viewbox",
        "aria-hidden",
        "d",
        "aria-label",
        "aria-current",
        "tabindex",
        "title",
        "datetime",
        "scope",
        "data-label",
        "data-copy",
        "hidden",
        "cx",
        "cy",
        "r",
        "open",
        "start",
        "aria-labelledby",
        "width",
        "height",
        "x",
        "y",
        "rx",
        "fill",
        "marker-end",
        "refx",
        "refy",
        "markerwidth",
        "markerheight",
        "orient",
        "patternunits",
    ]
)
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


class Page(HTMLParser):
    """Collects what should not be in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.wrong.append(f"<{tag}>")
        self.scripts += tag == "script"
        for name, value in attrs:
            if name not in ATTRIBUTES:
                self.wrong.append(f"{tag} {name}={value!r}")
            if name in {"href", "src", "action"} and not re.match(r"/(?!/)|https?://|#|$", value or ""):
                self.wrong.append(f"{tag} {name}={value!r}")

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"<!--{data}")

    def unknown_decl(self, data: str) -> None:
        self.wrong.append(f"<!{data}")


def wrong_in(text: str) -> list[str]:
    page = Page()
    page.feed(text)
    page.close()
    invisible = _INVISIBLE.findall(text)
    told = [f"invisible {ord(one):x}" for one in invisible]
    return [*page.wrong, *told, *([] if page.scripts == 1 else ["another script"])]


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_hostile_world(tmp_path_factory.mktemp("strange"))


def test_the_corpus_has_three_hundred_strings() -> None:
    assert len(corpus()) >= 300


def test_no_string_becomes_markup_on_any_page(strange: World) -> None:
    async def work(client: Client) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        links: set[str] = set()
        paths = ["/", "/?days=365", "/gaps", "/signers", "/about", "/search?limit=2000"]
        paths += [f"/run/{UID(number)}" for number in range(len(corpus()))]
        for path in paths:
            async with client.get(path) as response:
                text = await response.text()
                assert response.status == 200, f"{path}: {response.status}"
            if wrong := wrong_in(text):
                found[path] = wrong[:5]
            # ids within the page lead nowhere else
            links.update(re.findall(r'href="(/(?:artifact|input|commit|attestation)/[^"#?]*)"', text))
            links.update(re.findall(r'href="(/(?:pipeline|namespace|signer)/[^"#?]*)"', text)[:3])
        sampled = sorted(links)
        for path in sampled[:: max(1, len(sampled) // 60)]:
            async with client.get(URL(path, encoded=True)) as response:
                text = await response.text()
                if response.headers["Content-Type"].startswith("text/html") and (wrong := wrong_in(text)):
                    found[path] = wrong[:5]
                assert response.status in {200, 404}, f"{path}: {response.status}"
        return found

    assert strange.serve(work) == {}


def test_the_strings_are_read_by_whoever_looks_for_them(strange: World) -> None:
    number = next(place for place, text in enumerate(corpus()) if text.startswith("\u202e"))
    text = strange.page(f"/run/{UID(number)}")
    assert "\\u{202e}" in text
    assert "\u202e" not in text


def test_search_terms_of_strangers_are_told_and_never_run(strange: World) -> None:
    async def work(client: Client) -> None:
        for text in corpus()[::12]:
            for query in (text, f'name:"{text}"'):
                async with client.get("/search", params={"q": query}) as response:
                    page = await response.text()
                    assert response.status in {200, 400}, (query, response.status)
                    # the search field has what was typed, so that it can be sent again
                    shown = re.sub(r'(<input id="q"[^>]* value=")[^"]*"', r'\1"', page, count=1)
                    assert shown != page or not text.strip()
                    assert wrong_in(shown) == [], query

    strange.serve(work)


def test_the_csv_runs_no_formula(strange: World) -> None:
    async def work(client: Client) -> str:
        async with client.get("/search.csv") as response:
            return await response.text()

    for line in strange.serve(work).splitlines():
        assert not re.search(r'(?:^|,)"?[=+@-]', line.replace('"-"', "")), line[:200]

"""HTML, Markdown and CSV: everything of the document is in them, and no text is more than a text."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pytest
from markdown_it import MarkdownIt

from chains.report.document.file import Document
from chains.report.document.format import STATES
from chains.report.forms.markdown import escaped
from chains.report.forms.page import page_of
from chains.report.forms.table import FORMS, open_form
from chains.text import plain
from tests.unit.chains.report.hostile import TEXTS, hostile
from tests.unit.chains.report.made import report_of

SECTIONS = (
    "scope", "population", "coverage", "runs", "artifacts", "keys", "exemptions", "configuration",
    "controls", "unknown", "limits", "figures", "cited", "repeat",
)  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    found = report_of(tmp_path_factory.mktemp("world"))
    found.head["controls"] = [
        {
            "map": "m", "framework": "Framework", "version": "1", "source": "s", "id": "C-1", "title": "title",
            "target": "t", "highest": "evidenced", "state": "partly", "reason": "why", "missing": "what",
            "facts": [{"name": "f", "says": "s", "holds": True, "query": "q"}], "queries": ["q"],
            "attestations": [],
        }
    ]  # fmt: skip
    return found


@pytest.fixture(scope="module")
def bad(document: Document) -> Document:
    return hostile(document)


def files(document: Document, form: str) -> dict[str, bytes]:
    return {one.name: b"".join(one.parts) for one in open_form(form)(document)}


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("form", ["html", "markdown", "csv"])
def test_a_form_gives_the_same_bytes_twice(document: Document, form: str) -> None:
    assert files(document, form) == files(document, form)


def test_every_named_part_is_a_section(document: Document) -> None:
    assert tuple(one.id for one in page_of(document).sections) == SECTIONS
    page = Page(files(document, "html")["report.html"].decode())
    ids = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert ids == ["answer", *SECTIONS]
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == ["#answer", *(f"#{one}" for one in SECTIONS)]


def test_the_page_has_every_run_without_evidence_with_its_reason(document: Document) -> None:
    for form, name in (("html", "report.html"), ("markdown", "report.md")):
        shown = files(document, form)[name].decode()
        for run in document.runs():
            if run["state"] != "evidenced":
                assert run["name"] in shown
                assert run["reason"] in shown.replace("&#95;", "_"), run


def test_the_page_has_no_script_no_request_and_no_style_but_its_own(document: Document) -> None:
    text = files(document, "html")["report.html"].decode()
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "input"}
    for _, attributes in page.elements:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
        assert "src" not in attributes
    (policy,) = [
        attributes["content"]
        for tag, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    expected = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy == expected
    assert "url(" not in style
    assert "@import" not in style


def test_what_is_not_known_is_told_and_never_empty(document: Document) -> None:
    page = files(document, "html")["report.html"].decode()
    assert "<td></td>" not in page
    assert '<span class="unknown">unknown</span>' in page
    for name, data in files(document, "csv").items():
        rows = list(csv.reader(StringIO(data.decode())))
        assert all(len(row) == len(rows[0]) for row in rows), name
    runs = list(csv.DictReader(StringIO(files(document, "csv")["runs.csv"].decode())))
    by_uid = {one["uid"]: one for one in document.runs() if one["uid"]}
    assert len(runs) == len(list(document.runs()))
    for row in runs:
        known = by_uid.get(row["uid"])
        if known is not None and known["level"] is None:
            assert row["level"] == "unknown"


def test_the_csv_files_have_every_row(document: Document) -> None:
    found = {
        name: list(csv.DictReader(StringIO(data.decode()))) for name, data in files(document, "csv").items()
    }
    assert [one["digest"] for one in found["attestations.csv"]] == [
        one["digest"] for one in document.attestations()
    ]
    assert [(one["digest"], one["state"]) for one in found["artifacts.csv"]] == [
        (one["digest"], one["state"]) for one in document.artifacts()
    ]
    head = document.head
    totals = {state: sum(int(one[state]) for one in found["namespaces.csv"]) for state in STATES}
    assert totals == head["counts"]
    assert {one["figure"] for one in found["figures.csv"]} == {one["id"] for one in head["figures"]}
    assert all(one["limit"] for one in found["figures.csv"])


def test_hostile_text_is_no_element_of_the_page(document: Document, bad: Document) -> None:
    good = Page(files(document, "html")["report.html"].decode())
    page = Page(files(bad, "html")["report.html"].decode())
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in good.elements} | {"ul", "li"}
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert (attributes.get("href") or "#").startswith("#")
    shown = "".join(page.text)
    for given in TEXTS:
        if len(given) < 1000 and "\n" not in given and "\ud800" not in given:
            assert plain(given) in shown, given
    for character in "\u202e\u2066\u200b\ufeff\x00\x1b\x9b\u2028":
        assert character not in shown
    assert len(shown) < 3_000_000


def test_hostile_text_is_no_formula(bad: Document) -> None:
    for name, data in files(bad, "csv").items():
        text = data.decode()
        assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\u200b]", text), name
        for row in csv.reader(StringIO(text)):
            for one in row:
                assert not one.startswith(("=", "+", "-", "@", "\t", "\r", "|", "%", "\uff1d")), (name, one)
                assert len(one) < 33_000


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the target of everything in a Markdown file, as GitHub would read it."""
    reader = MarkdownIt("gfm-like", {"linkify": False}).enable("table")
    for block in reader.parse(text):
        yield block.type, ""
        for one in block.children or ():
            yield one.type, str(one.attrs.get("href") or one.attrs.get("src") or "")


def test_hostile_text_is_no_markdown(document: Document, bad: Document) -> None:
    good = set(tokens(files(document, "markdown")["report.md"].decode()))
    text = files(bad, "markdown")["report.md"].decode()
    found = set(tokens(text))
    assert {kind for kind, _ in found} <= {kind for kind, _ in good} | {"bullet_list_open"}
    assert {target for _, target in found} <= {target for _, target in good}
    assert "html_block" not in {kind for kind, _ in found}
    assert "html_inline" not in {kind for kind, _ in found}
    assert not re.search(r"(?<![&#])@everyone|https://evil|www\.evil", text)
    for character in "\u202e\u200b\x00\x1b":
        assert character not in text


@pytest.mark.parametrize("given", TEXTS)
def test_escaped_markdown_is_read_as_the_text_itself(given: str) -> None:
    if len(given) > 1000:
        return
    given = given.encode("utf-8", "backslashreplace").decode()
    (paragraph, inline, _) = MarkdownIt("commonmark").enable("table").parse(f"x {escaped(given)}")
    assert paragraph.type == "paragraph_open"
    assert {one.type for one in inline.children or ()} <= {"text", "text_special", "softbreak"}
    assert "".join(one.content for one in inline.children or ()) == f"x {plain(given)}".rstrip()


def test_every_form_says_what_it_is_for() -> None:
    assert {"html", "markdown", "csv"} <= FORMS.keys()
    for name, (_, told) in FORMS.items():
        assert told
        assert callable(open_form(name))


def test_the_answer_is_about_every_run_only_if_a_ledger_vouches_that_none_is_unknown(
    document: Document,
) -> None:
    head = document.head
    assert head["population"]["ledgers"]
    found = []
    for code in (0, 1, 4):
        for ledgers in (head["population"]["ledgers"], []):
            population = {**head["population"], "ledgers": ledgers}
            changed = replace(document, head={**head, "exitCode": code, "population": population})
            found.append(page_of(changed).verdict)
    not_all = "Not every finished run has evidence that verifies"
    assert found == [
        "Every finished run has evidence that verifies",
        "Every finished run that the sources know has evidence that verifies",
        not_all,
        not_all,
        "It could not be decided",
        "It could not be decided",
    ]

"""The pages of a report, read back: text, tags, equal bytes; hostile text is visible and breaks nothing."""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typst
from pypdf import PdfReader

from chains.report.charts.charts import charts_of
from chains.report.charts.svg import FONT
from chains.report.controls.load import own_maps
from chains.report.controls.rows import add_controls
from chains.report.document.digest import document_digest
from chains.report.document.file import Document
from chains.report.forms.model import Bullets, Grid, Page, Pairs, Section, Words
from chains.report.forms.page import page_of
from chains.report.forms.table import FORMS, open_form
from chains.report.pdf.form import PdfError, picture, write_pdf
from chains.report.pdf.pages import page_data
from chains.report.pdf.shown import REPERTOIRE, pieces, shown
from tests.unit.chains.report.controls import made


def filled(document: Document) -> Document:
    add_controls(document, own_maps())
    return document


def read(document: Document) -> PdfReader:
    return PdfReader(io.BytesIO(write_pdf(document)))


def text_of(reader: PdfReader) -> str:
    return "\n".join(page.extract_text() for page in reader.pages)


def on_one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def whole() -> Document:
    return filled(
        made.document(
            reasons=[{"state": "missing", "reason": "no_evidence", "runs": 2}],
            namespaceDays=[
                {"namespace": "shop", "day": "2026-10-02", "evidenced": 3, "unknown": 0, "finished": 3}
            ],
            exemptions=[
                {
                    "what": "registry.example.com/shop/*", "rules": ["level"], "approver": "ciso@example.com",
                    "reason": "legacy", "reference": "RISK-12", "since": None,
                    "until": "2026-12-31T00:00:00Z", "source": "ledger", "isOver": False,
                }
            ],
            figures=[
                {
                    "id": "success-rate", "title": "Success rate", "basis": "how runs ended",
                    "limit": "a retry counts once", "known": 3, "of": 3,
                    "values": [{"name": "all runs", "value": 99, "unit": "percent"}],
                    "table": {"columns": ["pipeline", "runs"], "rows": [["release", 3], ["nightly", None]]},
                }
            ],
        )
    )  # fmt: skip


@cache
def pdf() -> bytes:
    return write_pdf(whole())


@cache
def reader() -> PdfReader:
    return PdfReader(io.BytesIO(pdf()))


@cache
def texts() -> tuple[str, ...]:
    return tuple(page.extract_text() for page in reader().pages)


def test_the_same_report_has_the_same_bytes() -> None:
    assert write_pdf(whole()) == pdf()


def test_the_form_writes_one_file_and_its_module_is_imported_when_it_is_asked_for() -> None:
    assert "pdf" in FORMS
    (file,) = open_form("pdf")(whole())
    assert file.name == "report.pdf"
    assert b"".join(file.parts) == pdf()


def test_without_typst_the_missing_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "chains.report.pdf.form")
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(ModuleNotFoundError) as raised:
        open_form("pdf")
    assert raised.value.name == "typst"


def test_it_says_that_it_is_pdf_ua_1_and_pdf_a_2a() -> None:
    metadata = reader().xmp_metadata
    assert metadata is not None
    written = metadata.stream.get_data().decode()
    assert "<pdfuaid:part>1</pdfuaid:part>" in written
    assert "<pdfaid:part>2</pdfaid:part>" in written
    assert "<pdfaid:conformance>A</pdfaid:conformance>" in written


def test_it_is_dated_by_the_report_and_not_by_the_clock() -> None:
    found = reader().metadata
    assert found is not None
    assert found["/CreationDate"].startswith("D:20261102100000")
    assert found.title == "Provenance report: Runs that ended from 2026-10-01 and before 2026-11-01 (UTC)"


def tags(node: Any) -> Iterator[str]:
    node = node.get_object()
    if isinstance(node, list):
        for each in node:
            yield from tags(each)
    elif isinstance(node, dict):
        if "/S" in node:
            yield node["/S"]
        if "/K" in node:
            yield from tags(node["/K"])


def test_it_is_tagged_with_headings_tables_and_their_headers() -> None:
    root: Any = reader().trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    found = Counter(tags(root["/StructTreeRoot"]))
    assert found["/H1"] >= 12
    assert found["/H2"] >= 15
    assert found["/Table"] >= 15
    assert found["/TH"] >= 50
    assert found["/TR"] > found["/Table"]
    assert found["/TD"] > 500
    assert found["/TOC"] == 1
    assert found["/Figure"] == len(charts_of(whole()))


def alternatives(node: Any) -> Iterator[str]:
    node = node.get_object()
    if isinstance(node, list):
        for each in node:
            yield from alternatives(each)
    elif isinstance(node, dict):
        if node.get("/S") == "/Figure":
            yield node["/Alt"]
        if "/K" in node:
            yield from alternatives(node["/K"])


def test_every_chart_is_described_for_those_who_do_not_see_it_and_has_its_numbers_beside() -> None:
    root: Any = reader().trailer["/Root"]
    charts = charts_of(whole())
    assert list(alternatives(root["/StructTreeRoot"])) == [shown(one.description) for one in charts]
    text = on_one_line("\n".join(texts()))
    for chart in charts:
        assert on_one_line(" ".join(chart.header)) in text, chart.id


def test_a_chart_has_the_fonts_and_the_characters_of_the_pages() -> None:
    svg = picture(f'<text font-family="{FONT}">\u4e2d \u202e</text>')
    assert svg == '<text font-family="Libertinus Serif, DejaVu Sans Mono">\\u4e2d \\u202e</text>'


def test_every_page_has_its_number() -> None:
    for number, text in enumerate(texts(), 1):
        assert f"Page {number} of {len(texts())}" in text


def test_it_has_contents_bookmarks_and_every_part() -> None:
    text = on_one_line("\n".join(texts()))
    for number, section in enumerate(page_of(whole()).sections, 1):
        assert text.count(f"{number} {section.title}") == 2, section.title
    assert len(reader().outline) > 13


def test_the_first_page_has_the_answer_and_the_digest_of_the_report() -> None:
    text = on_one_line(texts()[0])
    for said in (
        "Provenance report", "Runs that ended from 2026-10-01 and before 2026-11-01 (UTC)",
        "Every finished run has evidence that verifies", "Coverage: 100 %", "3 evidenced", "0 failed",
        "report time 2026-11-02T10:00:00Z", document_digest(whole()), "Contents",
    ):  # fmt: skip
        assert said in text, said


def told(page: Page) -> Iterator[str | None]:
    for section in page.sections:
        yield section.title
        for part in section.parts:
            match part:
                case Words():
                    yield part.text
                case Bullets():
                    yield from part.items
                case Pairs():
                    yield from (each for row in part.rows for each in row)
                case Grid():
                    yield part.caption
                    yield from part.header if part.rows else ()
                    yield from (each for row in part.rows for each in row)


def test_the_pages_say_everything_that_the_page_of_every_form_says() -> None:
    text = "".join("".join(texts()).split())
    for number in range(1, len(texts()) + 1):
        text = text.replace(f"Page{number}of{len(texts())}", "")
    said = [one for one in told(page_of(whole())) if one]
    assert len(said) > 500
    for one in said:
        assert "".join(shown(one).split()) in text, one


def test_a_long_digest_is_one_word_when_it_is_copied() -> None:
    text = "".join("\n".join(texts()).split())
    assert made.digest(1_000_001) in text


def test_control_states_are_words() -> None:
    text = on_one_line("\n".join(texts()))
    assert re.search(r"SI-7 detect changes of software without authority evidenced everything that is", text)
    assert re.search(r"SR-9 tamper resistance and detection not-here no report can show it", text)


def test_a_table_has_its_header_on_every_page_and_says_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chains.report.forms.page.MOST_ROWS", 100)
    found = [page.extract_text() for page in read(made.mixed(1, missing=1200)).pages]
    assert "The first 100 rows. 1,100 more are in runs.csv and report.json." in on_one_line("".join(found))
    with_rows = [page for page in found if "taskrun/shop/build-5" in page]
    assert len(with_rows) > 1
    assert all("in words" in page for page in with_rows)


def page(*parts: Any) -> Page:
    return Page("t", "p", "v", "yes", None, [("open", 1)], [], [Section("s", "Section", parts)])


def blocks(*parts: Any) -> list[Any]:
    data = page_data(page(*parts), at="2026-11-02T10:00:00Z", digest="a" * 64, tool="x 1")
    return data["blocks"][1:]  # type: ignore[no-any-return]


def test_what_is_not_known_is_said_and_an_empty_table_too() -> None:
    grid = Grid("Things", ("name", "number"), [["a", None], [None, "1,200"]], frozenset({0}))
    heading, table = blocks(grid)
    assert heading == {"kind": "heading", "level": 2, "text": "Things"}
    assert table["rows"] == [[["a"], None], [None, ["1,200"]]]
    assert [one["kind"] for one in table["columns"]] == ["code", "number"]
    assert blocks(Grid("Things", ("name",), []))[1] == {"kind": "text", "pieces": ["None."]}
    (pairs,) = blocks(Pairs([("Builder", None), ("Types", "")]))
    assert [(one["kind"], one["value"]) for one in pairs["rows"]] == [
        ("unknown", ["unknown"]),
        ("text", ["none"]),
    ]
    assert blocks(Bullets([])) == []


def test_a_table_named_as_its_section_has_one_heading() -> None:
    assert [one["kind"] for one in blocks(Grid("Section", ("name",), [["a"]]))] == ["table"]


def test_a_column_is_as_wide_as_what_cannot_be_broken() -> None:
    rows = [["a", "sha256:" + "ab" * 32, "evidenced", "x " * 200]]
    table = blocks(Grid("Things", ("n", "digest", "state", "words"), rows, frozenset({1}), 2))[1]
    shares = [one["share"] for one in table["columns"]]
    assert shares[3] > shares[1] > shares[2] > shares[0]
    assert shares[1] >= 1.1 * 16


def test_an_empty_report_has_pages() -> None:
    empty = made.document(
        0, counts=made.counts(), coverage=None, namespaces=[], days=[], levels=[], keys=[], keyChanges=None,
        revocations=None, exemptions=None, dispositions=None, configuration=None, limits=[], summary=[],
        population=made.population(sources=[], ledgers=[], runs=0, finished=0, imagesAsked=0),
        scope=made.scope(since=None, until=None, policies=[], stores=[], configuration=None),
    )  # fmt: skip
    text = on_one_line(text_of(read(empty)))
    for said in (
        "No ledger was given, so nobody vouches that the sources know every run.",
        "No run of the period names an artifact.", "Revocations. Not known: no revocation list was given.",
        "open: from the first run that a source knows", "Coverage: unknown",
    ):  # fmt: skip
        assert said in text, said


HOSTILE = (
    '#eval("1")', '#read("/etc/passwd")', "*bold* _it_ $x^2$ @ref <label> `raw` = Heading", "\\#[ ] // /* */",
    "\u202eevil\u202c", "zero\u200bwidth", "\u4e2d\u6587 \ud55c\uad6d", "\u05e2\u05d1 \u0627\u0644", "e\u0301\u0300\u0301",
    "\x00\x07\x1b[31m", "a" * 300, "\U0001f600\u200d\U0001f467", "line\nbreak\r\n\ttab", "#" * 50, "]]]]]",
    "\u2028\u2029", "\U000e0041",
)  # fmt: skip


def test_hostile_text_is_shown_and_never_read_as_markup() -> None:
    everything = list(HOSTILE)
    document = made.document(
        1,
        run_rows=[made.run(at, "missing", name=word, words=word) for at, word in enumerate(HOSTILE)],
        artifacts=[
            made.artifact(at, name=word, source=word, builder=word) for at, word in enumerate(HOSTILE)
        ],
        keys=[made.key(word) for word in HOSTILE],
        summary=everything,
        limits=everything,
        scope=made.scope(stores=everything, namespaces=everything),
        population=made.population(sources=[made.source(name=word, query=word) for word in HOSTILE]),
        namespaces=[{"namespace": word, "counts": made.counts(missing=1)} for word in HOSTILE],
        namespaceDays=[
            {"namespace": word, "day": "2026-10-02", "evidenced": 0, "unknown": 0, "finished": 1}
            for word in HOSTILE
        ],
    )
    text = "".join(text_of(read(document)).split())
    for word in HOSTILE:
        assert text.count("".join(shown(word).split())) >= 8, word
    assert not re.search(r"[\u202a-\u202e\u200b-\u200f\x00-\x08\x1b]", text)


def test_every_character_of_the_repertoire_has_a_glyph_in_the_fonts() -> None:
    """PDF/A refuses a character without one, so a newer typst with other fonts is noticed here."""
    every = " ".join(chr(code) for first, last in REPERTOIRE for code in range(first, last + 1))
    source = """#set document(title: "x", date: auto)
#let data = json("data.json")
#set text(font: ("Libertinus Serif", "DejaVu Sans Mono"), fallback: false)
= x
#data
#text(font: "DejaVu Sans Mono", data)
"""
    compile_files: Any = typst.compile
    compile_files(
        {"main.typ": source.encode(), "data.json": json.dumps(every).encode()},
        format="pdf", ignore_system_fonts=True, pdf_standards=["a-2a", "ua-1"], timestamp=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("plain", "plain"),
        ("Grüße, Ελλάδα, Привет", "Grüße, Ελλάδα, Привет"),
        ("中", "\\u4e2d"),
        ("\u202e", "\\u202e"),
        ("😀", "\\U0001f600"),
        ("e\u0301", "e\\u0301"),
        ("a\u00adb", "a\\xadb"),
        ("a\nb", "a\\nb"),
    ],
)
def test_a_character_without_a_glyph_is_written_as_its_escape(text: str, visible: str) -> None:
    assert shown(text) == visible
    assert "".join(pieces(text)) == visible


def test_a_line_may_break_in_digests_and_paths_and_nowhere_in_short_words() -> None:
    assert pieces("sha256:" + "ab" * 32) == ["sha256:", *["ab" * 8] * 4]
    assert pieces("a short text of words") == ["a short text of words"]
    assert pieces("registry.example.com/shop/app") == ["registry.", "example.", "com/", "shop/", "app"]
    assert pieces("2026-10-01T00:00:00Z") == ["2026-10-01", "T00:00:00Z"]
    assert pieces("") == [""]
    for text in ("x" * 100, "a/b" * 50, "one two " * 10, "ab" * 32):
        assert "".join(pieces(text)) == shown(text)
        assert max(map(len, pieces(text.replace(" ", "")))) <= 16


def test_what_typst_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chains.report.pdf.form.STANDARDS", ["a-4", "ua-1"])
    with pytest.raises(PdfError, match="pdf: typst did not make the pages: "):
        write_pdf(made.document())

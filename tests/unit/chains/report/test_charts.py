"""The charts of a report: the numbers in them, their words for readers who see none, and hostile names."""

from __future__ import annotations

import copy
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from chains.report.charts.charts import Chart, charts_of
from chains.report.charts.svg import BARS, CROSS, DENSE, DOTS, LINES, SLASH, SOLID
from chains.report.document.file import Document
from chains.report.gather.tally import counts_of
from tests.unit.chains.report.made import report_of

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "\"><script>alert(1)</script>'&\x00\x1b[31m\u202egnp\u2066|=cmd|' /C calc'!A0\n]]>" + "x" * 100_000


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    return report_of(tmp_path_factory.mktemp("world"))


def by_id(document: Document) -> dict[str, Chart]:
    return {one.id: one for one in charts_of(document)}


def of(document: Document, **members: Any) -> Document:
    return Document.of({**copy.deepcopy(document.head), **members})


def test_every_chart_is_there_and_says_what_it_shows(document: Document) -> None:
    found = by_id(document)
    assert list(found) == ["coverage", "latency", "signers", "levels", "reasons", "namespaces"]
    for one in found.values():
        picture = ET.fromstring(one.svg)
        assert picture.get("role") == "img"
        title, description = picture.find(f"{SVG}title"), picture.find(f"{SVG}desc")
        assert title is not None
        assert description is not None
        assert picture.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert title.text == one.title
        assert description.text == one.description
        assert one.note
        assert all(len(row) == len(one.header) for row in one.rows)


def test_a_picture_has_no_style_no_script_and_no_link(document: Document) -> None:
    for one in charts_of(document):
        for part in ET.fromstring(one.svg).iter():
            assert part.tag.removeprefix(SVG) in {
                "svg", "title", "desc", "defs", "pattern", "rect", "path", "g", "line", "text",
            }  # fmt: skip
            assert not {"style", "href", "class"} & part.attrib.keys()
            assert not any(name.startswith("on") for name in part.attrib)
        assert re.findall(r"url\((?!#)", one.svg) == []


def test_the_table_has_the_numbers_of_the_report(document: Document) -> None:
    found, head = by_id(document), document.head
    (day,) = [one for one in head["days"] if one["day"]]
    counts = day["counts"]
    total = sum(counts[state] for state in ("evidenced", "unknown", "failed", "missing", "unattestable"))
    assert found["coverage"].rows == (
        (
            "2026-10-01", str(total), str(counts["evidenced"]), str(counts["unknown"]),
            str(counts["failed"]), str(counts["missing"]), str(counts["unattestable"]), "80.0 %",
        ),
    )  # fmt: skip
    assert "without a known end are in no column: 1." in found["coverage"].note
    assert {(state, reason): int(runs) for state, reason, runs in found["reasons"].rows} == {
        (one["state"], one["reason"]): one["runs"] for one in head["reasons"]
    }
    assert dict(found["levels"].rows) == {"enforced": "0", "not-requested": "31", "no report": "1"}
    assert found["latency"].rows[0] == ("within 1 min", "32")
    assert found["signers"].rows[0][4] == "32"
    assert {row[0]: row[1] for row in found["namespaces"].rows}["team-4"] == "8"


def test_failed_runs_without_a_known_end_are_told_and_no_run_is_not_every_run(document: Document) -> None:
    days = [
        {"day": None, "counts": counts_of({"failed": 2, "unknown": 1, "open": 5})},
        {"day": "2026-10-01", "counts": counts_of({"evidenced": 3})},
    ]
    assert "without a known end are in no column: 3." in by_id(of(document, days=days))["coverage"].note
    none = {**document.head["population"], "runs": 0}
    assert by_id(of(document, reasons=[], population=none))["reasons"].description == "There is no run."
    assert by_id(of(document, reasons=[]))["reasons"].description == "Every run is evidenced."


def test_the_lengths_of_the_columns_are_the_shares(document: Document) -> None:
    days = [
        {"day": "2026-10-01", "counts": counts_of({"evidenced": 3, "failed": 1})},
        {"day": "2026-10-02", "counts": counts_of({"evidenced": 5})},
    ]
    picture = ET.fromstring(by_id(of(document, days=days))["coverage"].svg)
    drawn = {
        title.text: float(one.get("height") or 0)
        for one in picture.iter(f"{SVG}rect")
        if (title := one.find(f"{SVG}title")) is not None
    }
    assert drawn == {
        "2026-10-01: 3 of 4 evidenced": 135,
        "2026-10-01: 1 of 4 failed": 45,
        "2026-10-02: 5 of 5 evidenced": 180,
    }


def test_what_is_not_known_is_a_picture_that_says_so(document: Document) -> None:
    empty = of(
        document, days=[], namespaceDays=[], reasons=[], levels=[], latencies=None, keys=[]
    )  # fmt: skip
    for one in charts_of(empty):
        assert one.rows == ()
        text = ET.fromstring(one.svg).find(f".//{SVG}text")
        assert text is not None
        assert text.text == one.description
    assert "Not known" in by_id(empty)["latency"].description


def test_hostile_names_are_text_and_stay_short(document: Document) -> None:
    keys = [{**document.head["keys"][0], "signer": HOSTILE, "runs": 3}]
    cells = [{**document.head["namespaceDays"][0], "namespace": HOSTILE}]
    reasons = [{"state": "failed", "reason": HOSTILE, "runs": 1}]
    levels = [{"level": HOSTILE, "runs": 1}]
    hostile = of(document, keys=keys, namespaceDays=cells, reasons=reasons, levels=levels)
    for one in charts_of(hostile):
        picture = ET.fromstring(one.svg)
        assert picture.find(f".//{SVG}script") is None
        for part in picture.iter():
            assert "\u202e" not in (part.text or "")
            assert "\x1b" not in (part.text or "")
        assert "<script" not in one.svg
        shown = [part.text or "" for part in picture.iter(f"{SVG}text")]
        assert max(map(len, shown)) < 100


@pytest.mark.parametrize(("days", "noun"), [(62, "day"), (63, "week"), (800, "month")])
def test_a_long_period_is_shown_by_week_or_month(document: Document, days: int, noun: str) -> None:
    from datetime import date, timedelta

    first = date(2024, 1, 1)
    given = [
        {"day": (first + timedelta(days=number)).isoformat(), "counts": counts_of({"evidenced": 1})}
        for number in range(days)
    ]
    found = by_id(of(document, days=given))["coverage"]
    assert found.header[0] == noun
    assert sum(int(row[1]) for row in found.rows) == days


def test_every_kind_of_bar_is_told_apart_without_colours() -> None:
    kinds = (SOLID, LINES, DOTS, SLASH, CROSS, BARS, DENSE)
    assert len({one.path for one in kinds}) == len(kinds)
    assert len({one.colour for one in kinds}) == len(kinds)


def test_the_same_report_gives_the_same_pictures(document: Document) -> None:
    assert charts_of(document) == charts_of(document)

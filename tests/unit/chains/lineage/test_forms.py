"""The forms of an answer: JSON, CSV, DOT and SVG, with hostile text in every field of the evidence."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from chains.columns import columns_of
from chains.lineage import drawing, layered
from chains.lineage.blast_radius import BlastRadius
from chains.lineage.drawing import MOST_DRAWN, draw
from chains.lineage.layered import to_dot, to_svg
from chains.lineage.report import COLUMNS, to_csv, to_json
from chains.lineage.signing import Searched, Trust
from chains.lineage.summary import summary
from chains.lineage.wanted import Wanted, dependency_wanted
from chains.text import plain
from chains.text import to_json as as_text
from storage.record import Evidence, Origin
from tests.faults.verify.forge import form_a, provenance, public, signer, subject
from tests.unit.chains.lineage.made import Whole, asked

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = {
    "formula": '=HYPERLINK("http://evil.example","x")',
    "wide formula": "\uff1dcmd|' /C calc'!A0",
    "spaced formula": "  @SUM(1)",
    "minus": "-2+3",
    "markup": "</text></svg><script>alert(1)</script>&amp;]]>",
    "quotes": '"\'`\\" , ; | $(x)',
    "lines": "a\r\nb\nc\x0bd\x85e\u2028f",
    "controls": "\x00\x07\x1b[31mred\x1b[0m\x7f\x9b",
    "bidi": "\u202egnp.exe\u2066\u200b",
    "dot": '\\N\\G" ]; evil [label="',
    "wide": "名前😀" * 3,
    "long": "x" * 1_000_000,
    "empty": "",
}


def hostile(text: str, number: int = 1) -> Evidence:
    """Return evidence in which every text that is shown is ``text``, about something made from 0…0."""
    statement = provenance(
        subject(f"{number:x}" * 64, text),
        builder=text or "b",
        uid=text,
        predicateType=text or "t",
    )
    if number:
        statement["predicateType"] = "https://slsa.dev/provenance/v1"
    statement["predicate"]["buildDefinition"] |= {
        "buildType": text,
        "externalParameters": {"runSpec": {"taskRef": {"name": text}}},
        "resolvedDependencies": [
            {"name": text, "uri": text, "digest": {"sha256": "0" * 64, text[:9] or "x": text[:200]}}
        ],
    }
    statement["predicate"]["runDetails"]["metadata"]["finishedOn"] = text
    made = form_a(statement)
    return replace(made, location=text, origin=Origin(text, text, text, text), created=text)


def found_of(*held: Evidence, url: str = "whole:") -> BlastRadius:
    wanted = Wanted(dependencies=[dependency_wanted(f"sha256:{'0' * 64}")])
    return asked(wanted, Whole(*held, url=url))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text_in_csv(name: str) -> None:
    lines = list(to_csv(found_of(hostile(HOSTILE[name]), url=HOSTILE[name])))
    assert len(lines) == 2
    header, row = csv.reader(io.StringIO("\n".join(lines)))
    assert tuple(header) == COLUMNS
    told = dict(zip(header, row, strict=True))
    shown = plain(HOSTILE[name][:2048])
    assert told["name"].removeprefix("'") == shown
    assert told["state"] == "claimed"
    for cell in row:
        assert not re.match(r"\s*[=+\-@|%\uff1d\uff0b\uff0d\uff20]", cell)
        assert cell == plain(cell)
        assert "\n" not in cell


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text_in_the_picture(name: str) -> None:
    written = to_svg(draw(found_of(hostile(HOSTILE[name]))))
    tree = ET.fromstring(written)
    assert {element.tag.removeprefix(SVG) for element in tree.iter()} <= {
        "svg", "title", "desc", "defs", "marker", "path", "rect", "text", "g",
    }  # fmt: skip
    assert not [
        key for element in tree.iter() for key in element.attrib if key.startswith("on") or "href" in key
    ]
    titles = [element.text or "" for element in tree.iter(f"{SVG}title")]
    assert any(plain(HOSTILE[name][:2048]) in title for title in titles)
    assert written == "\n".join(map(plain, written.split("\n"))), "a writer that escapes changes nothing"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text_in_dot(name: str) -> None:
    written = to_dot(draw(found_of(hostile(HOSTILE[name]))))
    bare = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', written)
    allowed = r'digraph blast_radius \{|label=""; labelloc=t; rankdir=LR;|node \[shape=box\];|\}'
    node = r'"" \[label="", tooltip="", (?:style=dashed|style=filled, fillcolor="", fontcolor=white)\];'
    arrow = r'"" -> "" \[tooltip=""\];'
    for line in bare.split("\n"):
        assert re.fullmatch(f"(?:{allowed}|{node}|{arrow})", line.strip()), line


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_whole_in_json(name: str) -> None:
    written = as_text(to_json(found_of(hostile(HOSTILE[name]))))
    assert written == plain(written)
    (artifact,) = json.loads(written)["artifacts"]
    assert artifact["names"] == [HOSTILE[name][:2048]]
    assert artifact["statement"]["evidence"][0]["location"] == HOSTILE[name]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_on_its_line_in_the_summary(name: str) -> None:
    broken = replace(form_a({"no": "statement"}), location=HOSTILE[name])
    lines = list(summary(found_of(hostile(HOSTILE[name]), broken, url=HOSTILE[name]), Trust()))
    assert lines[0].startswith(
        "TOUCHED 1 artifact: 0 by verified statements, 1 by claims, and not everything"
    )
    assert all(line == plain(line) and "\n" not in line for line in lines)
    assert all(len(line) < 1000 for line in lines)


def chain() -> list[Evidence]:
    """Return evidence of four images, each made from the one before, by three signers, and a way back."""
    held = []
    for number, key, made_from in (
        (1, "ours", "04"),
        (2, "ours", "1"),
        (3, "stranger", "2"),
        (4, "stranger", "3"),
    ):
        statement = provenance(
            subject(f"{number}" * 64, f"registry.example.com/{number}"), uid=f"uid-{number}"
        )
        statement["predicate"]["buildDefinition"]["resolvedDependencies"] = [
            {"uri": "oci://a", "digest": {"sha256": one * 64}} for one in made_from
        ]
        held.append(form_a(statement, signer(key)))
    return held


def drawn() -> drawing.Drawing:
    wanted = Wanted(dependencies=[dependency_wanted(f"sha256:{'0' * 64}")])
    return draw(asked(wanted, Whole(*chain()), trust=Trust([public()])))


def test_the_picture_has_each_artifact_in_the_column_of_its_distance() -> None:
    found = drawn()
    assert [(node.key[:19], node.column, node.style) for node in found.nodes] == [
        ("wanted dependency s", 0, "wanted"),
        ("artifact sha256:111", 1, "verified"),
        ("artifact sha256:222", 2, "verified"),
        ("artifact sha256:333", 3, "claimed"),
        ("artifact sha256:444", 4, "claimed"),
    ]
    ends = [(arrow.source[:17], arrow.target[:17], arrow.title) for arrow in found.arrows]
    assert ends == [
        ("wanted dependency", "artifact sha256:1", "run uid-1"),
        ("artifact sha256:4", "artifact sha256:1", "run uid-1"),
        ("artifact sha256:1", "artifact sha256:2", "run uid-2"),
        ("artifact sha256:2", "artifact sha256:3", "run uid-3"),
        ("artifact sha256:3", "artifact sha256:4", "run uid-4"),
    ]
    assert not found.is_cut


def test_the_picture_says_in_words_what_it_shows_and_tells_states_apart_without_colours() -> None:
    tree = ET.fromstring(to_svg(drawn()))
    assert tree.get("role") == "img"
    named = {element.get("id"): element.text for element in tree if element.get("id")}
    assert tree.get("aria-labelledby", "").split() == list(named)
    assert named["desc"] == (
        f"4 artifacts touched by dependency sha256:{'0' * 64}: 2 by verified statements, 2 by claims."
    )
    boxes = [group.find(f"{SVG}rect") for group in tree.iter(f"{SVG}g")]
    dashes = [box.get("stroke-dasharray") for box in boxes if box is not None]
    assert dashes == ["", "", "", "7 4", "7 4"]
    words = {text.text for text in tree.iter(f"{SVG}text")}
    assert {"verified", "claimed"} <= words
    assert all(
        re.fullmatch("#([0-9a-f]{2})\\1\\1", box.get("fill", "")) for box in tree.iter(f"{SVG}rect")
    ), "grey"


def test_no_two_boxes_of_the_picture_overlap_and_all_are_inside() -> None:
    tree = ET.fromstring(to_svg(drawn()))
    boxes = [
        tuple(float(rect.get(name, "0")) for name in ("x", "y", "width", "height"))
        for group in tree.iter(f"{SVG}g")
        if (rect := group.find(f"{SVG}rect")) is not None
    ]
    width, height = float(tree.get("width", "0")), float(tree.get("height", "0"))
    for number, (x, y, wide, tall) in enumerate(boxes):
        assert x >= 0
        assert x + wide <= width
        assert y + tall <= height
        for other_x, other_y, other_wide, other_tall in boxes[:number]:
            apart = x >= other_x + other_wide or other_x >= x + wide or y >= other_y + other_tall
            assert apart or other_y >= y + tall


def test_a_picture_of_too_much_shows_the_nearest_and_says_what_is_missing() -> None:
    held = []
    for number in range(MOST_DRAWN + 5):
        statement = provenance(subject(f"{number + 1:064x}", f"image-{number}"))
        statement["predicate"]["buildDefinition"]["resolvedDependencies"] = [{"digest": {"sha256": "0" * 64}}]
        held.append(form_a(statement))
    found = draw(found_of(*held))
    assert found.is_cut
    assert len([node for node in found.nodes if node.style != "wanted"]) == MOST_DRAWN
    assert f"The {MOST_DRAWN} nearest are drawn, 5 are left out." in found.description
    assert "are left out" in ET.fromstring(to_svg(found)).findtext(f"{SVG}desc", "")


def test_too_many_arrows_are_left_out_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MOST_LINES", 2)
    found = drawn()
    assert (len(found.arrows), found.is_cut) == (2, True)
    assert "3 of 5 arrows are left out." in found.description


def test_an_empty_answer_has_a_picture_too() -> None:
    found = draw(asked(Wanted(Searched([public("nobody")])), Whole(form_a(provenance()))))
    assert [node.style for node in found.nodes] == ["wanted"]
    ET.fromstring(layered.to_svg(found))


@pytest.mark.parametrize(
    "name", ["registry.example.com/a/very/long/name/of-an-image", "\u540d\u524d" * 40, "x"]
)
def test_a_long_name_keeps_its_end_and_fits_its_box(name: str) -> None:
    (node,) = (one for one in draw(found_of(hostile(name))).nodes if one.style != "wanted")
    assert columns_of(node.lines[0]) <= 31
    assert name.endswith(node.lines[0].removeprefix("\u2026"))
    assert node.lines[0].startswith("\u2026") is (columns_of(name) > 31)

"""What an artifact was made from and what was made from it: which way is verified, circles, depth, hostile text."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.columns import columns_of, fitted
from chains.lineage import family_tree
from chains.lineage.ancestry import UNBOUNDED, Ancestry, ancestry
from chains.lineage.collect import Claim, Collected, Used
from chains.lineage.drawing import MOST_DRAWN
from chains.lineage.family_drawing import draw_family
from chains.lineage.family_tree import summary, to_json, tree
from chains.lineage.layered import to_dot, to_svg
from chains.lineage.signing import Trust
from chains.text import to_json as as_text
from signers.base import Signer
from storage.errors import StoreUnavailable
from storage.record import Evidence
from tests.faults.verify.forge import form_a, form_b, old_provenance, provenance, public, signer, subject
from tests.unit.chains.lineage.made import Whole, family
from tests.unit.chains.lineage.test_forms import HOSTILE, SVG, hostile

Json = Any
OURS = Trust([public()])


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


def made(product: str, *inputs: str, by: Signer | None = None, old: bool = False) -> Evidence:
    """Return provenance of an artifact, made from others; their names are letters of hex digits."""
    listed = [{"uri": f"oci://registry.example.com/{one}", "digest": {"sha256": one * 64}} for one in inputs]
    made_here = [subject(one * 64, f"registry.example.com/{one}") for one in product]
    statement = old_provenance(*made_here) if old else provenance(*made_here, uid=f"uid-{product}")
    if old:
        statement["predicate"]["materials"] = listed
    else:
        statement["predicate"]["buildDefinition"]["resolvedDependencies"] = listed
    return form_a(statement, by)


def relatives(found: Ancestry) -> tuple[dict[str, tuple[int, bool]], dict[str, tuple[int, bool]]]:
    """Return both directions: by letter, the distance and whether it is verified."""
    graph = found.collected.graph
    up, down = (
        {graph.digest(one.artifact)[7]: (one.distance, one.is_verified) for one in side}
        for side in (found.made_from, found.went_into)
    )
    return up, down


def steps(found: Ancestry) -> dict[str, bool]:
    graph = found.collected.graph
    return {
        f"{graph.digest(one.source)[7]}{graph.digest(one.product)[7]}": one.is_verified
        for one in (*found.above, *found.below)
    }


def test_both_directions_are_told_with_distance_and_names() -> None:
    held = [made("b", "a"), made("c", "b", old=True), made("d", "c"), made("e", "c", "f")]
    found = family(digest("c"), Whole(*held), trust=OURS)
    assert relatives(found) == ({"b": (1, True), "a": (2, True)}, {"d": (1, True), "e": (1, True)})
    assert found.names == ("registry.example.com/c", "oci://registry.example.com/c")
    assert found.exit_code == 0
    assert (
        summary(found) == "LINEAGE made from 2 artifacts, went into 2: 4 by verified statements, 0 by claims"
    )
    assert family(digest("f"), Whole(*held), trust=OURS).made_from == []


def test_what_only_a_claim_connects_is_told_apart() -> None:
    stranger = signer("stranger")
    held = [
        made("b", "a", by=stranger),
        made("c", "b"),
        made("d", "c", by=stranger),
        made("e", "d"),
        made("c", "a", by=stranger),
    ]
    found = family(digest("c"), Whole(*held), trust=OURS)
    assert relatives(found) == ({"b": (1, True), "a": (1, False)}, {"d": (1, False), "e": (2, False)})
    assert steps(found) == {"bc": True, "ab": False, "ac": False, "cd": False, "de": True}
    assert {one["state"] for one in to_json(found)["madeFrom"]} == {"verified", "claimed"}


def test_the_surest_way_counts_although_it_is_longer() -> None:
    held = [made("c", "a", by=signer("stranger")), made("c", "b"), made("b", "a")]
    found = family(digest("c"), Whole(*held), trust=OURS)
    assert relatives(found)[0] == {"b": (1, True), "a": (2, True)}
    assert steps(found) == {"ac": False, "bc": True, "ab": True}


def test_a_statement_by_us_and_by_a_stranger_is_a_verified_step() -> None:
    for held in (
        [made("b", "a"), made("b", "a", by=signer("stranger"))],
        [made("b", "a", by=signer("stranger")), made("b", "a")],
    ):
        assert steps(family(digest("b"), Whole(*held), trust=OURS)) == {"ab": True}


def test_without_anybody_to_trust_nothing_is_verified_and_nothing_decided() -> None:
    found = family(digest("b"), Whole(made("b", "a")))
    assert relatives(found)[0] == {"a": (1, False)}
    assert found.exit_code == 4
    assert "  verified: nothing: statements are claims" in "\n".join(tree(found))


def test_a_circle_and_an_artifact_of_itself_end() -> None:
    held = [made("b", "a"), made("c", "b"), made("a", "c"), made("d", "d", "c")]
    found = family(digest("a"), Whole(*held), trust=OURS)
    assert relatives(found) == (
        {"c": (1, True), "b": (2, True)},
        {"b": (1, True), "c": (2, True), "d": (3, True)},
    )
    text = "\n".join(tree(found))
    assert text.count("- the artifact itself: a circle") == 2
    ET.fromstring(to_svg(draw_family(found)))
    assert relatives(family(digest("d"), Whole(*held), trust=OURS))[1] == {}


@pytest.mark.parametrize(("depth", "up"), [(1, "d"), (2, "dc"), (3, "dcb"), (4, "dcba"), (UNBOUNDED, "dcba")])
def test_a_depth_ends_the_search_and_says_so(depth: int, up: str) -> None:
    held = [made(b, a) for a, b in ("ab", "bc", "cd", "de")]
    found = family(digest("e"), Whole(*held), trust=OURS, depth=depth)
    assert "".join(relatives(found)[0]) == up
    cut = [one.is_cut for one in found.made_from]
    assert cut == [False] * (len(up) - 1) + [depth < 4]
    assert (f"more beyond: pass --depth {depth + 1}" in "\n".join(tree(found))) is (depth < 4)


def test_an_artifact_is_followed_by_all_digests_that_a_verified_statement_has() -> None:
    two = {"name": "two", "digest": {"sha256": "b" * 64, "sha512": "b" * 128}}
    user = provenance(subject("c" * 64, "user"), uid="uid-c")
    user["predicate"]["buildDefinition"]["resolvedDependencies"] = [
        {"uri": "x", "digest": {"sha512": "b" * 128}}
    ]
    for by, down in ((None, {"c": (1, True)}), (signer("stranger"), {})):
        held = [form_a(provenance(two), by), form_a(user)]
        assert relatives(family(digest("b"), Whole(*held), trust=OURS))[1] == down
        assert relatives(family(f"sha512:{'b' * 128}", Whole(*held), trust=OURS))[1] == {"c": (1, True)}


def test_a_commit_is_found_by_both_of_its_names() -> None:
    statement = provenance(subject("b" * 64, "app"))
    statement["predicate"]["buildDefinition"]["resolvedDependencies"] = [
        {"name": "inputs/result", "uri": "git+https://git.example/app.git", "digest": {"gitCommit": "d" * 40}}
    ]
    found = family(f"sha1:{'d' * 40}", Whole(form_b(statement)), trust=OURS)
    assert relatives(found)[1] == {"b": (1, True)}
    assert to_json(found)["steps"][0]["roles"] == ["source"]


def test_nothing_about_it_and_what_could_not_be_read_are_told_apart() -> None:
    nothing = family(digest("e"), Whole(made("b", "a")), trust=OURS)
    assert (nothing.exit_code, summary(nothing).partition(" no ")[0]) == (3, "NO EVIDENCE")
    away = Whole(made("b", "a"), error=StoreUnavailable("it answered 503"))
    for asked in ("e", "b"):
        found = family(digest(asked), away, trust=OURS)
        assert found.exit_code == 4
        assert "not everything could be read" in summary(found)
        assert "  unread: whole: it answered 503" in list(tree(found))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text_in_every_form(name: str) -> None:
    text = HOSTILE[name]
    broken = form_a({"no": "statement"})
    found = family(digest("0"), Whole(hostile(text), hostile(text, 2), broken, url=text))
    assert len(found.went_into) == 2
    for width in (40, 100):
        lines = [part for line in tree(found) for part in fitted(line, width)]
        assert all(columns_of(line) <= width and line.isprintable() for line in lines)
    written = as_text(to_json(found))
    assert written.isprintable()
    names = [one["names"] for one in json.loads(written)["wentInto"]]
    assert names == [[text[:2048]] if text else []] * 2
    drawing = draw_family(found)
    elements = ET.fromstring(to_svg(drawing))
    assert {one.tag.removeprefix(SVG) for one in elements.iter()} <= {
        "svg", "title", "desc", "defs", "marker", "path", "rect", "text", "g",
    }  # fmt: skip
    bare = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', to_dot(drawing))
    for line in bare.split("\n")[3:-1]:
        assert re.fullmatch(
            r'  "" (-> "" \[tooltip=""(, style=dashed)?\]|\[label="", tooltip="", style=.*\]);', line
        )


def test_a_picture_has_dashed_arrows_for_claims_and_ends_where_nobody_can_read_it() -> None:
    held = [made("b", "a"), made("c", "b", by=signer("stranger"))]
    drawing = draw_family(family(digest("b"), Whole(*held), trust=OURS))
    assert {one.column: one.style for one in drawing.nodes} == {-1: "verified", 0: "wanted", 1: "claimed"}
    assert sorted(one.is_dashed for one in drawing.arrows) == [False, True]
    assert to_svg(drawing).count("stroke-dasharray='7 4' marker-end") == 1
    assert to_dot(drawing).startswith("digraph lineage {\n")
    assert to_dot(drawing).count(", style=dashed];") == 2
    many = collected_of([("a", f"{number}") for number in range(MOST_DRAWN + 7)])
    large = draw_family(ancestry(many, "a:a", 5, is_trusting=True))
    assert len(large.nodes) == MOST_DRAWN + 1
    assert large.is_cut
    assert "The 150 nearest are drawn, 7 are left out." in large.description


def test_a_long_tree_says_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family_tree, "MOST_LINES", 10)
    found = ancestry(collected_of([("a", f"{number}") for number in range(25)]), "a:a", 5, is_trusting=True)
    assert list(tree(found))[-1] == "  and 15 more artifacts; --output json has all"


def test_a_chain_longer_than_pythons_stack_is_told() -> None:
    found = ancestry(
        collected_of([(f"{one}", f"{one + 1}") for one in range(3000)]), "a:0", UNBOUNDED, is_trusting=True
    )
    assert len(found.went_into) == 3000
    assert len(list(tree(found))) > 1000


def collected_of(links: list[tuple[str, str]], verified: list[bool] | None = None) -> Collected:
    """Return a graph of links from one input to one product, named by any text."""
    collected = Collected()
    for number, (source, product) in enumerate(links):
        collected.graph.add([f"a:{source}"], [f"a:{product}"], "", "")
        ends = collected.graph.number(f"a:{source}"), collected.graph.number(f"a:{product}")
        is_verified = verified is None or verified[number]
        collected.claims.append(
            Claim(
                predicate_type="t", run="", run_uid="", products=((product, ends[1]),), moment=None, stated=None,
                signer="ours" if is_verified else "", found={}, places=[], inputs=(Used("dependency", source, ends[0]),),
            )
        )  # fmt: skip
    return collected


@given(
    links=st.lists(st.tuples(*[st.sampled_from("abcdef")] * 2, st.booleans()), max_size=14),
    depth=st.integers(1, 6),
)
def test_the_answer_is_that_of_a_plain_search(links: list[tuple[str, str, bool]], depth: int) -> None:
    collected = collected_of([(a, b) for a, b, _ in links], [flag for _, _, flag in links])
    found = ancestry(collected, "a:a", depth, is_trusting=True)
    for side, flip in ((found.went_into, False), (found.made_from, True)):
        got = {collected.graph.digest(one.artifact)[2:]: one.is_verified for one in side}
        assert got == plain_search([(b, a, flag) if flip else (a, b, flag) for a, b, flag in links], depth)


def plain_search(links: list[tuple[str, str, bool]], depth: int) -> dict[str, bool]:
    def within(only_verified: bool) -> set[str]:
        reached = {"a"}
        for _ in range(depth):
            reached |= {b for a, b, flag in links if a in reached and (flag or not only_verified)}
        return reached - {"a"}

    verified = within(True)
    return {one: one in verified for one in within(False)}

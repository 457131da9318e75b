"""Lineage as a picture: what an artifact was made from on the left, what was made from it on the right."""

from __future__ import annotations

from collections.abc import Iterable

from chains.lineage.ancestry import Ancestry, Relative, Step
from chains.lineage.drawing import DIGEST, MOST_DRAWN, MOST_LINES, NO_NAME, Arrow, Drawing, Node, shortened
from chains.lineage.family_tree import summary
from chains.text import plain

_LEGEND = {
    "wanted": "the artifact that was asked about",
    "verified": "every statement on the way was verified",
    "claimed": "only if an unverified claim is true; so is a dashed arrow",
}


def draw_family(found: Ancestry) -> Drawing:
    """Return the picture: the nearest artifacts, if there are too many."""
    ranked = [(one, -one.distance) for one in found.made_from]
    known = {one.artifact for one in found.made_from}
    ranked += [(one, one.distance) for one in found.went_into if one.artifact not in known]
    ranked.sort(key=lambda pair: (abs(pair[1]), not pair[0].is_verified))
    shown = ranked[:MOST_DRAWN]
    roles = _roles((*found.above, *found.below))
    nodes = [_node(found, one, column, roles.get(one.artifact, "")) for one, column in shown]
    drawn = {one.artifact for one, _ in shown}
    if found.start is not None:
        drawn.add(found.start)
        nodes.insert(0, _start(found))
    arrows = list(_arrows(found, (*found.above, *found.below), drawn))
    told = summary(found).removeprefix("LINEAGE ")
    words = [f"{told[:1].upper()}{told[1:]}."]
    if len(ranked) > len(shown):
        words.append(f"The {len(shown)} nearest are drawn, {len(ranked) - len(shown)} are left out.")
    if len(arrows) > MOST_LINES:
        words.append(f"{len(arrows) - MOST_LINES} of {len(arrows)} arrows are left out.")
    if any(one.is_cut for one in found.relatives):
        words.append(f"There is more than {found.depth} runs away.")
    is_cut = len(ranked) > len(shown) or len(arrows) > MOST_LINES
    return Drawing(
        "Lineage", plain(" ".join(words)), tuple(nodes), tuple(arrows[:MOST_LINES]), is_cut, _LEGEND
    )


def _start(found: Ancestry) -> Node:
    name = plain(found.names[0]) if found.names else NO_NAME
    title = plain(f"{', '.join(found.names) or NO_NAME} {found.digest}")
    return Node(str(found.start), (shortened(name), _short(found.digest)), title, "wanted", 0)


def _node(found: Ancestry, one: Relative, column: int, roles: str) -> Node:
    digest = found.collected.graph.digest(one.artifact)
    name = plain(one.names[0]) if one.names else NO_NAME
    state = "verified" if one.is_verified else "claimed"
    beyond = ("more beyond it",) if one.is_cut else ()
    title = plain(f"{', '.join(one.names) or NO_NAME} {digest} ({state})")
    return Node(
        str(one.artifact),
        (shortened(name), _short(digest), f"{roles}, {state}" if roles else state, *beyond),
        title,
        state,
        column,
    )


def _roles(steps: Iterable[Step]) -> dict[int, str]:
    """Return what each artifact was used as."""
    found: dict[int, dict[str, None]] = {}
    for step in steps:
        found.setdefault(step.source, {}).update(dict.fromkeys(step.roles))
    return {artifact: " and ".join(roles) for artifact, roles in found.items()}


def _short(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return plain(f"{algorithm}:{value[:DIGEST]}")


def _arrows(found: Ancestry, steps: Iterable[Step], drawn: set[int]) -> Iterable[Arrow]:
    arrows: dict[tuple[int, int], Arrow] = {}
    for step in steps:
        ends = step.source, step.product
        if ends in arrows or not drawn.issuperset(ends):
            continue
        claim = found.collected.claims[step.claim]
        title = plain(f"{' and '.join(step.roles)} of {claim.run or claim.run_uid or 'an unknown run'}")
        arrows[ends] = Arrow(str(step.source), str(step.product), title, not step.is_verified)
    return arrows.values()

"""A blast radius as a picture: what is looked for, what it touches, and what those artifacts became part of.

A drawing is a part of the graph, small enough to be read. :mod:`chains.lineage.layered` places it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chains.columns import columns_of
from chains.lineage.blast_radius import BlastRadius, State, Touched
from chains.text import count, plain

MOST_DRAWN = 150
"""Artifacts in one picture. More cannot be read."""
MOST_LINES = 600
"""Arrows in one picture."""
_WANTED = "wanted"
NO_NAME = "(no name)"
_NAME, _VALUE, DIGEST = 31, 30, 12


@dataclass(frozen=True, slots=True)
class Node:
    """A box: its ``key``, the lines of its text, its whole text for people who point at it, its column."""

    key: str
    lines: tuple[str, ...]
    title: str
    style: str
    column: int


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow from one box to another; ``title`` names the run that leads there."""

    source: str
    target: str
    title: str
    is_dashed: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes and arrows. ``title`` and ``description`` say in words what the picture shows, and what not.

    ``legend`` says what the style of a box means.
    """

    title: str
    description: str
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    is_cut: bool
    legend: Mapping[str, str]


_LEGEND = {
    "verified": "touched: every statement on the way was verified",
    "claimed": "touched, if an unverified claim is true",
    "before": "verified to be older than the compromise",
}


def draw(found: BlastRadius) -> Drawing:
    """Return the picture of a blast radius: the nearest artifacts, if there are too many."""
    order = list(State)
    ranked = sorted(found.artifacts, key=lambda one: (one.distance, order.index(one.state)))
    shown = ranked[:MOST_DRAWN]
    artifacts = {one.digest: one for one in shown}
    wanted = {text: Node(f"wanted {text}", _wrapped(text), text, _WANTED, 0) for text in _asked(found)}
    arrows = _arrows(found, artifacts, tuple(wanted))
    words = [
        f"{count(found.touched, 'artifact')} touched by {', '.join(wanted)}:",
        f"{found.count(State.VERIFIED)} by verified statements,",
        f"{found.count(State.CLAIMED)} by claims.",
    ]
    if found.window.since is not None:
        words.append(f"{found.count(State.BEFORE)} more are older than the compromise.")
    if len(ranked) > len(shown):
        words.append(f"The {len(shown)} nearest are drawn, {len(ranked) - len(shown)} are left out.")
    if len(arrows) > MOST_LINES:
        words.append(f"{len(arrows) - MOST_LINES} of {len(arrows)} arrows are left out.")
    if not found.collected.is_whole:
        words.append(f"Not everything could be read: {count(found.collected.unread, 'problem')}.")
    nodes = [_node(one) for one in shown]
    return Drawing(
        "Blast radius",
        plain(" ".join(words)),
        (*wanted.values(), *nodes),
        tuple(arrows[:MOST_LINES]),
        len(ranked) > len(shown) or len(arrows) > MOST_LINES,
        _LEGEND,
    )


def _asked(found: BlastRadius) -> list[str]:
    """Return a box for each criterion; for one with several values, a box for all of them."""
    told = []
    for kind, values in found.wanted.to_json().items():
        more = f" or {len(values) - 1} more" if values[1:] else ""
        told.append(plain(f"{kind} {values[0]}{more}"))
    return told


def _node(one: Touched) -> Node:
    name = plain(one.names[0]) if one.names else NO_NAME
    algorithm, _, value = one.digest.partition(":")
    lines = (shortened(name), plain(f"{algorithm}:{value[:DIGEST]}"), one.state.value)
    title = plain(f"{', '.join(one.names) or NO_NAME} {one.digest} ({one.state})")
    return Node(_key(one.digest), lines, title, one.state.value, one.distance + 1)


def _arrows(found: BlastRadius, artifacts: Mapping[str, Touched], wanted: Sequence[str]) -> list[Arrow]:
    """Return the arrows: from each criterion to what it touches directly, then those of the graph."""
    claims, graph = found.collected.claims, found.collected.graph
    arrows: dict[tuple[str, str], Arrow] = {}
    for one in artifacts.values():
        if one.distance == 0:
            for text in wanted:
                key = f"wanted {text}", _key(one.digest)
                arrows[key] = Arrow(*key, _run(claims[one.claim].run, claims[one.claim].run_uid))
    drawn = set(map(graph.number, artifacts))
    for number in sorted(found.links, key=lambda link: (found.links[link], link)):
        for edge in graph.edges([number], drawn.__contains__):
            key = _key(edge.source), _key(edge.product)
            if edge.source != edge.product and key not in arrows:
                arrows[key] = Arrow(*key, _run(claims[number].run, edge.run_uid))
    return list(arrows.values())


def _key(digest: str) -> str:
    """Return the key of an artifact's box. An algorithm may have any name, also that of a criterion's box."""
    return plain(f"artifact {digest}")


def _run(run: str, uid: str) -> str:
    return plain(f"run {run or uid or 'unknown'}")


def shortened(text: str) -> str:
    """Return the end of a long name: the beginning is the registry, which most names share."""
    if columns_of(text) <= _NAME:
        return text
    kept = text[-_NAME:]
    while columns_of(kept) >= _NAME:
        kept = kept[1:]
    return f"…{kept}"


def _wrapped(text: str) -> tuple[str, ...]:
    """Return the kind of a criterion, and its value on at most two lines."""
    kind, _, value = text.partition(" ")
    lines = [value[at : at + _VALUE] for at in range(0, len(value), _VALUE)]
    if len(lines) > 2:  # noqa: PLR2004 - the two lines that a box has
        lines = [lines[0], f"{lines[1][:-1]}…"]
    return (kind, *lines)

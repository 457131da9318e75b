"""Differences as text: the answer, both sides, then what differs by section."""

from __future__ import annotations

from collections.abc import Iterator

from chains.columns import folded
from chains.inspection.differences import Change, Difference, Side, summary_of
from chains.inspection.page_text import MOST, cut
from chains.text import count, plain


def difference_to_text(found: Difference, width: int, *, everything: bool = False) -> str:
    """Return lines of at most ``width`` columns; with ``everything``, also what is equal."""
    lines = _lines(found, everything=everything)
    return "\n".join(part for line in lines for part in folded(plain(line), width))


def _lines(found: Difference, *, everything: bool) -> Iterator[str]:
    yield summary_of(found)
    yield from _side("A", found.a)
    yield from _side("B", found.b)
    shown = found.changes if everything else found.different
    for section in dict.fromkeys(one.section for one in shown):
        yield section.upper()
        changes = [one for one in shown if one.section == section]
        for one in changes[:MOST]:
            yield from _change(one)
        if len(changes) > MOST:
            yield f"  and {len(changes) - MOST} more; --output json has all"


def _side(name: str, side: Side) -> Iterator[str]:
    yield f"  {name}  {side.verdict} {cut(side.asked)}"
    if not side.statement:
        yield f"     {cut(side.summary)}"
        return
    ended = f"finished {cut(side.finished)}" if side.finished else "no end stated"
    yield f"     {cut(side.run or 'unknown run')}, {ended}"
    yield f"     {cut(side.predicate_type)}"
    yield f"     {f'confirmed with {cut(side.signer)}' if side.signer else 'nobody was named to confirm it'}"
    if side.other_builds:
        yield f"     {count(side.other_builds, 'other build')} of it not compared; chains inspect shows all"


def _change(one: Change) -> Iterator[str]:
    yield f"  {cut(one.name) or '(no name)'}"
    if one.is_equal:
        yield from (f"      {cut(value)}" for value in one.a[:MOST])
        return
    for letter, values in (("A", one.a), ("B", one.b)):
        for value in values[:MOST]:
            yield f"    {letter} {cut(value)}"
        if not values:
            yield f"    {letter} (not stated)"

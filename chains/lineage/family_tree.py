"""Lineage as a tree of text and as JSON. All texts are foreign: escaped here, or by JSON's writer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chains.lineage.ancestry import Ancestry, Relative, Step
from chains.lineage.collect import Claim
from chains.lineage.drawing import NO_NAME
from chains.text import count, excerpt, plain, rfc3339

MOST_LINES = 1000
"""Artifacts in the tree. JSON has all of them."""
_LONGEST = 300
_SHOWN_PROBLEMS = 20
_INDENT = 4


def summary(found: Ancestry) -> str:
    """Return the first line of the answer."""
    if found.start is None:
        told = "NO EVIDENCE no statement in the stores names this artifact"
        return (
            told if found.collected.is_whole else f"UNDECIDED {told[12:]}, and not everything could be read"
        )
    verified = sum(one.is_verified for one in found.relatives)
    claimed = len(found.relatives) - verified
    told = (
        f"LINEAGE made from {count(len(found.made_from), 'artifact')}, went into {len(found.went_into)}: "
        f"{verified} by verified statements, {claimed} by claims"
    )
    return told if found.collected.is_whole else f"{told}; not everything could be read"


def tree(found: Ancestry) -> Iterator[str]:
    """Yield the lines of the answer, all plain. An artifact that was shown before is not followed again."""
    collected = found.collected
    yield summary(found)
    yield f"  {_cut(found.names[0] if found.names else NO_NAME)}"
    yield f"  {_cut(found.digest)}"
    yield (
        f"  read {count(collected.pieces, 'piece of evidence', 'pieces of evidence')}, "
        f"{count(len(collected.claims), 'statement')}; at most {count(found.depth, 'run')} away"
    )
    if not found.is_trusting:
        yield "  verified: nothing: statements are claims of whoever can write to the stores; pass --key PUB"
    for problem in collected.problems[:_SHOWN_PROBLEMS]:
        yield f"  unread: {_cut(' '.join(filter(None, (problem.store, problem.location, problem.reason))))}"
    if collected.unread > _SHOWN_PROBLEMS:
        yield f"  unread: {collected.unread - _SHOWN_PROBLEMS} more; --output json tells of the first 1000"
    for note in collected.notes:
        yield f"  note: {_cut(note)}"
    if found.start is None:
        return
    yield from _direction("MADE FROM", found, found.made_from, found.above, above=True)
    yield from _direction("WENT INTO", found, found.went_into, found.below, above=False)


def _direction(
    title: str, found: Ancestry, relatives: list[Relative], steps: list[Step], *, above: bool
) -> Iterator[str]:
    yield title
    if not relatives:
        yield "  nothing that a statement names"
        return
    known = {one.artifact: one for one in relatives}
    children: dict[int, list[Step]] = {}
    for step in steps:
        children.setdefault(step.product if above else step.source, []).append(step)
    for own in children.values():
        own.sort(key=lambda step: _rank(step, known, above=above))
    told: set[int] = set()
    # a stack, and not recursion: a chain may be longer than Python's
    waiting = [(step, 0) for step in reversed(children.get(found.start or 0, []))]
    while waiting:
        if len(told) >= MOST_LINES:
            yield f"  and {len(relatives) - len(told)} more artifacts; --output json has all"
            return
        step, depth = waiting.pop()
        artifact = step.source if above else step.product
        lead = " " * (2 + _INDENT * depth)
        relative = known.get(artifact)
        yield from (
            f"{lead}{line}" for line in _node(found, step, artifact, relative, is_told=artifact in told)
        )
        if relative is not None and artifact not in told:
            told.add(artifact)
            waiting += [(child, depth + 1) for child in reversed(children.get(artifact, []))]


def _rank(step: Step, known: dict[int, Relative], *, above: bool) -> tuple[Any, ...]:
    order = ("source", "dependency", "task", "step-image")
    other = known.get(step.source if above else step.product)
    role = min((order.index(one) for one in step.roles if one in order), default=len(order))
    return not step.is_verified, role, other.names if other else (), step.source, step.product


def _node(
    found: Ancestry, step: Step, artifact: int, relative: Relative | None, *, is_told: bool
) -> Iterator[str]:
    digest = _cut(found.collected.graph.digest(artifact))
    if relative is None:
        yield "- the artifact itself: a circle"
        yield f"  {digest}"
        return
    yield f"- {_cut(relative.names[0] if relative.names else NO_NAME)}"
    yield f"  {digest}"
    claim = found.collected.claims[step.claim]
    state = f"verified, signed by {claim.signer}" if step.is_verified else "claimed, nobody confirmed it"
    yield _cut(f"  {' and '.join(step.roles) or 'input'} of {_run(claim)}; {state}")
    if is_told:
        yield "  shown above"
    elif relative.is_cut:
        yield f"  more beyond: pass --depth {found.depth + 1}"


def _run(claim: Claim) -> str:
    return claim.run or (f"run {claim.run_uid}" if claim.run_uid else "an unknown run")


def to_json(found: Ancestry) -> dict[str, Any]:
    """Return the answer as it is printed; lists are whole, of problems the first are given."""
    collected = found.collected
    return {
        "artifact": {"digest": found.digest, "names": list(found.names)},
        "depth": found.depth,
        "madeFrom": [_relative(found, one) for one in found.made_from],
        "wentInto": [_relative(found, one) for one in found.went_into],
        "steps": [_step(found, one) for one in (*found.above, *found.below)],
        "isWhole": collected.is_whole,
        "exitCode": found.exit_code,
        "read": {
            "evidence": collected.pieces,
            "statements": len(collected.claims),
            "unread": collected.unread,
        },
        "problems": [one.to_json() for one in collected.problems],
        "notes": list(collected.notes),
        "summary": summary(found),
    }


def _relative(found: Ancestry, one: Relative) -> dict[str, Any]:
    return {
        "digest": found.collected.graph.digest(one.artifact),
        "names": list(one.names),
        "distance": one.distance,
        "state": "verified" if one.is_verified else "claimed",
        "isCut": one.is_cut,
    }


def _step(found: Ancestry, one: Step) -> dict[str, Any]:
    graph, claim = found.collected.graph, found.collected.claims[one.claim]
    return {
        "source": graph.digest(one.source),
        "product": graph.digest(one.product),
        "roles": list(one.roles),
        "state": "verified" if one.is_verified else "claimed",
        "predicateType": claim.predicate_type,
        "signer": claim.signer or None,
        "verifiedTime": None if claim.moment is None else rfc3339(claim.moment),
        "statedTime": None if claim.stated is None else rfc3339(claim.stated),
        "run": claim.run,
        "runUid": claim.run_uid,
        "evidence": [
            {"store": place.store, "location": place.location, "digest": place.digest}
            for place in claim.places
        ],
    }


def _cut(text: str) -> str:
    return plain(excerpt(text, _LONGEST))

"""The first lines of an answer: what is touched, how sure that is, what was not read, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from chains.lineage.blast_radius import BlastRadius, State
from chains.lineage.signing import Trust
from chains.lineage.wanted import Kind
from chains.text import count, excerpt, plain, rfc3339

_LABEL = 10
_SHOWN = 3
_EVIDENCE = ("piece of evidence", "pieces of evidence")
_NEXT = {
    Kind.KEY: "revoke the key, and replace it: docs/runbooks/a-key-leaked.md",
    Kind.IDENTITY: "revoke the identity: chains revoke add LIST --identity NAME --issuer URL",
    Kind.BUILDER: "revoke the builder: chains revoke add LIST --builder URI; then build again on another one",
    Kind.STEP_IMAGE: "replace the image in every Task, then build these artifacts again, nearest first",
    Kind.TASK: "revoke the Task: chains revoke add LIST --task DIGEST; then build these artifacts again",
    Kind.COMMIT: "build these artifacts again from another commit, nearest first",
    Kind.DEPENDENCY: "replace the dependency, then build these artifacts again, nearest first",
}


def summary(found: BlastRadius, trust: Trust) -> Iterator[str]:
    """Yield the lines; the first has the verdict. Foreign text in them is escaped."""
    collected = found.collected
    yield _verdict(found)
    for kind, values in found.wanted.to_json().items():
        yield _labelled("asked", f"{kind} {' or '.join(values)}")
    yield _labelled(
        "read",
        f"{count(collected.pieces, *_EVIDENCE)}, {count(len(collected.claims), 'statement')}, "
        f"{found.matching} of them match",
    )
    yield from _doubts(found, trust)
    for problem in collected.problems[:_SHOWN]:
        is_named = problem.reason.startswith(problem.store)
        where = " ".join(filter(None, ("" if is_named else problem.store, problem.location)))
        yield _labelled("unread", excerpt(f"{where}: {problem.reason}" if where else problem.reason))
    if collected.unread > _SHOWN:
        yield _labelled("unread", f"and {collected.unread - _SHOWN} more: --output json has the first 1000")
    for note in collected.notes:
        yield _labelled("note", note)
    yield from _next_steps(found, trust)


def _verdict(found: BlastRadius) -> str:
    before = found.count(State.BEFORE)
    older = f"; {count(before, 'artifact')} older than the compromise" if before else ""
    if found.touched:
        whole = "" if found.collected.is_whole else ", and not everything could be read"
        sure, claimed = found.count(State.VERIFIED), found.count(State.CLAIMED)
        told = f"{sure} by verified statements, {claimed} by claims"
        return f"TOUCHED {count(found.touched, 'artifact')}: {told}{older}{whole}"
    if not found.collected.is_whole:
        number = count(found.collected.unread, "thing")
        return f"UNDECIDED nothing touched was found, but {number} could not be read{older}"
    if not found.collected.pieces:
        return "NO EVIDENCE the stores have none"
    outside = sum(found.left_out)
    told = f" in this period; {count(outside, 'matching statement')} outside of it" if outside else ""
    return f"NOT TOUCHED no artifact{told}{older}"


def _doubts(found: BlastRadius, trust: Trust) -> Iterator[str]:
    """Yield what limits the answer: whom nobody verified, which times are only stated, what is forged."""
    wanted, window = found.wanted.signers, found.window
    if not trust.is_given and not wanted.keys and not (wanted.identities and trust.root):
        yield _labelled("verified", "nothing: every statement is a claim of whoever can write to the stores")
    elif not trust.is_given:
        yield _labelled("verified", "only signatures of what was asked for; all other statements are claims")
    if wanted.keyids:
        told = "no signature of a key of which only the id was given; evidence without this id is not found"
        yield _labelled("verified", told)
    verified, stated = found.left_out
    if verified or stated:
        told = f"{count(verified + stated, 'matching statement')} outside of --from and --to"
        yield _labelled("left out", f"{told}; of {stated} the time is only stated, by whoever wrote them")
    if window.since is not None:
        told = f"statements with a verified time before {rfc3339(window.since)} are told apart"
        yield _labelled(
            "since", told if trust.root else f"{told}; no time was verified without a trusted root"
        )
    if found.collected.forged:
        told = count(found.collected.forged, *_EVIDENCE)
        yield _labelled("forged", f"{told} naming the key without a signature of it: not counted")


def _next_steps(found: BlastRadius, trust: Trust) -> Iterator[str]:
    if not found.collected.is_whole:
        yield _labelled("do", "make what is unread readable or remove it, and ask again")
    if found.touched:
        yield _labelled("do", "see which of them are in use: chains preflight POLICY --cluster")
        for kind in Kind:
            if kind in found.wanted.kinds:
                yield _labelled("do", _NEXT[kind])
    if found.artifacts and not trust.is_given:
        yield _labelled(
            "do", "pass --trusted-key or --certificate-identity: tells verified statements from claims"
        )
    if found.window.since is not None and trust.root is None:
        yield _labelled("do", "pass --trusted-root FILE, so that times are verified")


def _labelled(label: str, text: str) -> str:
    return plain(f"{label + ':':<{_LABEL}}{text}")

"""Answers a query from plain rows, one after the other, without a database: what an index has to answer, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from chains.index.codes import Role, Verdict, word
from chains.index.names import name_of, source_of
from chains.index.query.terms import Digest, Key, Query, RunWanted, Term, Word
from tests.unit.chains.index.query.index import Row

_SAME = {
    "sha1": {"sha1", "gitCommit"},
    "sha256": {"sha256", "gitCommit"},
    "gitCommit": {"gitCommit", "sha1", "sha256"},
}


def answered(
    rows: Sequence[Row], query: Query, now: datetime, seen: Iterable[str] | None = None
) -> list[int]:
    """Return the numbers of the rows that fit, from 1, the newest first."""
    since, until = query.since(now), query.until()
    namespaces = None if seen is None else set(seen)
    found = [
        (row.finished, number)
        for number, row in enumerate(rows, 1)
        if all(_fits(row, term, namespaces) for term in query.terms)
        and (since is None or row.finished >= since.timestamp())
        and (until is None or row.finished < until.timestamp())
        and (namespaces is None or row.namespace in namespaces)
    ]
    return [number for _, number in sorted(found, reverse=True)]


def _fits(row: Row, term: Term, seen: set[str] | None) -> bool:
    if term.key in {Key.FROM, Key.TO, Key.LAST}:
        return True
    return _has(row, term, seen) is not term.is_negated


def _has(row: Row, term: Term, seen: set[str] | None) -> bool:
    match term.value:
        case Digest():
            return any(_is(found, term.value) for found in _digests(row, term.key))
        case RunWanted(uid="", name=name, namespace=namespace, kind=kind, is_prefix=is_prefix):
            run = row.run
            return (
                _may_be_seen(row, seen)
                and _like(Word(name, is_prefix), run.name)
                and namespace in {"", run.namespace}
                and kind in {"", word(run.kind)}
            )
        case RunWanted(uid=uid):
            return _may_be_seen(row, seen) and row.run.uid == uid
        case Word():
            return any(_like(term.value, text) for text in _texts(row, term.key, term.value, seen) if text)
    raise AssertionError(term)


def _may_be_seen(row: Row, seen: set[str] | None) -> bool:
    return seen is None or row.run.namespace in seen


def _like(wanted: Word, text: str) -> bool:
    return text.startswith(wanted.text) if wanted.is_prefix else text == wanted.text


def _is(found: str, wanted: Digest) -> bool:
    algorithm, _, value = found.partition(":")
    is_right = not wanted.algorithm or algorithm in _SAME.get(wanted.algorithm, {wanted.algorithm})
    return is_right and (value.startswith(wanted.hex) if wanted.is_prefix else value == wanted.hex)


def _digests(row: Row, key: Key) -> Iterator[str]:
    if key is Key.POLICY:
        named = (row.policy_digest, row.summary.policy_digest if row.summary else "")
        yield from (f"sha256:{digest}" for digest in named if digest)
        return
    if key in {Key.HASH, Key.DIGEST}:
        yield f"sha256:{row.digest}"
        yield from (f"sha256:{digest}" for digest in row.stored)
    if key in {Key.HASH, Key.DIGEST, Key.IMAGE}:
        yield from (digest for digest, _ in row.subjects)
    for digest, role, _ in row.materials:
        is_commit = role is Role.SOURCE or digest.startswith(("gitCommit:", "sha1:"))
        if (
            key in {Key.HASH, Key.INPUT}
            or (key is Key.COMMIT and is_commit)
            or (key is Key.STEP_IMAGE and role is Role.STEP_IMAGE)
        ):
            yield digest


def _texts(row: Row, key: Key, wanted: Word, seen: set[str] | None) -> Iterator[str]:
    run = row.run
    simple: dict[Key, Callable[[], str]] = {
        Key.NAMESPACE: lambda: row.namespace,
        Key.PIPELINE: lambda: run.pipeline,
        Key.BUILDER: lambda: row.builder,
        Key.TYPE: lambda: row.predicate,
        Key.LEVEL: lambda: word(run.level),
        Key.OUTCOME: lambda: word(run.outcome),
        Key.VERDICT: lambda: word(Verdict(row.verdict)),
    }
    of_run = {
        Key.TRIGGER: run.trigger,
        Key.SENDER: run.sender,
        Key.ACCOUNT: run.account,
        Key.NODE: run.node,
    }
    said = row.summary
    if key is Key.RESULT:
        yield "" if said is None else "passed" if said.is_passed else "failed"
    elif key is Key.VERIFIER:
        yield said.verifier if said else ""
    elif key is Key.POLICY:
        yield row.policy
        yield said.policy if said else ""
    elif key in simple:
        yield simple[key]()
    elif key in of_run:
        yield of_run[key] if _may_be_seen(row, seen) else ""
    elif key is Key.SIGNER:
        yield row.signer
        identity, issuer, _ = row.signer.partition(" (issuer ")
        yield identity if issuer else ""
    elif key is Key.NAME:
        yield from _named(row, wanted, seen)
    else:
        yield from _spelled(row, key, wanted)


def _spelled(row: Row, key: Key, wanted: Word) -> Iterator[str]:
    """Yield the names that a row has in a role; one that the query spells differently as the query does."""
    names = _names(row) if key is not Key.INPUT else ((role, name) for _, role, name in row.materials)
    for role, name in names:
        if key is Key.IMAGE and role is not Role.SUBJECT:
            continue
        if key is Key.REPO and role is not Role.SOURCE:
            continue
        if key is Key.STEP_IMAGE and role is not Role.STEP_IMAGE:
            continue
        if key is Key.TASK and role is not Role.TASK:
            continue
        yield name
        if key is Key.REPO:
            yield from _repository(name, wanted)
            continue
        if not wanted.is_prefix and name_of(wanted.text) == name:
            yield wanted.text
        for transport in ("git+", "docker-pullable://", "docker://", "oci://"):
            if wanted.is_prefix and wanted.text.startswith(transport):
                yield transport + name


def _repository(name: str, wanted: Word) -> Iterator[str]:
    """Yield what a query may say for a repository: its place, behind any scheme."""
    if not wanted.is_prefix and _places(name) & (_places(wanted.text) | _places(source_of(wanted.text))):
        yield wanted.text
    for scheme in ("", "https://", "http://", "ssh://", "git://"):
        for place in _places(name) if wanted.is_prefix else ():
            yield f"{scheme}{place}"
            yield f"git+{scheme}{place}"


def _places(name: str) -> set[str]:
    scheme, separator, place = name.partition("://")
    return {place} if separator and scheme in {"https", "http", "ssh", "git"} else {name}


def _names(row: Row) -> Iterator[tuple[Role, str]]:
    yield from ((Role.SUBJECT, name) for _, name in row.subjects)
    yield from ((role, name) for _, role, name in row.materials)
    yield from ((Role.TASK, name) for name in row.tasks)


def _named(row: Row, wanted: Word, seen: set[str] | None) -> Iterator[str]:
    yield row.run.name if _may_be_seen(row, seen) else ""
    yield row.namespace
    yield row.run.pipeline
    for _, name in _names(row):
        yield name
        if not wanted.is_prefix and name.endswith(f"/{wanted.text}"):
            yield wanted.text

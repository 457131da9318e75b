"""From a term to a condition on attestations, and to the ranges of indexes that have what fits it.

In the SQL, ``a`` is the attestation, ``s`` a row of the table that is searched, and ``r`` a run. The tables
``used`` and ``named`` repeat ``attestation.finished`` in their keys, so that the newest rows of an artifact
or a name are a range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from chains.index.codes import (
    Kind,
    Level,
    Outcome,
    Role,
    Verdict,
    What,
    digest_bytes,
    prefix_range,
    uid_bytes,
)
from chains.index.names import beginnings_of, name_of, spellings_of
from chains.index.query.lookup import MOST, Found, algorithms, last_parts, text_condition, with_digest, words
from chains.index.query.scope import View
from chains.index.query.sql import NEVER, Sql, all_of, any_of, between, exists, not_true, one_of
from chains.index.query.terms import Digest, Key, RunWanted, Term, Word

ATTESTATION: Final = "attestation"
_INPUTS = (Role.SOURCE, Role.STEP_IMAGE, Role.TASK, Role.DEPENDENCY)
_COLUMNS = {
    Key.NAMESPACE: ("namespace", What.NAMESPACE),
    Key.PIPELINE: ("pipeline", What.PIPELINE),
    Key.BUILDER: ("builder", What.BUILDER),
    Key.SIGNER: ("signer", What.SIGNER),
    Key.TYPE: ("predicate", What.PREDICATE),
}
"""Columns of the attestation with an index of ``(column, finished, id)``."""
_OF_RUN = {
    Key.TRIGGER: ("trigger", What.TRIGGER),
    Key.SENDER: ("sender", What.SENDER),
    Key.ACCOUNT: ("account", What.ACCOUNT),
    Key.NODE: ("node", What.NODE),
}
_NAMES: Final[dict[Key, tuple[Sequence[What], Sequence[Role]]]] = {
    Key.REPO: ((What.NAME,), (Role.SOURCE,)),
    Key.IMAGE: ((What.NAME,), (Role.SUBJECT,)),
    Key.INPUT: ((What.NAME,), _INPUTS),
    Key.STEP_IMAGE: ((What.NAME,), (Role.STEP_IMAGE,)),
    Key.TASK: ((What.NAME, What.TASK), (Role.TASK,)),
}
"""Names in ``named``: their kinds and their roles."""
_TRANSPORTS = ("git+", "docker-pullable://", "docker://", "oci://")
_KINDS = {"taskrun": Kind.TASKRUN, "pipelinerun": Kind.PIPELINERUN}


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of a table that lead to attestations.

    ``index`` is that of SQLite to use; a table without row ids is its own index. ``is_ordered``: they are one
    range of it, so it gives them in the order of time, and each once. ``size`` selects about as many rows,
    where that is quicker.
    """

    table: str
    where: Sql
    index: str = ""
    is_ordered: bool = True
    size: Sql | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """What a term demands of the attestation ``a``.

    Everything that fits is in ``sources`` together; None if no index leads to it. ``is_slow``: each row is
    asked for all of its names.
    """

    sql: Sql
    sources: tuple[Source, ...] | None = None
    is_slow: bool = False

    @property
    def is_impossible(self) -> bool:
        """Whether nothing in the index fits."""
        return self.sources == ()


def condition_of(view: View, term: Term) -> Condition:
    """Return what a term demands."""
    found = _positive(view, term)
    return Condition(not_true(found.sql), is_slow=found.is_slow) if term.is_negated else found


def _positive(view: View, term: Term) -> Condition:
    match term.value:
        case Digest():
            return _OF_DIGEST[term.key](view, term.value)
        case RunWanted():
            return _runs(view, term.value)
        case Word():
            return _word(view, term.key, term.value)
    raise AssertionError(term)  # times are no conditions on their own


def _word(view: View, key: Key, value: Word) -> Condition:
    if key in _COLUMNS:
        column, what = _COLUMNS[key]
        return on_column(column, words(view.reader, (what,), value, *_spellings(key, value)))
    if key in _OF_RUN:
        column, what = _OF_RUN[key]
        return _of_runs(view, words(view.reader, (what,), value).on(f"r.{column}"))
    if key in _NAMES:
        kinds, roles = _NAMES[key]
        return _named(words(view.reader, kinds, value, *_names(key, value)), roles)
    return _OTHER_WORDS[key](view, value)


def _spellings(key: Key, value: Word) -> tuple[Word, ...]:
    # an identity is kept together with its issuer
    return (Word(f"{value.text} (issuer ", is_prefix=True),) if key is Key.SIGNER else ()


def _names(key: Key, value: Word) -> Iterator[Word]:
    """Yield the spellings that a name may have in the index. A repository has one for each scheme."""
    if key is Key.REPO:
        spelled = beginnings_of if value.is_prefix else spellings_of
        yield from (Word(name, value.is_prefix) for name in spelled(value.text))
    elif not value.is_prefix:
        yield Word(name_of(value.text))
    else:
        bare = value.text
        for transport in _TRANSPORTS:
            bare = bare.removeprefix(transport)
        yield Word(bare, is_prefix=True)


def on_column(column: str, found: Found) -> Condition:
    """Return the condition on a column of the attestation that has an index with the time."""
    sql = found.on(f"a.{column}")
    if found.values is None:
        return Condition(sql)
    index = f"attestation_{column}"
    if found.few is None:
        return Condition(sql, (Source(ATTESTATION, sql, index, is_ordered=False),))
    sources = (Source(ATTESTATION, one_of(f"a.{column}", (one,)), index) for one in found.few)
    return Condition(sql, tuple(sources))


def _level(_: View, value: Word) -> Condition:
    return on_column("level", Found((Level[_code(value)],)))


def _outcome(_: View, value: Word) -> Condition:
    code = Outcome[_code(value)]
    sql = one_of("a.outcome", (code,))
    if code <= Outcome.SUCCEEDED:
        return Condition(sql)
    # the partial index is used only where its own condition stands
    return Condition(sql, (Source(ATTESTATION, all_of((Sql("a.outcome > 1"), sql)), "attestation_ended"),))


def _verdict(_: View, value: Word) -> Condition:
    code = Verdict[_code(value)]
    sql = one_of("a.verdict", (code,))
    if code is Verdict.VERIFIED:
        return Condition(sql)
    return Condition(sql, (Source(ATTESTATION, all_of((Sql("a.verdict <> 0"), sql)), "attestation_bad"),))


def _summaries(where: Sql) -> Condition:
    """Return the verification summaries with a condition on their row ``s``."""
    if where == NEVER:
        return Condition(NEVER, ())
    ids = Sql(f"a.id IN (SELECT s.attestation FROM summary AS s WHERE {where.text})", where.values)  # noqa: S608
    sql = exists("summary", "s", (Sql("s.attestation = a.id"), where))
    return Condition(sql, (Source(ATTESTATION, ids, is_ordered=False),))


def _result(_: View, value: Word) -> Condition:
    return _summaries(Sql("s.passed" if value.text == "passed" else "NOT s.passed"))


def _verifier(view: View, value: Word) -> Condition:
    return _summaries(words(view.reader, (What.VERIFIER,), value).on("s.verifier"))


def _policy(view: View, value: Word) -> Condition:
    """Return what a policy judged, and the summaries that name it."""
    judged = words(view.reader, (What.JUDGED_BY,), value).on("a.policy")
    return _with_policy(judged, words(view.reader, (What.POLICY,), value).on("s.policy"))


def _policy_digest(_: View, digest: Digest) -> Condition:
    def on(column: str) -> Sql:
        if digest.is_prefix:
            return between(column, *prefix_range(digest.hex))
        return one_of(column, (digest_bytes(digest.hex),))

    return _with_policy(on("a.policy_digest"), on("s.policy_digest"))


def _with_policy(judged: Sql, stated: Sql) -> Condition:
    summaries = _summaries(stated)
    if judged == NEVER:
        return summaries
    # most statements of an index have one of few policies: no index leads to them
    return Condition(any_of((judged, summaries.sql)))


def _code(value: Word) -> str:
    """Return the name of a code, of which a query has the word (:func:`chains.index.codes.word`)."""
    return value.text.upper().replace("-", "_")


def _named(found: Found, roles: Sequence[Role]) -> Condition:
    wanted = (found.on("s.name"), one_of("s.role", roles))
    if found.few is not None:
        sql = exists("named", "s", (*wanted, _SAME))
        pairs = (
            (one_of("s.name", (name,)), one_of("s.role", (role,))) for name in found.few for role in roles
        )
        return Condition(sql, tuple(Source("named", all_of(pair)) for pair in pairs))
    # with many names the key of ``named`` is of no use: what an attestation has is compared
    sql = _with_names(found, roles)
    if found.values is None:
        return Condition(sql, is_slow=True)
    return Condition(sql, (Source("named", all_of(wanted), is_ordered=False),), is_slow=True)


def _with_names(found: Found, roles: Sequence[Role]) -> Sql:
    """Return the condition that the attestation has one of many names in one of these roles."""
    own = Sql("s.attestation = a.id AND f.id = s.artifact")
    if found.values is not None:
        return exists(
            "part AS s CROSS JOIN artifact", "f", (own, one_of("f.role", roles), found.on("f.name"))
        )
    tables = "part AS s CROSS JOIN artifact AS f CROSS JOIN term"
    return exists(tables, "t", (own, Sql("t.id = f.name"), one_of("f.role", roles), found.where))


_SAME = Sql("s.finished = a.finished AND s.attestation = a.id")
_IS_SUBJECT, _IS_INPUT = (Sql(f"role {sign} {int(Role.SUBJECT)}") for sign in ("=", "<>"))


def _subjects(view: View, digest: Digest) -> Condition:
    return _artifacts(view, digest, _IS_SUBJECT)


def _inputs(view: View, digest: Digest) -> Condition:
    return _artifacts(view, digest, _IS_INPUT)


def _commits(view: View, digest: Digest) -> Condition:
    """Return inputs that are commits: sources, and what is named by a digest of git."""
    git = words(view.reader, (What.ALGORITHM,), Word("gitCommit"), Word("sha1")).on("algorithm")
    return _artifacts(view, digest, _IS_INPUT, any_of((one_of("role", (Role.SOURCE,)), git)))


def _artifacts(view: View, digest: Digest, *conditions: Sql) -> Condition:
    algorithm = algorithms(view.reader, digest)
    more = (*conditions, *([algorithm] if algorithm else []))
    found = with_digest(view.reader, "artifact", "id", digest, *more)
    sql = exists("part", "s", (Sql("s.attestation = a.id"), found.on("s.artifact")))
    if found.few is None:
        return Condition(sql, (Source("used", found.on("s.artifact"), is_ordered=False),))
    return Condition(sql, tuple(Source("used", one_of("s.artifact", (one,))) for one in found.few))


def _evidence(view: View, digest: Digest) -> Iterator[Condition]:
    """Yield what is itself the evidence with a digest: the statement, or a stored copy of it."""
    if digest.algorithm not in {"", "sha256"}:
        return
    for table, column in ((ATTESTATION, "id"), ("location", "attestation")):
        found = with_digest(view.reader, table, column, digest)
        if found.values != ():
            yield Condition(found.on("a.id"), (Source(ATTESTATION, found.on("a.id"), is_ordered=False),))


def _runs(view: View, wanted: RunWanted) -> Condition:
    if wanted.uid:
        return _of_runs(view, one_of("r.uid", (uid_bytes(wanted.uid),)))
    parts = [text_condition("r.name", Word(wanted.name, wanted.is_prefix))]
    if wanted.namespace:
        parts.append(words(view.reader, (What.NAMESPACE,), Word(wanted.namespace)).on("r.namespace"))
    if wanted.kind:
        parts.append(one_of("r.kind", (_KINDS.get(wanted.kind, Kind.OTHER),)))
    return _of_runs(view, all_of(parts))


def _of_runs(view: View, where: Sql) -> Condition:
    """Return what is about a run ``r`` with a condition.

    Evidence that did not verify may name a run of another namespace, so what may be seen is asked of the run,
    too.
    """
    if where == NEVER:
        return Condition(NEVER, ())
    some = Sql(f"SELECT 1 FROM run AS r WHERE {where.text}", where.values)  # noqa: S608
    where = all_of((where, *view.allowed("r")))
    ids = Sql(f"a.run IN (SELECT r.id FROM run AS r WHERE {where.text})", where.values)  # noqa: S608
    source = Source(ATTESTATION, ids, "attestation_run", is_ordered=False, size=some)
    # for one attestation at a time the row of its run is looked at, never the list of all that fit
    return Condition(exists("run", "r", (Sql("r.id = a.run"), where)), (source,))


def _anything(view: View, value: Word) -> Condition:
    """Return what has a name: its run, its namespace, its pipeline, or what it is about or was made from."""
    if value.is_prefix:
        named = words(view.reader, (What.NAME, What.TASK), value)
    else:
        named = last_parts(view.reader, (What.NAME, What.TASK), value.text)
    return _any_of(
        (
            _of_runs(view, text_condition("r.name", value)),
            _named(named, tuple(Role)),
            *(
                on_column(column, words(view.reader, (what,), value))
                for column, what in (_COLUMNS[Key.NAMESPACE], _COLUMNS[Key.PIPELINE])
            ),
        )
    )


def _any_of(conditions: Iterable[Condition]) -> Condition:
    """Return what fits one of these conditions. Without a way to one of them, there is no way to it."""
    parts = [one for one in conditions if not one.is_impossible]
    sources: list[Source] = []
    sql, is_slow = any_of(part.sql for part in parts), any(part.is_slow for part in parts)
    for one in parts:
        if one.sources is None:
            return Condition(sql, is_slow=is_slow)
        sources += one.sources
    return Condition(sql, tuple(sources) if len(sources) <= 4 * MOST else None, is_slow)


_OF_DIGEST: Final[dict[Key, Callable[[View, Digest], Condition]]] = {
    Key.HASH: lambda view, digest: _any_of((*_evidence(view, digest), _artifacts(view, digest))),
    Key.DIGEST: lambda view, digest: _any_of((*_evidence(view, digest), _subjects(view, digest))),
    Key.COMMIT: _commits,
    Key.IMAGE: _subjects,
    Key.INPUT: _inputs,
    Key.POLICY: _policy_digest,
    Key.STEP_IMAGE: lambda view, digest: _artifacts(view, digest, one_of("role", (Role.STEP_IMAGE,))),
}
_OTHER_WORDS: Final[dict[Key, Callable[[View, Word], Condition]]] = {
    Key.LEVEL: _level,
    Key.OUTCOME: _outcome,
    Key.VERDICT: _verdict,
    Key.NAME: _anything,
    Key.POLICY: _policy,
    Key.RESULT: _result,
    Key.VERIFIER: _verifier,
}

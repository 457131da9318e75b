"""A query and its answer: a page of attestations, how many there are, and what was searched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from chains.errors import UsageError
from chains.index.codes import digest_bytes
from chains.index.database import Place
from chains.index.query.cursor import Cursor, cursor_of, read_cursor
from chains.index.query.detail.evidence import id_of_digest
from chains.index.query.reader import reading
from chains.index.query.rows import Hit, hits
from chains.index.query.scope import View, view_of
from chains.index.query.search import Count, Search
from chains.index.query.state import IndexState, state_of
from chains.index.query.terms import Key, Query, Term

PAGE, LONGEST_PAGE = 50, 10_000
"""Attestations of a page without a wish, and at most."""
FIELDS = {
    Key.HASH: "digests of artifacts, of inputs, of commits, of evidence and of its copies",
    Key.DIGEST: "digests of artifacts, of evidence and of its copies",
    Key.COMMIT: "commits of sources and of other inputs in git",
    Key.IMAGE: "names and digests of artifacts",
    Key.INPUT: "names and digests of inputs: sources, step images, Tasks, dependencies",
    Key.STEP_IMAGE: "names and digests of the images of steps",
    Key.RUN: "UIDs and names of runs",
    Key.NAME: "names of runs, namespaces, pipelines, artifacts, inputs and Tasks",
    Key.NAMESPACE: "namespaces of runs",
    Key.PIPELINE: "pipelines of runs",
    Key.TASK: "names and references of Tasks, Pipelines and StepActions",
    Key.TRIGGER: "event listeners with their triggers",
    Key.SENDER: "who asked for runs",
    Key.ACCOUNT: "service accounts of runs",
    Key.NODE: "nodes of runs",
    Key.REPO: "repositories of sources",
    Key.BUILDER: "ids of builders",
    Key.SIGNER: "keys and identities of signatures that verified",
    Key.TYPE: "predicate types",
    Key.LEVEL: "isolation levels in execution reports",
    Key.VERDICT: "verdicts of the index",
    Key.POLICY: "policies that gave a verdict, and policies in verification summaries",
    Key.RESULT: "results in verification summaries",
    Key.VERIFIER: "verifiers in verification summaries",
    Key.OUTCOME: "outcomes in execution reports",
    Key.FROM: "the time at which runs ended",
    Key.TO: "the time at which runs ended",
    Key.LAST: "the time at which runs ended",
}
"""What a term with each key is compared with."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of what was found, the newest first.

    ``cursor`` leads to the next page and is empty if there is none. ``unknown`` has the terms that nothing
    fits even alone, if nothing was found.
    """

    place: Place
    query: Query
    state: IndexState
    hits: Sequence[Hit]
    count: Count
    cursor: str = ""
    unknown: Sequence[Term] = ()

    @property
    def exit_code(self) -> int:
        """0 found, 3 nothing found, 4 nothing found in an index that has not read its stores to the end."""
        if self.hits or self.count.number:
            return 0
        return 3 if self.state.is_whole else 4

    @property
    def fields(self) -> tuple[str, ...]:
        """What was searched, in words, a line for each kind of term."""
        return tuple(dict.fromkeys(FIELDS[term.key] for term in self.query.terms))


def ask(
    place: Place,
    query: Query,
    now: datetime,
    *,
    limit: int = PAGE,
    cursor: str = "",
    namespaces: Sequence[str] | None = None,
) -> Answer:
    """Return the answer of an index. Only rows of ``namespaces`` are seen; None: all.

    Raises :class:`UsageError` for a limit out of range and a cursor of another query, and what
    :func:`~chains.index.query.reader.reading` raises.
    """
    filters = _filters(query, limit, namespaces)
    if cursor:
        read_cursor(cursor, filters)  # what is wrong with it is told even if the index cannot be read
    with reading(place) as reader:
        return answered(
            place, view_of(reader, namespaces), query, now, limit=limit, cursor=cursor, namespaces=namespaces
        )


def answered(
    place: Place,
    view: View,
    query: Query,
    now: datetime,
    *,
    limit: int = PAGE,
    cursor: str = "",
    namespaces: Sequence[str] | None = None,
) -> Answer:
    """Return the answer of a snapshot, see :func:`ask`. ``view`` is that of ``namespaces``."""
    filters = _filters(query, limit, namespaces)
    after = None
    if cursor:
        after = read_cursor(cursor, filters).position(lambda name: id_of_digest(view, name))
    search = Search(view, query, now)
    page = search.page(limit + 1, after)
    has_more = len(page) > limit
    is_all = after is None and not has_more
    count = Count(len(page)) if is_all else search.count()
    shown = hits(view, page[:limit])
    return Answer(
        place,
        query,
        state_of(view),
        shown,
        count,
        cursor_of(_at(shown[-1]), filters) if has_more else "",
        () if count.number else tuple(_unknown(view, query, now)),
    )


def _at(hit: Hit) -> Cursor:
    return Cursor(hit.position.finished, digest_bytes(hit.digest.partition(":")[2]))


def _filters(query: Query, limit: int, namespaces: Sequence[str] | None) -> tuple[str, ...]:
    if not 1 <= limit <= LONGEST_PAGE:
        raise UsageError(f"limit {limit}: expected 1 to {LONGEST_PAGE}")
    return (str(query), *(("all",) if namespaces is None else ("of", *sorted(set(namespaces)))))


def _unknown(view: View, query: Query, now: datetime) -> Iterator[Term]:
    for term in query.terms:
        if not term.is_negated and not Search(view, Query((term,)), now).page(1):
            yield term

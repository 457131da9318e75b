"""Lists of runs for one pipeline or namespace, and users of one input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chains.index.codes import Verdict
from chains.index.database import Place
from chains.index.query.answer import Answer, answered
from chains.index.query.detail.evidence import names_of_digest, users_of
from chains.index.query.detail.runs import Run, runs_of
from chains.index.query.rows import Hit
from chains.index.query.scope import View
from chains.index.query.terms import Query


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a list, with its attestations on this page."""

    run: Run
    hits: tuple[Hit, ...]

    @property
    def wrong(self) -> int:
        """How many of them did not verify."""
        return sum(hit.verdict is not Verdict.VERIFIED for hit in self.hits)


@dataclass(frozen=True, slots=True)
class Listing:
    """The runs of a page of attestations, the newest first. ``without_run`` are those that name none."""

    answer: Answer
    rows: tuple[RunRow, ...]
    without_run: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Users:
    """What was made with an input. ``names`` is what statements call it."""

    answer: Answer
    names: tuple[str, ...]
    number: int
    has_more: bool


def runs_listed(
    view: View, place: Place, query: Query, now: datetime, namespaces: Sequence[str] | None, cursor: str
) -> Listing:
    """Return the runs whose attestations fit a query."""
    answer = answered(place, view, query, now, cursor=cursor, namespaces=namespaces)
    by_run: dict[str, list[Hit]] = {}
    for hit in answer.hits:
        if hit.run is not None and hit.run.uid:
            by_run.setdefault(hit.run.uid, []).append(hit)
    known = runs_of(view, list(by_run))
    rows = tuple(RunRow(known[uid], tuple(found)) for uid, found in by_run.items() if uid in known)
    return Listing(answer, rows, tuple(hit for hit in answer.hits if hit.run is None or not hit.run.uid))


def users_listed(
    view: View,
    place: Place,
    digest: str,
    query: Query,
    now: datetime,
    namespaces: Sequence[str] | None,
    cursor: str,
) -> Users:
    """Return what was made with an input that has this digest (``ALGORITHM:VALUE``)."""
    answer = answered(place, view, query, now, cursor=cursor, namespaces=namespaces)
    number, more = users_of(view, digest)
    return Users(answer, tuple(names_of_digest(view, "material", digest)), number, more)

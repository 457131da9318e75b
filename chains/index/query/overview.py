"""What an index has beside single attestations: numbers of days, unproven runs, values with their counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from chains.index.codes import Kind, Verdict, What, original, uid_text, word
from chains.index.query.cursor import Cursor, Position
from chains.index.query.lookup import text_condition
from chains.index.query.scope import View
from chains.index.query.search import Search
from chains.index.query.sql import Sql, all_of
from chains.index.query.terms import Key, Query, Term, Word

MOST_VALUES = 10_000
"""The newest attestations whose values are counted."""
_EPOCH = date(1970, 1, 1)
_VALUES: Final = {
    Key.NAMESPACE: ("a", "namespace", What.NAMESPACE),
    Key.PIPELINE: ("a", "pipeline", What.PIPELINE),
    Key.BUILDER: ("a", "builder", What.BUILDER),
    Key.SIGNER: ("a", "signer", What.SIGNER),
    Key.TYPE: ("a", "predicate", What.PREDICATE),
    Key.REPO: ("a", "repository", What.NAME),
    Key.TRIGGER: ("r", "trigger", What.TRIGGER),
    Key.SENDER: ("r", "sender", What.SENDER),
    Key.ACCOUNT: ("r", "account", What.ACCOUNT),
    Key.NODE: ("r", "node", What.NODE),
}
"""Keys whose values are counted: the table ``a`` or ``r``, its column, and the kind of its words."""
VALUES: Final = tuple(_VALUES)


@dataclass(frozen=True, slots=True)
class Day:
    """How many attestations of runs that ended on a day have a verdict."""

    day: date
    verdict: Verdict
    number: int


@dataclass(frozen=True, slots=True)
class UnprovenRun:
    """A run of which there is evidence, and none that verified: all of it is a claim.

    ``end`` is the cursor behind it.
    """

    position: Position
    end: Cursor
    uid: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Counted:
    """A value, and how many attestations have it."""

    text: str
    number: int


def days(view: View, since: date, until: date) -> list[Day]:
    """Return the numbers of the days from ``since`` on and before ``until``, the first day first."""
    # the rows of namespace 0 have the sum of all
    allowed = view.allowed("d") or (Sql("d.namespace = 0"),)
    bounds = Sql("d.day >= ? AND d.day < ?", ((since - _EPOCH).days, (until - _EPOCH).days))
    where = all_of((*allowed, bounds))
    select = (
        f"SELECT d.day, d.verdict, sum(d.n) FROM day AS d WHERE {where.text} "  # noqa: S608
        "GROUP BY d.day, d.verdict ORDER BY d.day, d.verdict"
    )
    rows = view.reader.rows(Sql(select, where.values))
    return [Day(_EPOCH + timedelta(days=day), Verdict(verdict), int(number)) for day, verdict, number in rows]


def unproven_runs(
    view: View,
    limit: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    after: Position | None = None,
) -> list[UnprovenRun]:
    """Return the newest runs without evidence that verified.

    An index knows runs from their evidence alone: ``chains audit`` knows which have none at all.
    """
    where = [Sql("r.verdict <> 0"), *view.allowed("r")]
    if since is not None:
        where.append(Sql("r.finished >= ?", (int(since.astimezone(UTC).timestamp()),)))
    if until is not None:
        where.append(Sql("r.finished < ?", (int(until.astimezone(UTC).timestamp()),)))
    if after is not None:
        where.append(Sql("(r.finished, r.id) < (?, ?)", (after.finished, after.id)))
    every = all_of(where)
    hint = "" if view.reader.is_postgres else " INDEXED BY run_unproven"
    select = (
        f"SELECT r.finished, r.id, r.uid, r.kind, n.text, r.name FROM run AS r{hint} "  # noqa: S608
        f"LEFT JOIN term AS n ON n.id = r.namespace WHERE {every.text} "
        "ORDER BY r.finished DESC, r.id DESC LIMIT ?"
    )
    return [
        UnprovenRun(
            Position(finished, number),
            Cursor(finished, bytes(uid)),
            uid_text(bytes(uid)),
            "" if kind == Kind.OTHER else word(Kind(kind)),
            original(namespace or ""),
            original(name or ""),
        )
        for finished, number, uid, kind, namespace, name in view.reader.rows(
            Sql(select, (*every.values, limit))
        )
    ]


def values(view: View, query: Query, key: Key, now: datetime, most: int = 20) -> list[Counted]:
    """Return the commonest values of a key of :data:`VALUES` among the newest attestations that fit a query.

    At most :data:`MOST_VALUES` attestations are counted.
    """
    parts = Search(view, query, now).statements(MOST_VALUES)
    if not parts:
        return []
    table, column, _ = _VALUES[key]
    union = " UNION ".join(f"SELECT * FROM ({part.text}) AS p{n}" for n, part in enumerate(parts))  # noqa: S608
    run = all_of((Sql("r.id = a.run"), *view.allowed("r")))
    newest = "ORDER BY 1 DESC, 2 DESC LIMIT ?" if len(parts) > 1 else "LIMIT ?"
    select = (
        f"SELECT t.text, count(*) FROM (SELECT * FROM ({union}) AS u {newest}) AS f "  # noqa: S608
        f"JOIN attestation AS a ON a.id = f.id {'JOIN run AS r ON ' + run.text if table == 'r' else ''} "
        f"JOIN term AS t ON t.id = {table}.{column} GROUP BY t.text ORDER BY 2 DESC, 1 LIMIT ?"
    )
    bound = (value for part in parts for value in part.values)
    of_run = run.values if table == "r" else ()
    rows = view.reader.rows(Sql(select, (*bound, MOST_VALUES, *of_run, most)))
    return [Counted(original(text), number) for text, number in rows]


def beginning_with(view: View, key: Key, text: str, now: datetime, most: int = 10) -> list[str]:
    """Return values of a key of :data:`VALUES` that begin with a text, in their order.

    Whoever may not see everything gets only values of what they may see.
    """
    if view.namespaces is not None:
        fitting = Query((Term(key, Word(text, is_prefix=True)),)) if text else Query()
        return sorted(one.text for one in values(view, fitting, key, now, most))
    where = Sql(f"what = {int(_VALUES[key][2])}")
    if text:
        where = all_of((where, text_condition("text", Word(text, is_prefix=True))))
    select = f"SELECT text FROM term WHERE {where.text} ORDER BY text LIMIT ?"  # noqa: S608
    return [original(row[0]) for row in view.reader.rows(Sql(select, (*where.values, most)))]

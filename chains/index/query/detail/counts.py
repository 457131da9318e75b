"""Numbers for overviews: runs and attestations of a time, by namespace, by signer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from chains.index.codes import Verdict, What, clean, original
from chains.index.query.scope import View
from chains.index.query.sql import Sql, all_of

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class RunCount:
    """Runs that ended in a time: all of which there is evidence, and those without any that verified."""

    runs: int
    unproven: int

    @property
    def confirmed(self) -> int:
        """Runs with evidence that verified."""
        return self.runs - self.unproven


@dataclass(frozen=True, slots=True)
class NamespaceCount:
    """Attestations of runs in a namespace, by verdict."""

    name: str
    verified: int
    failed: int
    undecided: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.verified + self.failed + self.undecided


@dataclass(frozen=True, slots=True)
class SignerUse:
    """A signer whose signatures verified: the newest and the oldest end of a run that it signed for."""

    text: str
    first: int
    last: int


def run_count(view: View, since: datetime, until: datetime, namespace: str | None = None) -> RunCount:
    """Return how many runs ended from ``since`` on and before ``until``."""
    bounds = [Sql("r.finished >= ? AND r.finished < ?", (int(since.timestamp()), int(until.timestamp())))]
    bounds += view.allowed("r")
    if namespace is not None:
        bounds.append(
            Sql(
                f"r.namespace = (SELECT id FROM term WHERE what = {int(What.NAMESPACE)} AND text = ?)",  # noqa: S608
                (clean(namespace),),
            )
        )
    every = all_of(bounds)
    total = view.reader.rows(Sql(f"SELECT count(*) FROM run AS r WHERE {every.text}", every.values))  # noqa: S608
    bad = all_of((Sql("r.verdict <> 0"), *bounds))
    hint = "" if view.reader.is_postgres else " INDEXED BY run_unproven"
    unproven = view.reader.rows(
        Sql(f"SELECT count(*) FROM run AS r{hint} WHERE {bad.text}", bad.values)  # noqa: S608
    )
    return RunCount(int(total[0][0]), int(unproven[0][0]))


def namespace_counts(view: View, since: date, until: date) -> list[NamespaceCount]:
    """Return the attestations of each namespace, with the most failures first."""
    where = all_of(
        (
            Sql("d.namespace <> 0"),
            *view.allowed("d"),
            Sql("d.day >= ? AND d.day < ?", ((since - _EPOCH).days, (until - _EPOCH).days)),
        )
    )
    rows = view.reader.rows(
        Sql(
            "SELECT t.text, d.verdict, sum(d.n) FROM day AS d JOIN term AS t ON t.id = d.namespace "  # noqa: S608
            f"WHERE {where.text} GROUP BY t.text, d.verdict",
            where.values,
        )
    )
    found: dict[str, dict[int, int]] = {}
    for text, verdict, number in rows:
        found.setdefault(original(text), {})[verdict] = int(number)
    counts = [
        NamespaceCount(
            name,
            by.get(Verdict.VERIFIED, 0),
            by.get(Verdict.FAILED, 0),
            # what no policy is for is not good either
            by.get(Verdict.INDETERMINATE, 0) + by.get(Verdict.NOT_JUDGED, 0),
        )
        for name, by in found.items()
    ]
    return sorted(counts, key=lambda one: (-one.failed, -one.undecided, -one.total, one.name))


def newest(view: View) -> int:
    """Return when the newest run ended, in Unix time; 0 if there is none."""
    own = all_of(view.allowed("r"))
    select = f"SELECT max(r.finished) FROM run AS r WHERE {own.text}"  # noqa: S608
    return int(view.reader.rows(Sql(select, own.values))[0][0] or 0)


def signers(view: View, most: int = 500) -> list[SignerUse]:
    """Return the signers whose signatures verified, with their first and last use, the last used first."""
    own = all_of((Sql("a.signer = t.id"), *view.allowed("a")))
    # the index by signer and time gives both ends without reading what is between
    ends = f"SELECT a.finished FROM attestation AS a WHERE {own.text} ORDER BY "  # noqa: S608
    first, last = f"{ends} a.finished, a.id LIMIT 1", f"{ends} a.finished DESC, a.id DESC LIMIT 1"
    select = (
        f"SELECT text, first, last FROM (SELECT t.text AS text, ({first}) AS first, ({last}) AS last "  # noqa: S608
        f"FROM term AS t WHERE t.what = {int(What.SIGNER)}) AS s WHERE last IS NOT NULL "
        "ORDER BY last DESC, text LIMIT ?"
    )
    rows = view.reader.rows(Sql(select, (*own.values, *own.values, most)))
    return [SignerUse(original(text), first_use, last_use) for text, first_use, last_use in rows]

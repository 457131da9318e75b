"""The statements around one artifact, from an index, in the form in which lineage reads them from stores.

Only what is near is read. Who signed a statement is what the index confirmed when it was built or updated.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chains.index.codes import (
    START,
    Kind,
    Role,
    Verdict,
    digest_bytes,
    digest_text,
    original,
    place,
    start_of,
    uid_text,
    word,
)
from chains.index.database import Place
from chains.index.query.reader import SECONDS, reading
from chains.index.query.scope import View, view_of
from chains.index.query.sql import Sql, all_of, exists, one_of
from chains.index.query.state import IndexState, state_of
from chains.lineage.collect import Claim, Collected, Used
from chains.lineage.collect import Place as Copy
from chains.text import count, rfc3339

MOST = 20_000
"""Statements that are read, the newest of each artifact first. More are told."""
_AT_ONCE = 400
_PLACES = 4
_ROLES = {
    Role.SOURCE: "source",
    Role.STEP_IMAGE: "step-image",
    Role.TASK: "task",
    Role.DEPENDENCY: "dependency",
}
_Digest = tuple[str, bytes]
"""The algorithm as the index writes it, and the value."""


def collect_relatives(
    at: Place,
    digests: Sequence[str],
    depth: int,
    *,
    namespaces: Sequence[str] | None = None,
    most: int | None = None,
    seconds: float = SECONDS,
) -> Collected:
    """Return the statements within ``depth`` runs of an artifact, which has these digests (``name:hex``).

    Only statements of ``namespaces`` are seen, and only their digests lead on; None: all. At most ``most``
    statements are read, :data:`MOST` without it, for at most ``seconds``. Raises what
    :func:`chains.index.query.reader.reading` raises.
    """
    with reading(at, seconds) as reader:
        family = _Relatives(view_of(reader, namespaces), at, MOST if most is None else most)
        start = [(name, digest_bytes(value)) for name, _, value in (one.partition(":") for one in digests)]
        for is_above in (True, False):
            family.follow(start, depth, is_above=is_above)
        return family.collected


class _Relatives:
    """Adds statements to a graph, each once."""

    def __init__(self, view: View, at: Place, most: int) -> None:
        self.collected = Collected()
        self._view, self._most = view, most
        self._reader = view.reader
        self._known: dict[int, tuple[list[_Digest], list[_Digest]]] = {}
        self._is_full = False
        self._tell(state_of(view), at)

    def _tell(self, state: IndexState, at: Place) -> None:
        """Note from when the index is, and count what it lacks as not read."""
        collected = self.collected
        for one in state.stores:
            when = rfc3339(datetime.fromtimestamp(one.updated, UTC)) if one.updated else "never to the end"
            collected.notes.append(f"{one.url} as the index {at} has it, read {when}")
            if not one.is_whole:
                # readers of some namespaces are told no numbers of stores
                behind = "" if one.behind is None else f" by {count(one.behind, 'part')}"
                collected.tell(one.url, "", f"the index is behind{behind}: update it")
            if one.unread:
                collected.tell(one.url, "", f"{count(one.unread, 'item')} could not be read as evidence")

    def follow(self, start: Sequence[_Digest], depth: int, *, is_above: bool) -> None:
        """Read the statements in one direction, level by level, and one level more to know what is beyond."""
        level, seen = list(start), set(start)
        for _ in range(depth + 1):
            links = self._links(level, "=" if is_above else "<>")
            following: list[_Digest] = []
            for link in links:
                inputs, products = self._known[link]
                for one in inputs if is_above else products:
                    if one not in seen:
                        seen.add(one)
                        following.append(one)
            level = following
            if not level:
                return

    def _links(self, digests: Sequence[_Digest], sign: str) -> list[int]:
        """Return the attestations that made artifacts, or used them, after they were added to the graph.

        ``sign`` compares the role with that of what was made.
        """
        found: dict[int, None] = {}
        for one in digests:
            left = self._most - len(self._known)
            own = self._view.allowed("a")
            seen = exists("attestation", "a", (Sql("a.id = t.attestation"), *own)) if own else Sql("1 = 1")
            rows: set[tuple[int, int]] = set()
            for (artifact,) in self._reader.rows(_artifacts(one, sign)):
                sql = _USED.format(seen=seen.text)
                rows |= {
                    (at, link) for at, link in self._reader.rows(Sql(sql, (artifact, *seen.values, left + 1)))
                }
            newest = sorted(rows, reverse=True)[: left + 1]
            found |= dict.fromkeys(link for _, link in newest)
        new = [link for link in found if link not in self._known]
        if len(new) > self._most - len(self._known):
            if not self._is_full:
                near = f"more than {self._most} statements are near"
                told = f"{near}: the rest was left out; pass a smaller --depth"
                self.collected.tell("", "", told)
            self._is_full = True
            new = new[: self._most - len(self._known)]
        for number in range(0, len(new), _AT_ONCE):
            self._add(new[number : number + _AT_ONCE])
        return [link for link in found if link in self._known]

    def _add(self, links: Sequence[int]) -> None:
        rows = self._attestations(links)
        parts = self._by_link(_PARTS, "s.attestation", links)
        # what has no digest leads nowhere
        subjects = {
            at: [one for one in some if one[2] and one[4] == Role.SUBJECT] for at, some in parts.items()
        }
        materials = {
            at: [one for one in some if one[2] and one[4] != Role.SUBJECT] for at, some in parts.items()
        }
        places = self._by_link(_PLACED, "l.attestation", links)
        collected = self.collected
        collected.pieces += sum(map(len, places.values()))
        for link in links:
            if link not in rows:
                continue
            _, digest, verdict, predicate, signer, kind, namespace, name, uid, finished, moment = rows[link][
                0
            ]
            products = [_digest(row[1], row[2]) for row in subjects.get(link, ())]
            inputs = [_digest(row[1], row[2]) for row in materials.get(link, ())]
            text_uid = uid_text(bytes(uid)) if uid is not None else ""
            graph = collected.graph
            graph.add(map(_text, inputs), map(_text, products), text_uid, f"sha256:{bytes(digest).hex()}")
            self._known[link] = inputs, products
            named = "/".join(filter(None, (original(namespace or ""), original(name or ""))))
            of_kind = "" if kind in {None, Kind.OTHER} else word(Kind(kind))
            collected.claims.append(
                Claim(
                    predicate_type=original(predicate or ""),
                    run=f"{of_kind}/{named}" if of_kind and named else named,
                    run_uid=text_uid,
                    products=tuple(
                        (original(row[3]), graph.number(_text(_digest(row[1], row[2]))))
                        for row in subjects.get(link, ())
                    ),
                    signer=original(signer or "") if verdict == Verdict.VERIFIED else "",
                    moment=_moment(moment),
                    stated=_moment(finished),
                    found={},
                    places=[_copy(row) for row in places.get(link, ())[:_PLACES]],
                    inputs=tuple(
                        Used(
                            _ROLES.get(row[4], ""),
                            original(row[3]),
                            graph.number(_text(_digest(row[1], row[2]))),
                        )
                        for row in materials.get(link, ())
                    ),
                )
            )

    def _attestations(self, links: Sequence[int]) -> dict[int, list[tuple[Any, ...]]]:
        # evidence that did not verify may name a run of others
        run = all_of((Sql("r.id = a.run"), *self._view.allowed("r")))
        where = all_of((one_of("a.id", tuple(links)), *self._view.allowed("a")))
        text = _ATTESTATIONS.format(run=run.text, where=where.text)
        return {row[0]: [row] for row in self._reader.rows(Sql(text, run.values + where.values))}

    def _by_link(self, select: str, column: str, links: Sequence[int]) -> dict[int, list[tuple[Any, ...]]]:
        found: dict[int, list[tuple[Any, ...]]] = {}
        where = one_of(column, tuple(links))
        for row in self._reader.rows(Sql(select.replace("WHERE *", f"WHERE {where.text}"), where.values)):
            found.setdefault(row[0], []).append(row)
        return found


_ATTESTATIONS = (
    "SELECT a.id, a.digest, a.verdict, p.text, s.text, r.kind, n.text, r.name, r.uid, a.finished, "
    "(SELECT min(v.time) FROM verified_time AS v WHERE v.attestation = a.id) "
    "FROM attestation AS a LEFT JOIN term AS p ON p.id = a.predicate LEFT JOIN term AS s ON s.id = a.signer "
    "LEFT JOIN run AS r ON {run} LEFT JOIN term AS n ON n.id = r.namespace WHERE {where}"
)
_PARTS = (
    "SELECT s.attestation, al.text, f.digest, n.text, f.role FROM part AS s "
    "JOIN artifact AS f ON f.id = s.artifact "
    "JOIN term AS al ON al.id = f.algorithm JOIN term AS n ON n.id = f.name "
    "WHERE * ORDER BY s.attestation, al.text, f.digest, n.text"
)
_USED = (
    "SELECT t.finished, t.attestation FROM used AS t WHERE t.artifact = ? AND {seen} "
    "ORDER BY finished DESC, attestation DESC LIMIT ?"
)
_PLACED = (
    'SELECT l.attestation, st.url, f.text, l."end", l.digest FROM location AS l '
    "JOIN place AS p ON p.id = l.place JOIN store AS st ON st.id = p.store JOIN term AS f ON f.id = p.folder "
    'WHERE * ORDER BY l.attestation, p.store, f.text, l."end"'
)


def _artifacts(digest: _Digest, sign: str) -> Sql:
    """Return the statement for the ids of artifacts with a digest, of those made or of those used."""
    algorithm, value = digest
    sql = (
        "SELECT artifact.id FROM artifact JOIN term AS al ON al.id = algorithm "  # noqa: S608
        f"WHERE {START} = ? AND digest = ? AND al.text = ? AND role {sign} {int(Role.SUBJECT)}"
    )
    return Sql(sql, (start_of(value), value, algorithm))


def _digest(algorithm: str, value: Any) -> _Digest:
    return algorithm, bytes(value)


def _text(digest: _Digest) -> str:
    return f"{original(digest[0])}:{digest_text(digest[1])}"


def _copy(row: tuple[Any, ...]) -> Copy:
    _, url, folder, end, digest = row
    return Copy(original(url), place(folder, bytes(end), bytes(digest)), f"sha256:{bytes(digest).hex()}")


def _moment(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None

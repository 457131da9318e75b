"""Beside the row of an attestation: where its copies lie, when its signature existed, and its inputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chains.index.codes import Role, What, digest_bytes, digest_text, original, place
from chains.index.query.cursor import Position
from chains.index.query.lookup import is_digest
from chains.index.query.scope import View
from chains.index.query.sql import Sql, all_of, exists, one_of

MOST_INPUTS = 500
"""Inputs that are read for one page."""
MOST_USERS = 1_000
"""Users of an input that are counted."""
ROLES: Mapping[int, str] = {
    Role.SOURCE: "source",
    Role.STEP_IMAGE: "step image",
    Role.TASK: "definition",
    Role.DEPENDENCY: "dependency",
}
"""What an input was used for, in words."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A stored copy: the URL of its store, its place there, the SHA-256 of its bytes and its form."""

    store: str
    location: str
    digest: str
    form: str


@dataclass(frozen=True, slots=True)
class SignedAt:
    """A verified time at which the signature existed, in Unix time, by the URL of a log or authority."""

    time: int
    authority: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A verified entry in a transparency log."""

    index: int
    authority: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The result in a Verification Summary. ``verified`` is when it says so, in Unix time; 0: it does not."""

    verifier: str
    resource: str
    policy: str
    passed: bool
    levels: str
    verified: int


@dataclass(frozen=True, slots=True)
class Details:
    """What the index has beside the row of one attestation."""

    copies: tuple[Copy, ...] = ()
    times: tuple[SignedAt, ...] = ()
    entries: tuple[LogEntry, ...] = ()
    summary: Summary | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """Something that a run used; ``digest`` is ``ALGORITHM:VALUE``, empty if the statement has none."""

    role: str
    name: str
    digest: str


def position_of_digest(view: View, digest: str) -> Position | None:
    """Return where the attestation with its own digest (``sha256:HEX``) is, None if none may be seen."""
    where = all_of((is_digest(digest_bytes(digest.partition(":")[2])), *view.allowed("a")))
    select = f"SELECT a.finished, a.id FROM attestation AS a WHERE {where.text}"  # noqa: S608
    return next((Position(*row) for row in view.reader.rows(Sql(select, where.values))), None)


def id_of_digest(view: View, digest: bytes) -> int | None:
    """Return the id of the attestation with its own digest as it is stored, None if none may be seen."""
    where = all_of((is_digest(digest), *view.allowed("a")))
    rows = view.reader.rows(Sql(f"SELECT a.id FROM attestation AS a WHERE {where.text}", where.values))  # noqa: S608
    return next((row[0] for row in rows), None)


def positions_of_run(view: View, run: int, most: int = 200) -> list[Position]:
    """Return where the attestations of a run that was seen are, the newest first."""
    where = all_of((Sql("a.run = ?", (run,)), *view.allowed("a")))
    select = (
        f"SELECT a.finished, a.id FROM attestation AS a WHERE {where.text} "  # noqa: S608
        "ORDER BY a.finished DESC, a.id DESC LIMIT ?"
    )
    return [Position(*row) for row in view.reader.rows(Sql(select, (*where.values, most)))]


def details_of(view: View, ids: Sequence[int]) -> dict[int, Details]:
    """Return what belongs to attestations that were seen, by their ids."""
    found: dict[int, Details] = {}
    copies, times = _grouped(view, _COPIES, "l", ids), _grouped(view, _TIMES, "v", ids)
    entries, summaries = _grouped(view, _ENTRIES, "e", ids), _grouped(view, _SUMMARIES, "s", ids)
    for number in ids:
        summary = next((_summary(row) for row in summaries[number]), None)
        found[number] = Details(
            tuple(
                Copy(
                    original(url),
                    place(folder, bytes(end), bytes(digest)),
                    f"sha256:{bytes(digest).hex()}",
                    original(form),
                )
                for url, folder, end, digest, form in copies[number]
            ),
            tuple(SignedAt(time, original(authority)) for time, authority in times[number]),
            tuple(LogEntry(index, original(authority)) for index, authority in entries[number]),
            summary,
        )
    return found


def inputs_of(view: View, ids: Sequence[int], most: int = MOST_INPUTS) -> list[Input]:
    """Return the inputs of attestations that were seen, each once: sources first, then by role and name."""
    where = one_of("m.attestation", tuple(ids))
    rows = view.reader.rows(
        Sql(
            "SELECT DISTINCT f.role, n.text, al.text, f.digest FROM part AS m "  # noqa: S608
            f"JOIN artifact AS f ON f.id = m.artifact AND f.role <> {int(Role.SUBJECT)} "
            f"JOIN term AS n ON n.id = f.name AND n.what = {int(What.NAME)} "
            "JOIN term AS al ON al.id = f.algorithm "
            f"WHERE {where.text} ORDER BY f.role, n.text, al.text, f.digest LIMIT ?",
            (*where.values, most),
        )
    )
    return [_input(*row) for row in rows]


def users_of(view: View, digest: str, most: int = MOST_USERS) -> tuple[int, bool]:
    """Return how many attestations name an input by this digest, and whether there may be more."""
    every = _used(view, digest, is_subject=False)
    some = f"SELECT DISTINCT t.attestation FROM used AS t WHERE {every.text} LIMIT ?"  # noqa: S608
    select = f"SELECT count(*) FROM ({some}) AS cut"  # noqa: S608
    number = int(view.reader.rows(Sql(select, (*every.values, most + 1)))[0][0])
    return min(number, most), number > most


def names_of_digest(view: View, table: str, digest: str, most: int = 20) -> list[str]:
    """Return what attestations call an artifact (``subject``) or an input (``material``)."""
    every = _used(view, digest, is_subject=table == "subject")
    some = f"SELECT t.artifact FROM used AS t WHERE {every.text} ORDER BY t.finished DESC LIMIT ?"  # noqa: S608
    select = (
        f"SELECT DISTINCT n.text FROM ({some}) AS s JOIN artifact AS f ON f.id = s.artifact "  # noqa: S608
        "JOIN term AS n ON n.id = f.name LIMIT ?"
    )
    return sorted(
        original(row[0]) for row in view.reader.rows(Sql(select, (*every.values, MOST_USERS, most)))
    )


def _used(view: View, digest: str, *, is_subject: bool) -> Sql:
    """Return the condition that ``t`` says an attestation made, or used, what has a digest."""
    role = Sql(f"role {'=' if is_subject else '<>'} {int(Role.SUBJECT)}")
    has = all_of((is_digest(digest_bytes(digest.partition(":")[2])), role))
    where = [Sql(f"t.artifact IN (SELECT id FROM artifact WHERE {has.text})", has.values)]  # noqa: S608
    if view.namespaces is not None:
        where.append(exists("attestation", "a", (Sql("a.id = t.attestation"), *view.allowed("a"))))
    return all_of(where)


def _input(role: int, name: str, algorithm: str, digest: Any) -> Input:
    value = digest_text(bytes(digest)) if digest else ""
    return Input(ROLES.get(role, "input"), original(name), f"{original(algorithm)}:{value}" if value else "")


def _summary(row: tuple[Any, ...]) -> Summary:
    verifier, resource, policy, passed, levels, verified = row
    return Summary(original(verifier), original(resource), original(policy), bool(passed), levels, verified)


def _grouped(
    view: View, select: str, alias: str, ids: Sequence[int]
) -> defaultdict[int, list[tuple[Any, ...]]]:
    found: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    if ids:
        where = one_of(f"{alias}.attestation", tuple(ids))
        for row in view.reader.rows(Sql(select.replace("*", where.text), where.values)):
            found[row[0]].append(row[1:])
    return found


_COPIES = (
    'SELECT l.attestation, st.url, f.text, l."end", l.digest, o.text FROM location AS l '
    "JOIN place AS p ON p.id = l.place JOIN store AS st ON st.id = p.store "
    "JOIN term AS f ON f.id = p.folder JOIN term AS o ON o.id = p.form "
    'WHERE * ORDER BY l.attestation, p.store, f.text, l."end"'
)
_TIMES = (
    "SELECT v.attestation, v.time, t.text FROM verified_time AS v JOIN term AS t ON t.id = v.authority "
    "WHERE * ORDER BY v.attestation, v.time"
)
_ENTRIES = (
    "SELECT e.attestation, e.log_index, t.text FROM log_entry AS e JOIN term AS t ON t.id = e.authority "
    "WHERE * ORDER BY e.attestation, e.log_index"
)
_SUMMARIES = (
    "SELECT s.attestation, coalesce(v.text, ''), coalesce(r.text, ''), coalesce(p.text, ''), s.passed, "
    "s.levels, coalesce(s.verified, 0) FROM summary AS s LEFT JOIN term AS v ON v.id = s.verifier "
    "LEFT JOIN term AS r ON r.id = s.resource LEFT JOIN term AS p ON p.id = s.policy WHERE *"
)

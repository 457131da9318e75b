"""Attestations as the index knows them, with what is shown of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chains.index.codes import Kind, Level, Outcome, Role, Verdict, digest_text, original, uid_text, word
from chains.index.query.cursor import Position
from chains.index.query.scope import View
from chains.index.query.sql import Sql, all_of, one_of

MOST_SUBJECTS = 10
"""Subjects of an attestation that are shown."""
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Subject:
    """What an attestation is about: ``digest`` is ``ALGORITHM:VALUE``."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class RunOf:
    """The run of an attestation. Texts that no evidence says are empty."""

    uid: str
    kind: str
    namespace: str
    name: str
    task: str
    commit: str
    trigger: str
    sender: str
    account: str
    node: str

    @property
    def path(self) -> str:
        """Its name with its namespace."""
        return "/".join(filter(None, (self.namespace, self.name)))


@dataclass(frozen=True, slots=True)
class Summed:
    """What a verification summary says. ``policy_digest`` is ``sha256:HEX``, ``verified`` in seconds."""

    is_passed: bool
    verifier: str
    resource: str
    policy: str
    policy_digest: str
    levels: tuple[str, ...]
    verified: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One attestation. Times are seconds of Unix time; ``finished`` is 0 if no evidence says it.

    ``verdict`` is what a verification at ``checked`` said. ``signer`` is empty unless it was verified, and
    ``reason`` and ``detail`` say why if it was not: everything else is then a claim of whoever wrote it.
    ``policy`` is the policy that gave the verdict, ``policy_digest`` the ``sha256:HEX`` of its document; both
    are empty in an index by criteria, and for what no policy is for.
    """

    position: Position
    digest: str
    predicate: str
    verdict: Verdict
    reason: str
    detail: str
    signer: str
    checked: int
    finished: int
    namespace: str
    pipeline: str
    builder: str
    repository: str
    level: Level
    outcome: Outcome
    run: RunOf | None
    subjects: tuple[Subject, ...]
    has_more_subjects: bool
    policy: str = ""
    policy_digest: str = ""
    summary: Summed | None = None

    @property
    def is_verified(self) -> bool:
        """Whether it verified when it was checked."""
        return self.verdict is Verdict.VERIFIED


def hits(view: View, positions: Sequence[Position]) -> list[Hit]:
    """Return the attestations at these positions, in their order."""
    found: dict[int, tuple[Any, ...]] = {}
    subjects: dict[int, list[Subject]] = {}
    for number in range(0, len(positions), _AT_ONCE):
        ids = tuple(one.id for one in positions[number : number + _AT_ONCE])
        rows = {row[0]: row for row in view.reader.rows(_select(view, one_of("a.id", ids)))}
        if rows:
            found |= rows
            subjects |= _subjects(view, tuple(rows))
    return [_hit(one, found[one.id], subjects.get(one.id, [])) for one in positions if one.id in found]


_TERMS_OF_A = ("predicate", "reason", "signer", "namespace", "pipeline", "builder", "repository", "policy")
_TERMS_OF_V = ("verifier", "resource", "policy")
_OF_V = ("passed", "policy_digest", "levels", "verified")
_TERMS_OF_R = ("namespace", "task", "trigger", "sender", "account", "node")


def _select(view: View, where: Sql) -> Sql:
    columns = ["a.id", "a.digest", "a.verdict", "a.detail", "a.checked", "a.finished", "a.level", "a.outcome"]
    columns += ["r.uid", "r.kind", "r.name", 'r."commit"']
    joins: list[str] = []
    columns += ["a.policy_digest", *(f"v.{name}" for name in _OF_V)]
    joins.append("LEFT JOIN summary AS v ON v.attestation = a.id")
    for alias, names in (("a", _TERMS_OF_A), ("r", _TERMS_OF_R), ("v", _TERMS_OF_V)):
        for name in names:
            columns.append(f"{alias}_{name}.text")
            joins.append(f"LEFT JOIN term AS {alias}_{name} ON {alias}_{name}.id = {alias}.{name}")
    # the run may be another's although the attestation claims a namespace that may be seen
    run = all_of((Sql("r.id = a.run"), *view.allowed("r")))
    own = all_of((where, *view.allowed("a")))
    return Sql(
        f"SELECT {', '.join(columns)} FROM attestation AS a LEFT JOIN run AS r ON {run.text} "  # noqa: S608
        f"{' '.join(joins)} WHERE {own.text}",
        run.values + own.values,
    )


def _hit(position: Position, row: tuple[Any, ...], subjects: Sequence[Subject]) -> Hit:
    _, digest, verdict, detail, checked, finished, level, outcome, uid, kind, name, commit, *more = row
    policy_digest, passed, stated, levels, verified, *texts = more
    words = [original(text or "") for text in texts]
    of_a = dict(zip(_TERMS_OF_A, words, strict=False))
    of_r = dict(zip(_TERMS_OF_R, words[len(_TERMS_OF_A) :], strict=False))
    of_v = dict(zip(_TERMS_OF_V, words[len(_TERMS_OF_A) + len(_TERMS_OF_R) :], strict=True))
    summary = None
    if passed is not None:
        summary = Summed(
            is_passed=bool(passed),
            policy_digest=_sha256(stated),
            levels=tuple(original(levels).split()),
            verified=verified or 0,
            **of_v,
        )
    run = None
    if uid is not None:
        run = RunOf(
            uid=uid_text(bytes(uid)),
            kind="" if kind == Kind.OTHER else word(Kind(kind)),
            name=original(name or ""),
            commit=digest_text(bytes(commit)) if commit else "",
            **of_r,
        )
    return Hit(
        position=position,
        digest=f"sha256:{bytes(digest).hex()}",
        verdict=Verdict(verdict),
        detail=original(detail or ""),
        checked=checked,
        finished=finished,
        level=Level(level),
        outcome=Outcome(outcome),
        run=run,
        subjects=tuple(subjects[:MOST_SUBJECTS]),
        has_more_subjects=len(subjects) > MOST_SUBJECTS,
        policy_digest=_sha256(policy_digest),
        summary=summary,
        **of_a,
    )


def _sha256(digest: Any) -> str:
    return "" if digest is None else f"sha256:{digest_text(bytes(digest))}"


def _subjects(view: View, numbers: Sequence[int]) -> dict[int, list[Subject]]:
    """Return the first subjects of attestations, one more than is shown if there are so many."""
    at_once = one_of("s.attestation", numbers)
    # nearly always a statement has few subjects; then one question is enough for all
    most = (MOST_SUBJECTS + 1) * len(numbers)
    rows = view.reader.rows(_select_subjects(at_once, most + 1))
    if len(rows) > most:
        each = (_select_subjects(one_of("s.attestation", (one,)), MOST_SUBJECTS + 1) for one in numbers)
        rows = [row for select in each for row in view.reader.rows(select)]
    found: dict[int, list[Subject]] = defaultdict(list)
    for number, name, algorithm, digest in rows:
        if len(found[number]) <= MOST_SUBJECTS:
            value = digest_text(bytes(digest))
            found[number].append(Subject(original(name), f"{original(algorithm)}:{value}"))
    return found


def _select_subjects(where: Sql, limit: int) -> Sql:
    select = (
        "SELECT s.attestation, n.text, al.text, f.digest FROM part AS s "  # noqa: S608
        f"JOIN artifact AS f ON f.id = s.artifact AND f.role = {int(Role.SUBJECT)} "
        "JOIN term AS n ON n.id = f.name JOIN term AS al ON al.id = f.algorithm "
        f"WHERE {where.text} AND f.digest <> ? ORDER BY s.attestation, f.digest, f.name, f.algorithm LIMIT ?"
    )
    return Sql(select, (*where.values, b"", limit))

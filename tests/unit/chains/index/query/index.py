"""An index made of rows that a test says, and the same rows as plain data, on which a query can be answered by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from chains.index import tables
from chains.index.codes import (
    SCHEMA,
    Kind,
    Level,
    Outcome,
    Role,
    Verdict,
    What,
    clean,
    digest_bytes,
    uid_bytes,
)
from chains.index.database import LIVE, Place, engine_of, place_of


@dataclass(frozen=True)
class Run:
    """A run, with the fields of its row."""

    uid: str
    namespace: str
    name: str
    kind: Kind = Kind.TASKRUN
    pipeline: str = ""
    trigger: str = ""
    sender: str = ""
    account: str = ""
    node: str = ""
    outcome: Outcome = Outcome.SUCCEEDED
    level: Level = Level.NONE
    finished: int = 0


@dataclass(frozen=True)
class Summary:
    """What a verification summary says."""

    is_passed: bool
    verifier: str = ""
    policy: str = ""
    policy_digest: str = ""


@dataclass(frozen=True)
class Row:
    """An attestation. Digests are ``algorithm:hex``; ``namespace`` is what the attestation itself says."""

    digest: str
    run: Run
    predicate: str
    builder: str = ""
    signer: str = ""
    verdict: Verdict = Verdict.VERIFIED
    finished: int = 0
    namespace: str = ""
    subjects: tuple[tuple[str, str], ...] = ()
    """Digest and name."""
    materials: tuple[tuple[str, Role, str], ...] = ()
    """Digest, role and name."""
    tasks: tuple[str, ...] = ()
    stored: tuple[str, ...] = field(default=())
    """Digests of copies, in hex."""
    policy: str = ""
    policy_digest: str = ""
    """In hex, like that of the summary."""
    summary: Summary | None = None


class Writer:
    """Fills the tables through one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._terms: dict[tuple[What, str], int] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._runs: dict[str, int] = {}
        self._artifacts: dict[tuple[Any, ...], int] = {}
        self._days: Counter[tuple[int | None, ...]] = Counter()
        self._verified: set[str] = set()

    def write(self, rows: Iterable[Row]) -> None:
        listed = list(rows)
        self._verified = {row.run.uid for row in listed if row.verdict is Verdict.VERIFIED}
        for number, row in enumerate(listed, 1):
            self._write(number, row)
        self._add("meta", key="schema", value=str(SCHEMA))
        self._add("meta", key="policy", value="ab" * 32)
        self._add("meta", key="criteria", value="{}")
        self._add(
            "place",
            id=1,
            store=1,
            folder=self._term(What.PLACE, "evidence/"),
            form=self._term(What.FORMAT, "dsse"),
        )
        self._add("store", id=1, url="file:evidence", parts=1, read=1, updated=1_790_000_000)
        for (what, text), number in self._terms.items():
            self._add("term", id=number, what=what, text=text)
        for (namespace, day, predicate, level, verdict), number in self._days.items():
            self._add(
                "day",
                namespace=namespace,
                day=day,
                predicate=predicate,
                level=level,
                verdict=verdict,
                n=number,
            )
        for name, found in self._rows.items():
            self._connection.execute(insert(tables.metadata.tables[name]), found)

    def _term(self, what: What, text: str) -> int | None:
        if not text:
            return None
        return self._terms.setdefault((what, clean(text)), len(self._terms) + 1)

    def _add(self, table: str, **values: object) -> None:
        self._rows.setdefault(table, []).append(values)

    def _run(self, run: Run) -> int:
        if run.uid in self._runs:
            return self._runs[run.uid]
        number = self._runs[run.uid] = len(self._runs) + 1
        self._add(
            "run",
            id=number,
            uid=uid_bytes(run.uid),
            verdict=Verdict.VERIFIED if run.uid in self._verified else Verdict.FAILED,
            kind=run.kind,
            namespace=self._term(What.NAMESPACE, run.namespace),
            name=clean(run.name),
            pipeline=self._term(What.PIPELINE, run.pipeline),
            trigger=self._term(What.TRIGGER, run.trigger),
            sender=self._term(What.SENDER, run.sender),
            account=self._term(What.ACCOUNT, run.account),
            node=self._term(What.NODE, run.node),
            outcome=run.outcome,
            finished=run.finished,
            level=run.level,
        )
        return number

    def _write(self, number: int, row: Row) -> None:
        run = row.run
        namespace = self._term(What.NAMESPACE, row.namespace)
        self._add(
            "attestation",
            id=number,
            digest=bytes.fromhex(row.digest),
            run=self._run(run),
            predicate=self._term(What.PREDICATE, row.predicate),
            signer=self._term(What.SIGNER, row.signer),
            verdict=row.verdict,
            reason=self._term(What.REASON, "" if row.verdict is Verdict.VERIFIED else "key_unknown"),
            detail=None,
            checked=1_790_000_000,
            size=100,
            finished=row.finished,
            namespace=namespace,
            pipeline=self._term(What.PIPELINE, run.pipeline),
            builder=self._term(What.BUILDER, row.builder),
            repository=None,
            level=run.level,
            outcome=run.outcome,
            policy=self._term(What.JUDGED_BY, row.policy),
            policy_digest=bytes.fromhex(row.policy_digest) or None,
        )
        if row.summary is not None:
            said = row.summary
            self._add(
                "summary",
                attestation=number,
                verifier=self._term(What.VERIFIER, said.verifier),
                policy=self._term(What.POLICY, said.policy),
                policy_digest=bytes.fromhex(said.policy_digest) or None,
                passed=said.is_passed,
                levels="SLSA_BUILD_LEVEL_2 OWN",
                verified=1_790_000_000,
            )
        predicate = self._term(What.PREDICATE, row.predicate)
        for place in {0, namespace or 0}:
            self._days[place, row.finished // 86_400, predicate, run.level, row.verdict] += 1
        key = {"finished": row.finished, "attestation": number}
        parts = [(digest, Role.SUBJECT, What.NAME, name) for digest, name in row.subjects]
        parts += [(digest, role, What.NAME, name) for digest, role, name in row.materials]
        parts += [("", Role.TASK, What.TASK, name) for name in row.tasks]
        for artifact in sorted({self._artifact(*one) for one in parts}):
            self._add("part", attestation=number, artifact=artifact)
            self._add("used", **key, artifact=artifact)
        named = {(What.NAME, Role.SUBJECT, name) for _, name in row.subjects}
        named |= {(What.NAME, role, name) for _, role, name in row.materials}
        named |= {(What.TASK, Role.TASK, name) for name in row.tasks}
        for what, role, name in sorted(named):
            self._add("named", **key, name=self._term(what, name), role=role)
        for digest in row.stored:
            self._add(
                "location",
                digest=bytes.fromhex(digest),
                place=1,
                end=b"",
                attestation=number,
            )

    def _artifact(self, digest: str, role: Role, what: What, name: str) -> int:
        algorithm, _, value = digest.partition(":")
        row = {
            "digest": digest_bytes(value) if value else b"",
            "algorithm": self._terms.setdefault((What.ALGORITHM, algorithm), len(self._terms) + 1),
            "role": role,
            "name": self._term(what, name),
        }
        key = tuple(row.values())
        if key not in self._artifacts:
            self._artifacts[key] = len(self._artifacts) + 1
            self._add("artifact", id=self._artifacts[key], **row)
        return self._artifacts[key]


def make_index(place: Place, rows: Sequence[Row]) -> Place:
    """Make an index that has these rows, the first with the smallest id."""
    engine = engine_of(place)
    try:
        with engine.begin() as connection:
            if place.is_postgres:
                connection.exec_driver_sql(f"CREATE SCHEMA {LIVE}")
            tables.metadata.create_all(connection)
            Writer(connection).write(rows)
    finally:
        engine.dispose()
    return place


def sqlite_index(path: Path, rows: Sequence[Row]) -> Place:
    return make_index(place_of(str(path)), rows)

"""The tables of the index, the same in SQLite and PostgreSQL. Slow to import, as it imports SQLAlchemy.

A column made by :func:`_term` holds the id of a row of ``term``, whose kind has the name of the column if no
comment says otherwise (:class:`chains.index.codes.What`). Times are whole seconds of Unix time. ``finished``
is when the run ended as far as a statement or the store says, else 0. Whoever runs a build has influence on
it: it orders rows, and proves nothing. ``checked`` and ``verified_time`` are what was verified.

A column is NULL where no evidence says it. Every column is filled from what stores have.

``finished`` and ``attestation`` are part of the keys of what very many rows may have in common, such as a
base image, so that the newest rows of it are a range of one index. ``used`` and ``named`` have nothing that
``part`` and ``artifact`` do not say: a build fills them at its end (:data:`FILLS`), an update row by row.

Digests are searched by their first bytes (:data:`chains.index.codes.START`), and then compared. Most digests
are in the index once, so that keys with whole digests would be as large as all else.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.sql.type_api import TypeEngine

from chains.index.codes import START

metadata = MetaData()
# SQLite makes an INTEGER PRIMARY KEY its row id, and no other type
_ID: TypeEngine[int] = BigInteger().with_variant(Integer, "sqlite")
# in the order of code points, as in SQLite: what begins with a text is then a range of an index
_WORD = Text().with_variant(Text(collation="C"), "postgresql")


def _id(name: str = "id") -> Column[int]:
    return Column(name, _ID, primary_key=True, autoincrement=False)


def _term(name: str, *, required: bool = False) -> Column[int]:
    return Column(name, Integer, nullable=not required)


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""``schema``; who is trusted as JSON: ``criteria`` with whole keys, ``options`` as the user gave them.

``policy`` is the SHA-256 of ``criteria`` in hex."""

store = Table(
    "store",
    metadata,
    _id(),
    Column("url", Text, nullable=False, unique=True),
    Column("parts", BigInteger, nullable=False),  # that it had when it was last read
    Column(
        "read", BigInteger, nullable=False
    ),  # of those, how many were read: the index is behind by the rest
    Column("updated", BigInteger, nullable=False),  # when it was last read to the end, 0: never
)
"""A store that was indexed, and how far."""

unread = Table(
    "unread",
    metadata,
    Column("store", SmallInteger, nullable=False),  # store.id
    Column("location", Text, nullable=False),
    Column("digest", Text, nullable=False),  # empty if it could not be told
    Column("reason", Text, nullable=False),
    Column("checked", BigInteger, nullable=False),
    PrimaryKeyConstraint("store", "location", "digest"),
)
"""What lies in a store and could not be read as evidence, so that nothing else is known about it."""

term = Table(
    "term",
    metadata,
    _id(),
    Column("what", SmallInteger, nullable=False),  # codes.What
    Column("text", _WORD, nullable=False),
    UniqueConstraint("what", "text"),
)
"""Words that many rows share, each once."""

run = Table(
    "run",
    metadata,
    _id(),
    Column("uid", LargeBinary, nullable=False, unique=True),  # codes.uid_bytes
    # codes.Verdict: 0 if one attestation that names it was verified
    Column("verdict", SmallInteger, nullable=False),
    # the attestations, both verified, that say what is below: an execution report, and provenance
    Column("report", _ID),
    Column("provenance", _ID),
    Column("kind", SmallInteger, nullable=False),  # codes.Kind
    _term("namespace"),
    Column("name", _WORD),
    _term("pipeline"),
    _term("task"),  # the name of the Task of a TaskRun
    _term("builder"),
    _term("repository"),  # NAME: of the first git source; all of them are in material
    Column("commit", LargeBinary),  # of that source
    _term("trigger"),
    _term("sender"),
    _term("account"),
    _term("node"),
    Column("outcome", SmallInteger, nullable=False),  # codes.Outcome
    _term("reason"),  # ENDED_AS
    Column("created", BigInteger),  # only where a store keeps the run itself, whose digest a report has
    Column("started", BigInteger),
    Column("finished", BigInteger, nullable=False),
    Column("pod_wait", Integer),  # seconds from the run's start to the start of its pod
    Column("step_wait", Integer),  # seconds from the start of the pod to the start of its first step
    Column("retries", SmallInteger),  # earlier attempts
    Column("cpu", BigInteger),  # requested: thousandths of a CPU x seconds, of all containers
    Column("memory", BigInteger),  # requested: MiB x seconds
    Column("spot_wish", Boolean),  # whether the pod template asks for a spot node
    Column("level", SmallInteger, nullable=False),  # codes.Level
    _term("level_reason"),
)
"""A run: what the verified statements that name it say. Without any, only the kind, namespace and name that
reports claim.

Kind, namespace and name are those of the report. Builder, Pipeline, Task and
source are those of the provenance, all else is from the report."""

attestation = Table(
    "attestation",
    metadata,
    _id(),
    # SHA-256 over the SHA-256 of the signed bytes and of each signature, in order: both forms have the same
    Column("digest", LargeBinary, nullable=False),
    Column("run", _ID),  # run.id of the run that the statement names
    _term("predicate", required=True),
    _term("signer"),  # only if verified
    Column("verdict", SmallInteger, nullable=False),  # codes.Verdict
    _term("reason"),  # why it was not verified
    Column("detail", Text),  # the same in words
    Column("checked", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),  # bytes of the signed statement
    Column("finished", BigInteger, nullable=False),
    # of the run: if verified, the same as in all verified attestations that name it; else, and if it names
    # none, what the statement itself says
    _term("namespace"),
    _term("pipeline"),
    _term("builder"),
    _term("repository"),
    Column("level", SmallInteger, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    _term("policy"),  # JUDGED_BY: the policy that gave the verdict, in an index by policies
    Column("policy_digest", LargeBinary),  # SHA-256 of its document
)
"""One signed statement, however many copies and forms of it are stored. No two have the same digest."""

artifact = Table(
    "artifact",
    metadata,
    _id(),
    Column("digest", LargeBinary, nullable=False),  # codes.digest_bytes; empty if no statement has one
    _term("algorithm", required=True),
    Column("role", SmallInteger, nullable=False),  # codes.Role
    _term("name", required=True),  # NAME; for a Task's own name TASK
)
"""What attestations are about, and what runs used: sources with their commits, images of steps, Tasks, other
inputs. One row for each digest, with its name and its role; no two rows are the same."""

part = Table(
    "part",
    metadata,
    Column("attestation", _ID, nullable=False),
    Column("artifact", _ID, nullable=False),
    PrimaryKeyConstraint("attestation", "artifact"),
    sqlite_with_rowid=False,
)
"""Which artifacts a statement names."""

used = Table(
    "used",
    metadata,
    Column("artifact", _ID, nullable=False),
    Column("finished", BigInteger, nullable=False),
    Column("attestation", _ID, nullable=False),
    PrimaryKeyConstraint("artifact", "finished", "attestation"),
    sqlite_with_rowid=False,
)
"""Which statements name an artifact: the newest of a digest."""

named = Table(
    "named",
    metadata,
    _term("name", required=True),  # NAME; for a Task's own name TASK
    Column("role", SmallInteger, nullable=False),  # codes.Role
    Column("finished", BigInteger, nullable=False),
    Column("attestation", _ID, nullable=False),
    PrimaryKeyConstraint("name", "role", "finished", "attestation"),
    sqlite_with_rowid=False,
)
"""Which attestations have a name in a role: the newest of a repository, an image, a step image, a Task."""

step = Table(
    "step",
    metadata,
    Column("run", _ID, nullable=False),
    Column("position", SmallInteger, nullable=False),
    _term("name", required=True),  # STEP
    Column("image", _ID, nullable=False),  # artifact.id, with the name as it ran; without a digest if unknown
    Column("exit_code", Integer),
    _term("ended_as"),
    Column("started", BigInteger),
    Column("finished", BigInteger),
    PrimaryKeyConstraint("run", "position"),
    sqlite_with_rowid=False,
)
"""The steps of a TaskRun in the order in which they ran, from its execution report."""

place = Table(
    "place",
    metadata,
    _id(),
    Column("store", SmallInteger, nullable=False),  # store.id
    _term("folder", required=True),  # PLACE; codes.place joins it with the end
    _term("form", required=True),  # FORMAT
)
"""Where many copies lie: the beginning of their places, and their form."""

location = Table(
    "location",
    metadata,
    Column("attestation", _ID, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the stored bytes
    Column("place", Integer, nullable=False),  # place.id
    Column("end", LargeBinary, nullable=False),
)
"""Where the copies and forms of an attestation lie. No two rows are the same."""

verified_time = Table(
    "verified_time",
    metadata,
    Column("attestation", _ID, nullable=False),
    Column("time", BigInteger, nullable=False),
    _term("authority", required=True),
    PrimaryKeyConstraint("attestation", "time", "authority"),
    sqlite_with_rowid=False,
)
"""Times at which the signature existed, by timestamps and logs of the trusted root."""

log_entry = Table(
    "log_entry",
    metadata,
    _term("authority", required=True),
    Column("log_index", BigInteger, nullable=False),
    Column("attestation", _ID, nullable=False),
    PrimaryKeyConstraint("log_index", "authority", "attestation"),
    sqlite_with_rowid=False,
)
"""Verified entries in transparency logs."""

summary = Table(
    "summary",
    metadata,
    Column("attestation", _ID, nullable=False, primary_key=True, autoincrement=False),
    _term("verifier"),
    _term("resource"),
    _term("policy"),
    Column("policy_digest", LargeBinary),
    Column("passed", Boolean, nullable=False),
    Column("levels", Text, nullable=False),  # separated by blanks
    Column("verified", BigInteger),  # when, according to the summary
)
"""Results in Verification Summaries, and in Simple Verification Results, which name no resource."""

day = Table(
    "day",
    metadata,
    Column("namespace", Integer, nullable=False),  # 0: all of them
    Column("day", Integer, nullable=False),  # days since 1970-01-01 of finished
    _term("predicate", required=True),
    Column("level", SmallInteger, nullable=False),
    Column("verdict", SmallInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    PrimaryKeyConstraint("namespace", "day", "predicate", "level", "verdict"),
    sqlite_with_rowid=False,
)
"""How many attestations there are. No row where there are none; namespace 0 also counts those without one."""

LOOKUPS = tuple(
    Index(f"{table.name}_digest", text(START), _table=table) for table in (attestation, artifact, location)
)
"""Made with their tables, because a build looks digests up."""

_a, _r = attestation.c, run.c
_failed, _unproven = _a.verdict != 0, _r.verdict != 0
_ended = _a.outcome > 1  # not as wished
INDEXES = (
    Index("attestation_finished", _a.finished, _a.id),
    *(
        Index(f"attestation_{column.name}", column, _a.finished, _a.id)
        for column in (_a.namespace, _a.signer, _a.builder, _a.pipeline, _a.level, _a.predicate)
    ),
    Index("attestation_bad", _a.finished, _a.id, sqlite_where=_failed, postgresql_where=_failed),
    Index("attestation_ended", _a.finished, _a.id, sqlite_where=_ended, postgresql_where=_ended),
    Index("attestation_run", _a.run),
    Index("run_finished", _r.finished, _r.id),
    Index("run_namespace", _r.namespace, _r.finished, _r.id),
    Index("run_unproven", _r.finished, _r.id, sqlite_where=_unproven, postgresql_where=_unproven),
    Index("run_name", _r.name),
    *(
        Index(
            f"run_{column.name}",
            column,
            sqlite_where=column.is_not(None),
            postgresql_where=column.is_not(None),
        )
        for column in (_r.trigger, _r.sender, _r.account, _r.node)
    ),
    Index("location_attestation", location.c.attestation),
    Index("log_entry_attestation", log_entry.c.attestation),
)
"""Made when the rows of a new index are in."""
FILLS = {
    used: "INSERT INTO used (artifact, finished, attestation) SELECT p.artifact, a.finished, p.attestation "
    "FROM part AS p JOIN attestation AS a ON a.id = p.attestation ORDER BY 1, 2, 3",
    named: "INSERT INTO named (name, role, finished, attestation) "
    "SELECT DISTINCT f.name, f.role, a.finished, p.attestation FROM part AS p "
    "JOIN artifact AS f ON f.id = p.artifact JOIN attestation AS a ON a.id = p.attestation "
    "ORDER BY 1, 2, 3, 4",
}
"""The tables that a build fills when the rows of all others are in."""

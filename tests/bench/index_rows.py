"""An index of made-up rows, as large as wished, to measure queries: half of the attestations are provenance.

Values are as uneven as in a cluster: a few namespaces have most runs, one base image is in 60 of 100 builds, and
few attestations did not verify.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from chains.index import tables
from chains.index.codes import SCHEMA, Kind, Level, Outcome, Role, Verdict, What, uid_bytes

FIRST, SECONDS = 1_750_000_000, 365 * 86_400
NAMESPACES, REPOSITORIES, IMAGES, SIGNERS, BUILDERS, PIPELINES, NODES = 300, 2_000, 4_000, 12, 6, 400, 150
BASE_IMAGE = hashlib.sha256(b"base image").digest()
_AT_ONCE = 20_000
TYPES = ("https://slsa.dev/provenance/v1", "https://in-toto.io/attestation/scai/v0.3")


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def uid_of(run: int) -> str:
    hexadecimal = hashlib.sha256(b"run %d" % run).hexdigest()
    return f"{hexadecimal[:8]}-{hexadecimal[8:12]}-{hexadecimal[12:16]}-{hexadecimal[16:20]}-{hexadecimal[20:32]}"


@dataclass
class _Rows:
    """Rows that are written together."""

    connection: sqlite3.Connection
    kept: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)

    def add(self, statement: str, row: tuple[object, ...]) -> None:
        self.kept.setdefault(statement, []).append(row)

    def write(self) -> None:
        self.connection.execute("BEGIN")
        for statement, rows in self.kept.items():
            self.connection.executemany(statement, rows)
        self.connection.execute("COMMIT")
        self.kept.clear()


def _insert(table: str, columns: str) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(',')))})"


_TERM = _insert("term", "id, what, text")
_RUN = _insert(
    "run",
    'id, uid, verdict, kind, namespace, name, pipeline, node, account, outcome, finished, level, "commit"',
)
_ATTESTATION = _insert(
    "attestation",
    "id, digest, run, predicate, signer, verdict, checked, size, finished, namespace, pipeline, builder, repository, "
    "level, outcome",
)
_ARTIFACT = _insert("artifact", "id, digest, algorithm, role, name")
_PART = _insert("part", "attestation, artifact")
_LOCATION = _insert("location", "digest, place, end, attestation")
Artifact = tuple[bytes, int, Role, int]
"""Digest, algorithm, role and name."""


def _terms(rows: _Rows) -> Callable[[What, str], int]:
    known: dict[tuple[What, str], int] = {}

    def term(what: What, text: str) -> int:
        if (what, text) not in known:
            known[what, text] = len(known) + 1
            rows.add(_TERM, (len(known), int(what), text))
        return known[what, text]

    return term


def fill(path: Path, attestations: int, seed: int = 1) -> None:
    """Write an index of this many attestations into a new file."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as made:
        for table in tables.metadata.sorted_tables:
            made.execute(CreateTable(table))
    indexes = [str(CreateIndex(index).compile(engine)) for index in (*tables.LOOKUPS, *tables.INDEXES)]
    engine.dispose()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    rows = _Rows(connection)
    for run in _runs(rows, _terms(rows), attestations // 2, random.Random(seed)):
        if run % (_AT_ONCE // 2) == 0:
            rows.write()
    rows.add(_insert("meta", "key, value"), ("schema", str(SCHEMA)))
    rows.add(
        _insert("store", "id, url, parts, read, updated"),
        (1, "file:evidence", 1, 1, FIRST + SECONDS),
    )
    rows.write()
    for statement in (*tables.FILLS.values(), *indexes):
        connection.execute(statement)
    connection.execute("ANALYZE")
    connection.close()


def _skewed(chance: random.Random, number: int) -> int:
    """Return a number below ``number``; small ones are much more common."""
    return int(number * chance.random() ** 3)


def _runs(rows: _Rows, term: Callable[[What, str], int], runs: int, chance: random.Random) -> Iterator[int]:
    sha256, git = term(What.ALGORITHM, "sha256"), term(What.ALGORITHM, "gitCommit")
    folder, form = term(What.PLACE, "file:evidence/"), term(What.FORMAT, "dsse")
    rows.add(_insert("place", "id, store, folder, form"), (1, 1, folder, form))
    no_digest, known = term(What.ALGORITHM, ""), dict[Artifact, int]()
    base = term(What.NAME, "registry.example/base/os")
    types = [term(What.PREDICATE, text) for text in TYPES]
    for run in range(runs):
        space = _skewed(chance, NAMESPACES)
        namespace = term(What.NAMESPACE, f"ns-{space}")
        repository = term(What.NAME, f"https://git.example/repo-{_skewed(chance, REPOSITORIES)}")
        pipeline = term(What.PIPELINE, f"pipeline-{_skewed(chance, PIPELINES)}")
        builder = term(What.BUILDER, f"https://tekton.dev/chains/v{chance.randrange(BUILDERS)}")
        signer = term(What.SIGNER, f"SHA256:signer-{_skewed(chance, SIGNERS)}")
        image = term(What.NAME, f"registry.example/ns-{space}/app-{_skewed(chance, IMAGES)}")
        step_images = [
            (n, term(What.NAME, f"registry.example/steps/s-{n}")) for n in chance.sample(range(60), 3)
        ]
        task = term(What.TASK, f"task-{_skewed(chance, 500)}")
        finished = FIRST + chance.randrange(SECONDS)
        level = Level(1 + _skewed(chance, 5))
        outcome = Outcome.FAILED if chance.random() < 0.03 else Outcome.SUCCEEDED
        commit = digest_of(f"commit {run}")[:20]
        rows.add(
            _RUN,
            (run + 1, uid_bytes(uid_of(run)), 0, Kind.TASKRUN, namespace, f"build-{run}", pipeline,
             term(What.NODE, f"node-{chance.randrange(NODES)}"), term(What.ACCOUNT, f"account-{space}"),
             outcome, finished, level, commit),
        )  # fmt: skip
        for half, predicate in enumerate(types):
            number = 2 * run + half + 1
            verdict = Verdict.VERIFIED if number % 997 else Verdict.FAILED
            own = digest_of(f"attestation {number}")
            rows.add(
                _ATTESTATION,
                (number, own, run + 1, predicate, None if verdict else signer, verdict, FIRST + SECONDS, 9_000, finished,
                 namespace, pipeline, builder, repository, level, outcome),
            )  # fmt: skip
            artifacts: list[Artifact] = [
                (digest_of(f"subject {run} {side}"), sha256, Role.SUBJECT, image) for side in (0, 1)
            ]
            rows.add(_LOCATION, (digest_of(f"copy {number}"), 1, b"", number))
            if half == 0:
                artifacts.append((commit, git, Role.SOURCE, repository))
                artifacts += (
                    (digest_of(f"step {n}"), sha256, Role.STEP_IMAGE, name) for n, name in step_images
                )
                artifacts.append((digest_of(f"task {task} {chance.randrange(5)}"), sha256, Role.TASK, task))
                if chance.random() < 0.6:
                    artifacts.append((BASE_IMAGE, sha256, Role.DEPENDENCY, base))
                artifacts.append((b"", no_digest, Role.TASK, task))
            for artifact in artifacts:
                if artifact not in known:
                    known[artifact] = len(known) + 1
                    rows.add(_ARTIFACT, (known[artifact], *artifact))
                rows.add(_PART, (number, known[artifact]))
        yield run


def main(arguments: Sequence[str]) -> None:
    """Write an index: ``python -m tests.bench.index_rows FILE ATTESTATIONS``."""
    fill(Path(arguments[0]), int(arguments[1]))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

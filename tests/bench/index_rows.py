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
_SUBJECT = _insert("subject", "digest, finished, attestation, algorithm, name")
_MATERIAL = _insert("material", "digest, finished, attestation, algorithm, role, name")
_NAMED = _insert("named", "name, role, finished, attestation")
_LOCATION = _insert("location", "digest, store, folder, end, attestation, form")


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
    indexes = [str(CreateIndex(index).compile(engine)) for index in tables.INDEXES]
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
    for index in indexes:
        connection.execute(index)
    connection.execute("ANALYZE")
    connection.close()


def _skewed(chance: random.Random, number: int) -> int:
    """Return a number below ``number``; small ones are much more common."""
    return int(number * chance.random() ** 3)


def _runs(rows: _Rows, term: Callable[[What, str], int], runs: int, chance: random.Random) -> Iterator[int]:
    sha256, git = term(What.ALGORITHM, "sha256"), term(What.ALGORITHM, "gitCommit")
    folder, form = term(What.PLACE, "file:evidence/"), term(What.FORMAT, "dsse")
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
            for side in (0, 1):
                rows.add(_SUBJECT, (digest_of(f"subject {run} {side}"), finished, number, sha256, image))
            rows.add(_NAMED, (image, Role.SUBJECT, finished, number))
            rows.add(_LOCATION, (digest_of(f"copy {number}"), 1, folder, b"", number, form))
            if half == 0:
                materials: list[tuple[bytes, int, Role, int]] = [(commit, git, Role.SOURCE, repository)]
                materials += (
                    (digest_of(f"step {n}"), sha256, Role.STEP_IMAGE, name) for n, name in step_images
                )
                materials.append((digest_of(f"task {task} {chance.randrange(5)}"), sha256, Role.TASK, task))
                if chance.random() < 0.6:
                    materials.append((BASE_IMAGE, sha256, Role.DEPENDENCY, base))
                rows.add(_NAMED, (task, Role.TASK, finished, number))
                for digest, algorithm, role, name in materials:
                    rows.add(_MATERIAL, (digest, finished, number, algorithm, role, name))
                    if name != task:
                        rows.add(_NAMED, (name, role, finished, number))
        yield run


def main(arguments: Sequence[str]) -> None:
    """Write an index: ``python -m tests.bench.index_rows FILE ATTESTATIONS``."""
    fill(Path(arguments[0]), int(arguments[1]))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

"""What is counted by searches of a built index is what another program counts in the raw statements."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from chains.index.database import place_of
from chains.index.query.answer import ask
from chains.index.query.parse import parse
from chains.index.query.reader import reading
from chains.index.query.sql import Sql
from storage.record import DSSE_FORMAT, Origin
from tests.unit.chains.index import made
from tests.unit.chains.index.query import recount
from tests.unit.chains.lineage.made import Whole

_TYPES = ("https://slsa.dev/provenance/v1", "https://in-toto.io/attestation/scai/v0.3")
_LEVELS = ("enforced", "partly", "not-requested")
_OUTCOMES = ("succeeded", "failed", "timed-out")
_NAMESPACES = ("shop", "dev", "x' OR '1'='1")
_PIPELINES = ("release", "nightly", "%")
_BUILDERS = ("https://ci.example/tekton", "https://ci.example/other")
_IMAGES = ("registry.example/shop/app", "registry.example/shop/web", "registry.example/dev/app")
_COMMITS = ("a" * 40, "a" * 7 + "b" * 33, "c" * 40)
_INPUTS = ("d" * 64, "d" * 12 + "e" * 52)
_RUNS, _QUERIES = 60, 300


def _evidence(chance: random.Random, own: made.Signer, stranger: made.Signer) -> list[bytes]:
    found = []
    for number in range(1, _RUNS + 1):
        image = chance.choice(_IMAGES)
        ended = f"2026-11-{chance.randrange(1, 20):02}T09:15:11Z"
        provenance = made.provenance(
            number,
            image=image,
            pipeline=chance.choice(_PIPELINES),
            commit=chance.choice(_COMMITS),
            builder=chance.choice(_BUILDERS),
            inputs=[{"uri": "oci://registry.example/base", "digest": {"sha256": chance.choice(_INPUTS)}}],
        )
        metadata = provenance["predicate"]["runDetails"]["metadata"]
        metadata["finishedOn"] = ended
        if number % 7 == 0:
            # it names no run
            del metadata["invocationId"]
        report = made.report(
            number,
            image=image,
            level=chance.choice(_LEVELS),
            outcome=chance.choice(_OUTCOMES),
            namespace=chance.choice(_NAMESPACES),
            finished=ended,
        )
        for statement in (provenance, report)[: chance.choice((1, 2, 2, 2))]:
            signer = stranger if chance.random() < 0.2 else own
            found.append(signer.envelope(statement).to_bytes())
    return found


def _digest(image: str) -> str:
    return str(made.subject(image)["digest"]["sha256"])


def _queries(chance: random.Random) -> list[list[tuple[str, str, bool]]]:
    values = {
        "type": _TYPES,
        "verdict": ("verified", "failed"),
        "namespace": _NAMESPACES,
        "outcome": _OUTCOMES,
        "level": _LEVELS,
        "pipeline": _PIPELINES,
        "builder": _BUILDERS,
        "image": _IMAGES,
        "digest": [_digest(image)[:length] for image in _IMAGES for length in (12, 64)],
        "commit": [commit[:length] for commit in _COMMITS for length in (7, 8, 40)],
        "input": [digest[:length] for digest in (*_INPUTS, "b" * 64) for length in (12, 13, 64)],
        "repo": ("https://git.example/shop", "https://git.example/none"),
        "run": [made.UID(number) for number in range(1, _RUNS)],
        "from": [f"2026-11-{day:02}T00:00:00Z" for day in range(1, 21)],
    }
    made_up = [[(key, value, False)] for key, some in values.items() for value in some]
    for _ in range(_QUERIES):
        keys = chance.sample(sorted(values), chance.choice((2, 2, 3)))
        made_up.append(
            [(key, chance.choice(values[key]), key != "from" and chance.random() < 0.3) for key in keys]
        )
    return made_up


def _text(query: list[tuple[str, str, bool]]) -> str:
    return " ".join(f'{"-" if negated else ""}{key}:"{value}"' for key, value, negated in query)


def test_counts_agree_with_those_of_another_program_over_the_raw_statements(tmp_path: Path) -> None:
    chance = random.Random(16)
    own, stranger = made.Signer(), made.Signer()
    evidence = _evidence(chance, own, stranger)
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, data in enumerate(evidence):
        (raw / f"{number}.json").write_bytes(data)
    (tmp_path / "key.pem").write_bytes(own.key.pem)
    place = place_of(str(tmp_path / "index.db"))
    # a store gives each statement to another run in some namespace, which the other program does not know
    stored = (
        made.found(
            data, DSSE_FORMAT, origin=Origin("taskrun", _NAMESPACES[number % 3], "x", made.UID(number))
        )
        for number, data in enumerate(evidence)
    )
    made.built(place, made.trust(own), Whole(*stored))

    queries = _queries(chance)
    counted = subprocess.run(
        [sys.executable, "-I", recount.__file__, tmp_path / "key.pem", raw],
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(counted.stdout)
    assert len(expected) == len(queries)
    assert sum(map(bool, expected)) > len(queries) // 3, "most queries must find something"

    for query, number in zip(queries, expected, strict=True):
        answer = ask(place, parse(_text(query)), made.NOW, limit=1000)
        assert answer.count.number == len(answer.hits) == number, _text(query)
        assert not answer.count.has_more
        assert answer.exit_code == (0 if number else 3)
    with reading(place) as reader:
        for table in ("used", "named"):
            wrong = f"SELECT count(*) FROM {table} AS s JOIN attestation AS a ON a.id = s.attestation "
            assert reader.rows(Sql(wrong + "WHERE a.finished <> s.finished")) == [(0,)]

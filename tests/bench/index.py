"""``python3 dev.py bench index``: what building, updating and searching an index costs.

All figures are processor time of one process, so that other work on the machine changes them little. ``-n`` is the
number of attestations of the synthetic index: one of each two is provenance with two subjects and six inputs, the
other the execution report of the same run, with two subjects and two step images. One base image is in six of ten
runs. ``--runs`` is the number of runs that are attested into a layout, for the rate with signatures.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from chains.index.codes import Kind, Level, Outcome, Verdict
from chains.index.database import Place, place_of
from chains.index.ingest import MOST_PIECES, ingest
from chains.index.query.answer import ask
from chains.index.query.parse import parse
from chains.index.reading import Entry, Trust
from chains.index.reading import Place as At
from chains.index.rows import Pending
from chains.index.run_facts import Provenance, Report, Step
from chains.index.target import building, updating
from chains.index.writer import Progress
from chains.lineage.statement_facts import Facts, Input, Product, Role
from chains.verify.criteria import Criteria
from signers.keys.keyfile import generate_key, write_key_pair
from signers.keys.public_key import PublicKey, load_public_keys
from storage.open import open_store
from storage.parts import Part
from storage.record import DSSE_FORMAT, Evidence, Findings
from tests.bench.attest import CHAINS, write_runs

SCAI, SLSA = "https://in-toto.io/attestation/scai/v0.3", "https://slsa.dev/provenance/v1"
START, YEAR = 1_764_547_200, 365 * 86400
NAMESPACES, PIPELINES, REPOSITORIES, BASES = 50, 400, 500, 10
NOW = datetime(2026, 12, 1, tzinfo=UTC)
QUERIES = 40
"""Queries of each kind, with random values."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench index", description=__doc__)
    parser.add_argument("-n", type=int, default=100_000, help="attestations of the synthetic index")
    parser.add_argument(
        "--runs", type=int, default=300, help="runs in the layout, each with three statements"
    )
    parser.add_argument("--index", default="", help="a file or postgresql://… (default: a new file)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = place_of(options.index or f"{folder}/index.db")
        with_signatures(Path(folder), options.runs)
        synthetic(place, options.n)
        unchanged(place, options.n)
        queries(place, options.n)
        if not place.is_postgres:
            cold(place)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tell("peak memory of all of this", f"{peak:.0f} MB")
    return 0


def tell(what: str, figure: str) -> None:
    print(f"{what:56} {figure}", flush=True)


def with_signatures(folder: Path, runs: int) -> None:
    """Attest runs into a layout, and index it: reading, verifying and writing."""
    write_key_pair(folder / "signing.key", generate_key("ecdsa-p256"))
    written = write_runs(folder, runs, "registry.example.com/team/app")
    layout = f"oci-layout:{folder / 'layout'}"
    command = [CHAINS, "attest", str(written), "--key", "signing.key", "--store", layout]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    keys = load_public_keys((folder / "signing.pub").read_bytes())
    place = Place(path=str(folder / "signed.db"))
    before = time.process_time()
    trust = Trust(Criteria(keys=keys), {"keys": 1}, {})
    ingested = _build(place, trust, layout)
    used = time.process_time() - before
    n = sum(ingested.values())
    assert ingested == {Verdict.VERIFIED: n}, ingested
    tell(f"build from a layout with signatures, {n} statements", f"{n / used:,.0f} statements/s of CPU")
    before = time.process_time()
    _build(place, trust, layout, opened=updating)
    used = time.process_time() - before
    tell("update from the layout, nothing new", f"{used:.2f} s of CPU, {used / n * 1e6:.0f} s a million")


def _build(place: Place, trust: Trust, url: str, opened: Any = building) -> dict[Verdict, int]:
    async def work() -> dict[Verdict, int]:
        async with open_store(url) as store:
            with opened(place, trust) as target:
                ingested = await ingest([store], target, trust, NOW, lambda *_: None)
        assert not ingested.failed, ingested.failed
        return dict(ingested.new)

    return asyncio.run(work())


def entries(numbers: range) -> Iterator[Entry]:
    """Yield the statements with these numbers: the provenance and the report of each run."""
    for number in numbers:
        run, is_report = divmod(number, 2)
        chance = random.Random(run)
        ended = START + chance.randrange(YEAR)
        name = f"registry.example.com/team-{run % NAMESPACES}/app-{run % 2000}"
        products = tuple(Product(f"{name}-{n}", (f"sha256:{hex_of(f'image {run} {n}')}",)) for n in range(2))
        base = 0 if chance.random() < 0.6 else chance.randrange(1, BASES)
        steps = tuple(
            Input(
                Role.STEP_IMAGE,
                f"oci://registry.example.com/tools/step-{n}",
                (f"sha256:{hex_of(f'step {n}')}",),
            )
            for n in chance.sample(range(40), 2)
        )
        uid = str(_uuid(run))
        facts = Facts(SCAI, products, steps, run_uid=uid)
        report = provenance = None
        if is_report:
            report = _report(run, ended, chance)
        else:
            repository = f"https://git.example.com/team/app-{chance.randrange(REPOSITORIES)}"
            commit = hex_of(f"commit {run}")[:40]
            inputs = (
                Input(Role.SOURCE, f"git+{repository}.git", (f"sha1:{commit}",)),
                Input(
                    Role.DEPENDENCY,
                    f"oci://registry.example.com/base/os-{base}",
                    (f"sha256:{hex_of(f'base {base}')}",),
                ),
                Input(Role.TASK, "oci://registry.example.com/catalog/build", (f"sha256:{hex_of('build')}",)),
                Input(
                    Role.DEPENDENCY,
                    f"pkg:pypi/package-{run % 5000}@1",
                    (f"sha256:{hex_of(f'package {run}')}",),
                ),
                *steps,
            )
            pipeline = f"pipeline-{chance.randrange(PIPELINES)}"
            builder = f"https://ci.example.com/{run % 5}"
            facts = Facts(SLSA, products, inputs, builder, frozenset({pipeline}), uid)
            provenance = Provenance(pipeline, "", builder, repository, commit)
        digest = hashlib.sha256(f"statement {number}".encode()).digest()
        yield Entry(
            digest=digest,
            size=6000,
            facts=facts,
            verdict=Verdict.FAILED if number % 500 == 0 else Verdict.VERIFIED,
            signer="" if number % 500 == 0 else f"SHA256:{run % 3}",
            reason="key_unknown" if number % 500 == 0 else "",
            detail="",
            finished=ended,
            uid=uid,
            report=report,
            provenance=provenance,
            places=[At(_stored(number), f"evidence/{_stored(number).hex()}", DSSE_FORMAT)],
        )


def _report(run: int, ended: int, chance: random.Random) -> Report:
    step = Step(
        "build",
        "registry.example.com/tools/step-1",
        hashlib.sha256(b"step 1").digest(),
        0,
        "Completed",
        ended - 60,
        ended,
    )
    return Report(
        kind=Kind.TASKRUN,
        namespace=f"team-{run % NAMESPACES}",
        name=f"build-{run}",
        snapshot="",
        account="builder",
        outcome=Outcome.SUCCEEDED if chance.random() < 0.97 else Outcome.FAILED,
        reason="Succeeded",
        started=ended - 90,
        finished=ended,
        trigger="github/push",
        sender=f"person-{chance.randrange(200)}",
        node=f"node-{chance.randrange(100)}",
        pod_wait=5,
        step_wait=10,
        retries=0,
        cpu=30_000,
        memory=60_000,
        spot_wish=False,
        level=Level.ENFORCED if chance.random() < 0.5 else Level.NOT_REQUESTED,
        level_reason="no network for 3 of 3 containers",
        steps=(step, step),
    )


def hex_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _uuid(run: int) -> str:
    text = hex_of(f"run {run}")
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def _stored(number: int) -> bytes:
    return hashlib.sha256(f"stored {number}".encode()).digest()


TRUST = Trust(
    Criteria(keys=[PublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())]), {"keys": 2}, {}
)
"""Whom the synthetic index trusts: its entries are written as they are, nothing is verified."""


def synthetic(place: Place, n: int) -> None:
    """Write entries that were made before: what the database costs, without reading and verifying."""
    writing = 0.0
    inserting = _timed(Pending, "insert")
    with building(place, TRUST) as target:
        number = target.write(lambda writer: writer.store("bench:"))
        for start in range(0, n, MOST_PIECES):
            end = min(start + MOST_PIECES, n)
            made = list(entries(range(start, end)))
            far = Progress(n, end, int(NOW.timestamp()))
            before = time.process_time()
            target.write(lambda writer, made=made, far=far: writer.write(number, made, [], 0, far))  # type: ignore[misc]
            writing += time.process_time() - before
        before = time.process_time()
    finishing = time.process_time() - before
    tell(f"write {n:,} statements, without indexes", f"{n / writing:,.0f} statements/s of CPU")
    tell("of that the database alone", f"{n / inserting[0]:,.0f} statements/s of CPU")
    tell("make the indexes, analyze and rename", f"{finishing:.1f} s of CPU")
    tell("write and make the indexes", f"{n / (writing + finishing):,.0f} statements/s of CPU")
    if not place.is_postgres:
        size = Path(place.path).stat().st_size / 1e6
        tell("size", f"{size:.0f} MB, {size / n * 1e6:.0f} bytes a statement")


def _timed(owner: Any, name: str) -> list[float]:
    """Return a list whose only item is the processor time that a method has taken since."""
    used = [0.0]
    method = getattr(owner, name)

    def timed(*args: Any) -> Any:
        before = time.process_time()
        try:
            return method(*args)
        finally:
            used[0] += time.process_time() - before

    setattr(owner, name, timed)
    return used


class _Unchanged:
    """A store that has what the index has. Reading costs nothing."""

    url, unseen = "bench:", ""

    def __init__(self, n: int) -> None:
        self._n = n

    async def scan_new(self, is_known: Callable[[str], bool]) -> AsyncIterator[Part]:
        for number in range(self._n):
            digest = _stored(number).hex()
            found = Evidence("bench", f"evidence/{digest}", f"sha256:{digest}", DSSE_FORMAT, b"")
            yield Part(Findings((found,)), self._n)


def unchanged(place: Place, n: int) -> None:
    """Update from a store in which nothing is new: finding out that all of it is known."""

    async def work() -> None:
        with updating(place, TRUST) as target:
            ingested = await ingest([_Unchanged(n)], target, TRUST, NOW, lambda *_: None)
            assert ingested.known == n, ingested

    before = time.process_time()
    asyncio.run(work())
    used = time.process_time() - before
    tell(
        f"update, nothing new, {n:,} pieces of evidence",
        f"{used:.1f} s of CPU, {used / n * 1e6:.1f} s a million",
    )


def queries(place: Place, n: int) -> None:
    """Ask each kind of question with random values."""
    chance = random.Random(1)
    run: Callable[[], int] = lambda: chance.randrange(n // 2)  # noqa: E731 - a word for the table below
    kinds: dict[str, Callable[[], str]] = {
        "subject by digest": lambda: f"digest:sha256:{hex_of(f'image {run()} 0')}",
        "by 12 digits": lambda: hex_of(f"image {run()} 1")[:12],
        "commit": lambda: f"commit:{hex_of(f'commit {run()}')[:40]}",
        "run": lambda: f"run:{_uuid(run())}",
        "namespace and day": lambda: (
            f"namespace:team-{run() % NAMESPACES} from:{_day(chance)} to:{_day(chance, 1)}"
        ),
        "namespace and level": lambda: f"namespace:team-{run() % NAMESPACES} level:enforced",
        "repository and level": lambda: (
            f"repo:https://git.example.com/team/app-{chance.randrange(REPOSITORIES)} level:enforced"
        ),
        "pipeline": lambda: f"pipeline:pipeline-{chance.randrange(PIPELINES)}",
        "signer and day": lambda: f"signer:SHA256:{run() % 3} from:{_day(chance)} to:{_day(chance, 1)}",
        "verdict": lambda: "verdict:failed",
        "base image of six in ten runs": lambda: f"input:sha256:{hex_of('base 0')}",
        "step image by name": lambda: f"step-image:registry.example.com/tools/step-{chance.randrange(40)}",
        "outcome in a namespace": lambda: f"outcome:failed namespace:team-{run() % NAMESPACES}",
    }
    for name, make in kinds.items():
        times = []
        hits = 0
        for _ in range(QUERIES):
            query = parse(make())
            before = time.process_time()
            hits += len(ask(place, query, NOW).hits)
            times.append(time.process_time() - before)
        times.sort()
        p50, p95 = times[len(times) // 2] * 1000, times[int(len(times) * 0.95)] * 1000
        tell(f"query: {name}", f"p50 {p50:.1f} ms, p95 {p95:.1f} ms of CPU, {hits / QUERIES:.0f} rows")


def _day(chance: random.Random, more: int = 0) -> str:
    day = chance.randrange(300) if not more else 365
    return datetime.fromtimestamp(START + day * 86400, UTC).date().isoformat()


def cold(place: Place) -> None:
    """Start ``chains search`` as a process."""
    command = [sys.executable, "-m", "chains", "search", "--index", place.path, f"run:{_uuid(1)}"]
    before = os.times()
    for _ in range(5):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    tell("chains search, a process of its own", f"{used / 5:.2f} s of CPU")

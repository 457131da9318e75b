"""``python -m tests.bench.stores [--records N] [--rounds N] [--stores s3,…]``: puts and gets a second per store.

One put stores an attestation of about 8 kB in both forms, one get finds it again by its subject; with 1, 10 and 50
in flight. ``plain`` beside each is the service's own client library with the same bytes from as many threads, as
:mod:`tests.bench.plain_clients` has it; ``same writes`` that library with everything that must be written so that
readers find the evidence, without conditions or reading back. They take turns, ``--rounds`` times, and medians are
printed, with the ratio of ours to each. What is called local is an endpoint in this very process, which shares
the interpreter's lock with both: those figures compare, and say nothing of the service.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from storage.base import StoreOptions
from storage.grafeas.store import grafeas_url
from storage.open import open_store
from storage.record import Record, Subject
from tests.bench import plain_clients as plain
from tests.testbed.clouds.archivista import archivista_endpoint
from tests.testbed.clouds.containeranalysis import containeranalysis_endpoint
from tests.testbed.clouds.dynamodb import make_table
from tests.testbed.clouds.firestore import firestore_endpoint
from tests.testbed.clouds.gcs import gcs_endpoint
from tests.testbed.clouds.mongo import mongo_endpoint
from tests.testbed.images import Registry
from tests.testbed.kafka_broker import kafka_broker
from tests.testbed.s3 import moto, versitygw
from tests.testbed.servers import registry
from tests.unit.storage import records

IN_FLIGHT = (1, 10, 50)
STORES = [
    "s3",
    "oci",
    "oci-layout",
    "file",
    "dynamodb",
    "kafka",
    "mongo",
    "gcs",
    "firestore",
    "archivista",
    "grafeas",
]
Row = tuple[float, float]
FIRESTORE = "firestore://projects/p/databases/(default)/documents/e?name_field=Name"


@dataclass(frozen=True)
class Case:
    """One store, open to measure, and the plain library beside it."""

    url: str
    pair: plain.Pair | None
    options: StoreOptions = field(default_factory=StoreOptions)
    images: Registry | None = None
    """Where subjects must be images."""
    can_find: bool = True
    same: plain.Work | None = None
    """Writes all that we do, with the plain library."""


def made(count: int, first: int, images: Registry | None) -> list[Record]:
    def subject(number: int) -> Subject:
        if images is None:
            return records.subject(f"registry.example/app{number}", b"%d" % number)
        name = f"app{number}"
        return Subject(f"{images.host}/{name}", {"sha256": images.push_image(name)[7:]})

    return [
        records.attestation(
            subject(number),
            run=records.origin(number),
            pad=3000,
            snapshot=b'{"run":"%06d","pad":"%b"}' % (number, b"x" * 4000),
        )
        for number in range(first, first + count)
    ]


async def _all(work: Sequence[Callable[[], Awaitable[Any]]], in_flight: int) -> float:
    waiting = iter(work)

    async def worker() -> None:
        for one in waiting:
            await one()

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return len(work) / (time.perf_counter() - started)


def ours(case: Case, several: Sequence[Record], in_flight: int) -> Row:
    async def measure() -> Row:
        async with open_store(case.url, case.options) as store:
            await store.put(replace(several[0], origin=records.origin(0)))  # imports, checks, connects

            async def put(record: Record) -> None:
                stored = await store.put(record)
                assert stored.receipts, stored.failures
                assert not stored.failures, stored.failures

            async def get(record: Record) -> None:
                (subject,) = record.subjects
                assert (await store.find(f"sha256:{subject.digest['sha256']}", subject.name)).evidence

            puts = await _all([lambda one=one: put(one) for one in several], in_flight)  # type: ignore[misc]
            await store.flush()
            if not case.can_find:
                return puts, 0.0
            gets = await _all([lambda one=one: get(one) for one in several], in_flight)  # type: ignore[misc]
            return puts, gets

    return asyncio.run(measure())


def theirs(pair: plain.Pair, several: Sequence[Record], in_flight: int) -> Row:
    speeds = []
    with ThreadPoolExecutor(in_flight) as pool:
        for work in pair:
            if work is None:
                speeds.append(0.0)
                continue
            work(several[0])
            started = time.perf_counter()
            list(pool.map(work, several))
            speeds.append(len(several) / (time.perf_counter() - started))
    return speeds[0], speeds[1]


@contextmanager
def opened(name: str, tmp: Path) -> Iterator[Case]:
    """Yield what measures a store, with its server running."""
    if name == "s3":
        with versitygw(tmp) as server:
            os.environ.update(server.environ())
            mine, surroundings = (server.make_bucket(kind) for kind in ("ours", "plain"))
            yield Case(f"s3://{mine}", plain.boto3_s3(server.client, surroundings))
    elif name == "dynamodb":
        with moto(tmp) as server:
            os.environ.update(server.environ())
            client = server.client_for("dynamodb")
            mine, surroundings = make_table(client), make_table(client)
            url = f"dynamodb://{mine}?partition_key=Name"
            same = plain.boto3_dynamodb_items(client, make_table(client))
            yield Case(url, plain.boto3_dynamodb(client, surroundings), same=same)
    elif name == "oci":
        with registry(tmp) as images:
            yield Case("oci:", plain.registry_blobs(images), images=images)
    elif name == "kafka":
        with kafka_broker(tmp) as servers, kafka_broker(tmp, topic="plain") as surroundings:
            yield Case(f"kafka://{servers}/evidence", plain.kafka(surroundings), can_find=False)
    elif name == "mongo":
        with mongo_endpoint() as mongo:
            options = StoreOptions(mongo_server_url=mongo.url)
            yield Case("mongo://c/e?id_field=Name", plain.pymongo(mongo.url), options)
    elif name == "gcs":
        with gcs_endpoint() as bucket:
            os.environ["STORAGE_EMULATOR_HOST"] = bucket.url
            same = plain.google_storage_objects("evidence")
            yield Case("gcs://evidence", plain.google_storage("evidence"), same=same)
    elif name == "firestore":
        with firestore_endpoint() as firestore:
            os.environ["FIRESTORE_EMULATOR_HOST"] = firestore.address
            yield Case(FIRESTORE, plain.google_firestore())
    elif name == "archivista":
        with archivista_endpoint() as envelopes:
            yield Case(f"archivista:{envelopes.url}", plain.archivista(envelopes.url))
    elif name == "grafeas":
        with containeranalysis_endpoint() as project:
            yield Case(grafeas_url("proj", endpoint=project.url), None)
    else:
        yield Case(f"{name}:{tmp / 'ours'}", plain.files(tmp / "plain"))


def measured(name: str, count: int, rounds: int) -> dict[str, list[Row]]:
    """Return puts and gets a second with each number in flight: of the store, and of the plain library."""
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as text, opened(name, Path(text)) as case:
        for number, in_flight in enumerate(IN_FLIGHT):
            turns: dict[str, list[Row]] = {}
            for turn in range(rounds):
                several = made(count, 1 + (number * rounds + turn) * count, case.images)
                turns.setdefault(name, []).append(ours(case, several, in_flight))
                if case.pair is not None:
                    turns.setdefault("plain", []).append(theirs(case.pair, several, in_flight))
                if case.same is not None:
                    turns.setdefault("same writes", []).append(theirs((case.same, None), several, in_flight))
            for side, rows in turns.items():
                puts, gets = zip(*rows, strict=True)
                found.setdefault(side, []).append((median(puts), median(gets)))
    return found


def main() -> None:
    """Measure the chosen stores and print a row for each."""
    parser = argparse.ArgumentParser(prog="tests.bench.stores", description=__doc__)
    parser.add_argument("--records", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--stores", default=",".join(STORES))
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {options.records} records")
    print("| store | puts/s with 1, 10, 50 in flight | gets/s |\n|---|---|---|")
    for name in options.stores.split(","):
        found = measured(name, options.records, options.rounds)
        for what, rows in found.items():
            puts, gets = ([f"{row[side]:,.0f}" if row[side] else "none" for row in rows] for side in (0, 1))
            print(f"| {what} | {', '.join(puts)} | {', '.join(gets)} |", flush=True)
        for what in found.keys() - {name}:
            ratios = [
                ", ".join(
                    f"{mine[side] / other[side]:.2f}" if other[side] else "none"
                    for mine, other in zip(found[name], found[what], strict=True)
                )
                for side in (0, 1)
            ]
            print(f"| {name} of {what} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()

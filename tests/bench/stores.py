"""``python -m tests.bench.stores [--records N] [--stores s3,file,oci-layout]``: puts and gets a second per store.

One put stores an attestation of about 8 kB in both forms, one get finds it again by its subject; with 1, 10 and 50
in flight. ``boto3`` beside ``s3`` is the plain client library with the same bytes from as many threads: two
``put_object``, two ``get_object``, no conditions, no read-back and nothing to find them by.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

from storage.base import open_store
from storage.record import Record
from tests.testbed.s3 import S3Server, versitygw
from tests.unit.storage import records

IN_FLIGHT = (1, 10, 50)
Row = tuple[float, float]


def made(count: int, first: int) -> list[Record]:
    return [
        records.attestation(
            records.subject(f"registry.example/app{number}", b"%d" % number),
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


def ours(url: str, several: Sequence[Record], in_flight: int) -> Row:
    async def measure() -> Row:
        async with open_store(url) as store:
            await store.put(replace(several[0], origin=records.origin(0)))  # imports, checks, connects

            async def put(record: Record) -> None:
                stored = await store.put(record)
                assert stored.receipts, stored.failures
                assert not stored.failures, stored.failures

            async def get(record: Record) -> None:
                assert len((await store.find(f"sha256:{record.subjects[0].digest['sha256']}")).evidence) >= 2

            puts = await _all([lambda one=one: put(one) for one in several], in_flight)  # type: ignore[misc]
            await store.flush()
            gets = await _all([lambda one=one: get(one) for one in several], in_flight)  # type: ignore[misc]
            return puts, gets

    return asyncio.run(measure())


def plain_boto3(server: S3Server, bucket: str, several: Sequence[Record], in_flight: int) -> Row:
    client = server.client

    def put(record: Record) -> None:
        client.put_object(Bucket=bucket, Key=f"{record.origin.uid}.bundle", Body=record.bundle)
        client.put_object(Bucket=bucket, Key=f"{record.origin.uid}.envelope", Body=record.envelope)

    def get(record: Record) -> None:
        for name in ("bundle", "envelope"):
            client.get_object(Bucket=bucket, Key=f"{record.origin.uid}.{name}")["Body"].read()

    speeds = []
    with ThreadPoolExecutor(in_flight) as pool:
        for work in (put, get):
            started = time.perf_counter()
            list(pool.map(work, several))
            speeds.append(len(several) / (time.perf_counter() - started))
    return speeds[0], speeds[1]


@contextmanager
def case(name: str, tmp: Path) -> Iterator[Callable[[Sequence[Record], int], dict[str, Row]]]:
    """Yield what measures a store and, beside it, the plain library."""
    if name != "s3":
        yield lambda several, in_flight: {name: ours(f"{name}:{tmp / str(in_flight)}", several, in_flight)}
        return
    with versitygw(tmp) as server:
        os.environ.update(server.environ())

        def measure(several: Sequence[Record], in_flight: int) -> dict[str, Row]:
            bucket, beside = (server.make_bucket(f"{kind}-{in_flight}") for kind in ("ours", "plain"))
            return {
                "s3": ours(f"s3://{bucket}", several, in_flight),
                "boto3": plain_boto3(server, beside, several, in_flight),
            }

        yield measure


def main() -> None:
    """Measure the chosen stores and print a line for each and each number in flight."""
    parser = argparse.ArgumentParser(prog="tests.bench.stores", description=__doc__)
    parser.add_argument("--records", type=int, default=300)
    parser.add_argument("--stores", default="s3,file,oci-layout")
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {options.records} records")
    for name in options.stores.split(","):
        with tempfile.TemporaryDirectory(prefix="chains-bench-") as text, case(name, Path(text)) as measure:
            for number, in_flight in enumerate(IN_FLIGHT):
                several = made(options.records, 1 + number * options.records)
                for what, (puts, gets) in measure(several, in_flight).items():
                    print(f"{what}, {in_flight} in flight: {puts:.0f} puts/s, {gets:.0f} gets/s")


if __name__ == "__main__":
    main()

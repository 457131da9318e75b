"""A process of its own that stores attestations of several runs about one subject, all at once.

``python -m tests.unit.storage.writer URL OPTIONS_JSON NAME SHA256 FIRST COUNT`` prints what failed, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

from storage.base import StoreOptions
from storage.open import open_store
from storage.record import Subject
from tests.unit.storage import records


async def write(url: str, options: StoreOptions, subject: Subject, numbers: range) -> list[str]:
    async with open_store(url, options) as store:
        stored = await asyncio.gather(
            *(store.put(records.attestation(subject, run=records.origin(number))) for number in numbers)
        )
    return [failure.reason for one in stored for failure in one.failures]


def main(url: str, options: str, name: str, sha256: str, first: str, count: str) -> None:
    numbers = range(int(first), int(first) + int(count))
    subject = Subject(name, {"sha256": sha256})
    print(json.dumps(asyncio.run(write(url, StoreOptions(**json.loads(options)), subject, numbers))))


if __name__ == "__main__":
    main(*sys.argv[1:])

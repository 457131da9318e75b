"""Reading all of a store part by part: bounds, refusals, and stores that stop answering."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from storage.errors import StoreRejected, StoreUnavailable
from storage.limits import allowance
from storage.open import open_store
from storage.parts import AT_ONCE, FEW_BYTES, Part, read_each
from storage.record import Findings, Skipped
from tests.unit.storage import records


def parts_of(keys: list[int], read: object) -> list[Part]:
    async def work() -> list[Part]:
        return [part async for part in read_each(keys, read)]  # type: ignore[arg-type]

    return asyncio.run(work())


def test_every_key_gives_a_part_in_its_order() -> None:
    async def read(key: int) -> Findings:
        return Findings(skipped=(Skipped(str(key), "", "made"),))

    found = parts_of(list(range(3 * AT_ONCE + 1)), read)
    assert [part.findings.skipped[0].location for part in found] == [
        str(key) for key in range(3 * AT_ONCE + 1)
    ]
    assert {part.total for part in found} == {3 * AT_ONCE + 1}


def test_a_large_part_is_read_again_alone() -> None:
    running = 0
    tries = dict.fromkeys(range(3), 0)

    async def read(key: int) -> Findings:
        nonlocal running
        running += 1
        tries[key] += 1
        await asyncio.sleep(0)
        beside = running - 1
        refused = allowance.current().take(FEW_BYTES + 1 if key == 1 else 1)
        running -= 1
        return Findings(skipped=(Skipped(str(beside), "", refused),))

    found = parts_of([0, 1, 2], read)
    assert tries == {0: 1, 1: 2, 2: 1}
    assert [part.findings.skipped[0].reason for part in found] == ["", "", ""]
    assert found[1].findings.skipped[0].location == "0", "another part was in work meanwhile"


def test_a_part_that_is_too_large_even_alone_says_so() -> None:
    async def read(key: int) -> Findings:
        return Findings(skipped=(Skipped("", "", allowance.current().take(allowance.MOST_BYTES + 1)),))

    (part,) = parts_of([1], read)
    assert part.findings.skipped[0].reason.startswith("not read: there are more than")


def test_a_part_that_the_store_refuses_hides_no_other() -> None:
    async def read(key: int) -> Findings:
        if key == 1:
            raise StoreRejected("not this one")
        return Findings()

    found = parts_of([0, 1, 2], read)
    assert [len(part.findings.skipped) for part in found] == [0, 1, 0]
    assert found[1].findings.skipped[0] == Skipped("1", "", "not this one")


def test_a_store_that_stops_answering_ends_the_scan() -> None:
    async def read(key: int) -> Findings:
        if key == AT_ONCE:
            raise StoreUnavailable("gone")
        return Findings()

    seen: list[Part] = []

    async def work() -> None:
        async for part in read_each(list(range(2 * AT_ONCE)), read):
            seen.append(part)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(StoreUnavailable, match="gone"):
        asyncio.run(work())
    assert len(seen) == AT_ONCE


def test_a_scan_of_a_layout_finds_what_other_tools_put_there(tmp_path: Path) -> None:
    """Without our annotations no run is known, and a search by run finds nothing."""
    record = records.attestation(records.subject())
    url = f"oci-layout:{tmp_path / 'layout'}"

    async def write() -> None:
        async with open_store(url) as store:
            await store.put(record)

    asyncio.run(write())
    index = tmp_path / "layout" / "index.json"
    document = json.loads(index.read_bytes())
    for entry in document["manifests"]:
        entry["annotations"] = {
            key: value
            for key, value in entry.get("annotations", {}).items()
            if not key.startswith("provenance.chains/")
        }
    index.write_text(json.dumps(document))

    async def work() -> tuple[list[str], set[bytes]]:
        async with open_store(url) as store:
            runs = [run.origin.uid async for run in store.list_runs()]
            return runs, {item.data async for part in store.scan() for item in part.findings.evidence}

    assert asyncio.run(work()) == ([], {record.bundle, record.envelope})


def test_a_damaged_blob_of_a_layout_is_told_and_hides_no_other(tmp_path: Path) -> None:
    first, second = (
        records.attestation(records.subject()),
        records.attestation(records.subject(content=b"other")),
    )
    url = f"oci-layout:{tmp_path / 'layout'}"

    async def work() -> tuple[set[bytes], list[Skipped]]:
        async with open_store(url) as store:
            await store.put(first)
            await store.put(second)
        for blob in (tmp_path / "layout" / "blobs" / "sha256").iterdir():
            if blob.read_bytes() == first.bundle:
                blob.write_bytes(b"changed")
        async with open_store(url) as store:
            parts = [part async for part in store.scan()]
        evidence = {item.data for part in parts for item in part.findings.evidence}
        return evidence, [item for part in parts for item in part.findings.skipped]

    evidence, skipped = asyncio.run(work())
    assert evidence == {first.envelope, second.bundle, second.envelope}
    assert ["expected digest" in item.reason for item in skipped] == [True]

"""The contract of stores as far as a topic can hold it: what a consumer reads is what was put, whole and once."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.base import StoreOptions
from storage.open import open_store
from storage.record import Record, Stored, Subject
from tests.testbed.kafka_broker import kafka_broker
from tests.unit.storage import records

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("kafka_program")]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[str]:
    with kafka_broker(tmp_path) as found:
        yield found


def put(servers: str, *several: Record, seconds: float = 10.0) -> list[Stored]:
    async def work() -> list[Stored]:
        async with open_store(f"kafka://{servers}/evidence", StoreOptions(timeout=seconds)) as store:
            return await asyncio.gather(*(store.put(record) for record in several))

    return asyncio.run(work())


def consumed(servers: str, count: int) -> list[Any]:
    from confluent_kafka import Consumer

    settings = {"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest", "fetch.message.max.bytes": 20_000_000}  # fmt: skip
    consumer = Consumer(settings)
    consumer.subscribe(["evidence"])
    try:
        found: list[Any] = []
        while len(found) < count:
            more = consumer.consume(count - len(found), timeout=15)
            assert more, f"{len(found)} of {count} messages"
            found += more
        assert not [one.error() for one in found if one.error()]
        return found
    finally:
        consumer.close()


def test_twenty_writers_at_once_lose_nothing(servers: str) -> None:
    made = [records.attestation(records.subject(), run=records.origin(number)) for number in range(20)]
    stored = put(servers, *made)
    assert not [failure for one in stored for failure in one.failures]
    assert len({one.receipts[0].location for one in stored}) == 20
    read = consumed(servers, 20)
    assert sorted(one.value() for one in read) == sorted(record.envelope for record in made)
    payloads = {record.envelope: base64.b64encode(record.payload) for record in made}
    assert all(dict(one.headers())["payload"] == payloads[one.value()] for one in read)
    where = {f"kafka://{servers}/evidence#{one.partition()}@{one.offset()}" for one in read}
    assert where == {one.receipts[0].location for one in stored}


def test_large_payloads_and_odd_names_arrive_whole(servers: str) -> None:
    name = "../ünïcode 名前 😀\n\x00-rf,a"
    odd = Subject(name, {"sha256": "1" * 64})
    run = records.origin(7, name=name, namespace=name)
    made = [records.attestation(odd, run=run), records.attestation(records.subject(), pad=100_000)]
    assert not [failure for one in put(servers, *made) for failure in one.failures]
    assert {one.value() for one in consumed(servers, 2)} == {record.envelope for record in made}


def test_what_the_broker_does_not_take_is_told(servers: str) -> None:
    (stored,) = put(servers, records.attestation(records.subject(), pad=10_000_000))
    (failure,) = stored.failures
    assert not failure.transient
    assert "MSG_SIZE_TOO_LARGE" in failure.reason


def test_an_outage_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    made = [records.attestation(records.subject(), run=records.origin(number)) for number in range(3)]
    with kafka_broker(tmp_path) as servers:
        assert put(servers, made[0])[0].receipts
    failed = put(servers, *made, seconds=1.0)
    assert all(failure.transient for one in failed for failure in one.failures)
    assert not [one for one in failed if one.receipts]
    with kafka_broker(tmp_path) as servers:
        assert all(one.receipts for one in put(servers, *made))
        assert {one.value() for one in consumed(servers, 3)} == {record.envelope for record in made}

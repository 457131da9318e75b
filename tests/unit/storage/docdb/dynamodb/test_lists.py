"""A table is asked for what a digest or a run leads to, and scanned only for what nobody listed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from storage.base import Store, StoreOptions
from storage.docdb.documents import chains_document
from storage.docdb.dynamodb import lists
from storage.docdb.dynamodb import store as docdb_dynamodb
from storage.docdb.dynamodb.client import DynamoClient, NotTogether, encoded
from storage.errors import StoreRejected, StoreUnavailable
from storage.formats.chains_document import document_of
from storage.open import open_store
from storage.record import Findings, Record, Stored, Subject
from tests.testbed.clouds.dynamodb import make_table
from tests.testbed.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.testbed.s3_proxy import DROP, Proxy, s3_proxy
from tests.unit.storage import records

OURS = "provenance-chains"
RIGHTS = {"PutItem", "GetItem", "TransactGetItems"}
"""What puts and searches ask for; the right to the last is ``dynamodb:GetItem``."""


class Table:
    """A new table behind a proxy."""

    def __init__(self, server: S3Server, proxy: Proxy) -> None:
        self.client = server.client_for("dynamodb")
        self.name = make_table(self.client)
        self.proxy = proxy
        self.url = f"dynamodb://{self.name}?partition_key=Name"

    def open(self, more: str = "", **options: Any) -> Store:
        return open_store(self.url + more, StoreOptions(timeout=60, attempts=4, **options))

    def operations(self) -> list[str]:
        """Return what was asked for since the last call."""
        told = [headers.get("X-Amz-Target", "").rpartition(".")[2] for headers in self.proxy.headers]
        self.proxy.headers.clear()
        self.proxy.seen.clear()
        return told

    def put_as_chains(self, record: Record) -> None:
        document = chains_document(document_of(record))
        item = {field: encoded(value) for field, value in document.items()}
        self.client.put_item(TableName=self.name, Item=item)

    def items(self) -> dict[str, Any]:
        return {one["Name"]["S"]: one for one in self.client.scan(TableName=self.name)["Items"]}


@pytest.fixture
def table(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    with s3_proxy(moto_server.endpoint, ACCESS_KEY, SECRET_KEY) as proxy:
        for name, value in (moto_server.environ() | {"AWS_ENDPOINT_URL": proxy.url}).items():
            monkeypatch.setenv(name, value)
        yield Table(moto_server, proxy)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


async def put(store: Store, *made: Record) -> list[Stored]:
    return await asyncio.gather(*(store.put(record) for record in made))


def digest_of(subject: Subject) -> str:
    return f"sha256:{subject.digest['sha256']}"


def envelopes(found: Findings) -> set[bytes]:
    return {one.data for one in found.evidence if one.format == "dsse"}


def test_what_was_put_is_found_by_digest_and_by_run_without_a_scan(table: Table) -> None:
    image = records.subject()
    made = records.records_of_run(image)

    async def work() -> None:
        async with table.open() as store:
            assert all(one.receipts and not one.failures for one in await put(store, *made))
        assert set(table.operations()) <= RIGHTS
        async with table.open() as store:
            by_digest = await store.find(digest_of(image))
            by_run = await store.find_run(made[0].origin.uid)
        assert set(table.operations()) <= RIGHTS
        assert by_digest == by_run
        assert len(by_digest.evidence) == 6
        assert envelopes(by_digest) == {record.envelope for record in made[:2]}

    run(work)


def test_an_unknown_digest_scans_once_and_not_where_scans_are_forbidden(table: Table) -> None:
    async def work() -> None:
        async with table.open() as store:
            assert await store.find(f"sha256:{'1' * 64}") == Findings()
            assert table.operations().count("Scan") == 1
            assert await store.find_run("unknown") == Findings()
            assert table.operations().count("Scan") == 1
        async with table.open("&allow_scans=false") as store:
            assert await store.find(f"sha256:{'1' * 64}") == Findings()
            assert await store.find_run("unknown") == Findings()
            assert set(table.operations()) <= RIGHTS

    run(work)


def test_what_chains_wrote_is_found_by_digest_until_scans_are_forbidden(table: Table) -> None:
    image = records.subject()
    theirs = records.attestation(image)
    table.put_as_chains(theirs)

    async def work() -> None:
        async with table.open() as store:
            assert envelopes(await store.find(digest_of(image))) == {theirs.envelope}
            # one of ours that is not in any list either: the search goes on behind it
            signature = records.records_of_run(image, 7)[2]
            table.put_as_chains(signature)
            assert len((await store.find(digest_of(image))).evidence) == 2
        async with table.open("&allow_scans=false") as store:
            found = await store.find(digest_of(image))
            assert [one.format for one in found.evidence] == ["simplesigning"], "by its key"

    run(work)


def test_a_document_in_no_list_is_entered_when_it_is_put_again(table: Table) -> None:
    image = records.subject()
    record = records.attestation(image)
    table.put_as_chains(record)

    async def work() -> None:
        async with table.open(encoding_format="dsse") as store:
            (stored,) = await put(store, record)
            assert [one.changed for one in stored.receipts] == [False]
            table.operations()
            assert envelopes(await store.find(digest_of(image))) == {record.envelope}
            assert set(table.operations()) <= RIGHTS

    run(work)


def test_a_list_goes_on_in_further_items_and_loses_no_name(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST", 3)
    image = records.subject()
    made = [records.attestation(image, run=records.origin(number)) for number in range(10)]

    async def work() -> None:
        stores = [table.open() for _ in range(2)]
        told = await asyncio.gather(*(stores[number % 2].put(one) for number, one in enumerate(made)))
        assert not [failure for one in told for failure in one.failures]
        again = await asyncio.gather(*(stores[number % 2].put(one) for number, one in enumerate(made)))
        assert not any(receipt.changed for one in again for receipt in one.receipts)
        for store in stores:
            await store.close()
        async with table.open("&allow_scans=false") as store:
            assert envelopes(await store.find(digest_of(image))) == {record.envelope for record in made}

    run(work)
    held = [item["Names"]["SS"] for name, item in table.items().items() if name.startswith(".by-digest/")]
    assert sorted(map(len, held)) == [1, 3, 3, 3], "each name is there once, though it was put twice"


@pytest.mark.parametrize("harm", ["fails", "forgets"])
def test_a_document_that_no_list_leads_to_gives_no_receipt(
    harm: str, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the two writes, and a table that keeps one of them alone."""
    image = records.subject()
    record = records.attestation(image)
    right = DynamoClient.call

    async def call(self: DynamoClient, operation: str, arguments: dict[str, Any], action: str) -> Any:
        if operation == "PutItem" and arguments["Item"]["Name"]["S"].startswith(".by-"):
            if harm == "fails":
                raise StoreUnavailable(f"{action}: it ended here")
            return {}
        return await right(self, operation, arguments, action)

    async def work() -> None:
        async with table.open("&allow_scans=false") as store:
            monkeypatch.setattr(DynamoClient, "call", call)
            (stored,) = await put(store, record)
            assert not stored.receipts
            (failure,) = stored.failures
            assert failure.transient
            assert ("it ended here" if harm == "fails" else "by which it is found") in failure.reason
            monkeypatch.setattr(DynamoClient, "call", right)
            assert await store.find(digest_of(image)) == Findings()
            (stored,) = await put(store, record)
            assert stored.receipts
            assert envelopes(await store.find(digest_of(image))) == {record.envelope}

    run(work)


def test_items_that_cannot_be_read_together_are_read_apart(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = records.subject()
    right = DynamoClient.call

    async def call(self: DynamoClient, operation: str, arguments: dict[str, Any], action: str) -> Any:
        if operation == "TransactGetItems":
            raise NotTogether(action)
        return await right(self, operation, arguments, action)

    monkeypatch.setattr(DynamoClient, "call", call)

    async def work() -> None:
        async with table.open() as store:
            (stored,) = await put(store, records.attestation(image))
            assert len(stored.receipts) == 2
            assert len((await store.find(digest_of(image))).evidence) == 2

    run(work)


def test_a_table_that_is_too_large_to_be_scanned_is_an_error_and_no_empty_answer(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docdb_dynamodb, "MOST_PAGES", 0)

    async def work() -> None:
        async with table.open() as store:
            with pytest.raises(StoreRejected, match="allow_scans=false"):
                await store.find(f"sha256:{'1' * 64}")

    run(work)


def test_another_document_under_the_same_key_is_replaced(table: Table) -> None:
    image = records.subject()
    first = records.attestation(image)
    second = replace(records.attestation(image, pad=10), origin=first.origin)

    async def work() -> None:
        async with table.open() as store:
            for record in (first, second):
                (stored,) = await put(store, record)
                assert all(one.changed for one in stored.receipts)
            assert envelopes(await store.find(digest_of(image))) == {second.envelope}

    run(work)


@pytest.mark.parametrize("harm", [DROP, 500, 403])
def test_what_fails_without_the_sdk_is_asked_of_the_sdk(harm: Any, table: Table) -> None:
    def agents() -> list[str]:
        return [headers.get("User-Agent", "").split("/")[0] for headers in table.proxy.headers]

    async def work() -> None:
        async with table.open() as store:
            await put(store, records.attestation(records.subject()))
            table.operations()
            await put(store, records.attestation(records.subject("second", b"2")))
            assert set(agents()) == {OURS}
            table.proxy.fault = lambda *_: harm if table.proxy.headers[-1].get("User-Agent") == OURS else None
            (stored,) = await put(store, records.attestation(records.subject("third", b"3")))
            assert len(stored.receipts) == 2
            assert "Boto3" in agents()

    run(work)


def test_a_wrong_word_about_scans_is_refused() -> None:
    with pytest.raises(StoreRejected, match="allow_scans: expected true or false"):
        open_store("dynamodb://table?partition_key=Name&allow_scans=perhaps")


def test_no_digest_and_no_run_is_taken_for_a_further_item_of_another() -> None:
    for place in (lists.digest_list, lists.run_list):
        assert place("sha256:ab").endswith("/sha256:ab")
        assert place("sha256:ab/1") != f"{place('sha256:ab')}/1"
        assert "/" not in place("sha256:ab/1").partition("/")[2]

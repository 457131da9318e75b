"""A record in every store that is named for it: each ends in entries, and what has a receipt is left alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains.attest.stores import ClosedStore, Entry, Stores, is_done
from chains.errors import ConfigError
from storage.base import Probe, Store
from storage.errors import StoreError, StoreUnavailable
from storage.record import Failure, Findings, Receipt, Record, Stored
from tests.unit.storage import records

Json = Any


class Shelf(Store):
    """Gives the answer that it was made with, and keeps what it was asked."""

    def __init__(self, url: str, answer: Stored | None = None, broken: StoreError | None = None) -> None:
        self.url, self._broken = url, broken
        self.answer = (
            answer if answer is not None else Stored((Receipt(url, "file", "s", "here", "sha256:1"),))
        )
        self.put_records: list[Record] = []
        self.flushed = self.closed = 0

    async def put(self, record: Record) -> Stored:
        self.put_records.append(record)
        return self.answer

    async def find(self, digest: str, reference: str = "") -> Findings:
        return Findings()

    async def flush(self) -> None:
        self.flushed += 1
        if self._broken:
            raise self._broken

    async def close(self) -> None:
        self.closed += 1
        if self._broken:
            raise self._broken


def put(store: Store, *earlier: Entry, record: Record | None = None) -> list[Entry]:
    stores = Stores({Stores.EVERYTHING: [store]})
    return asyncio.run(stores.put("provenance", record or records.attestation(), (), earlier=earlier))


def stored(detail: str = "here", form: str = "file", state: str = "stored", store: str = "a:") -> Entry:
    return Entry("provenance", store, form, "s", state, detail, "sha256:1")


def test_every_answer_of_a_store_becomes_an_entry() -> None:
    answer = Stored(
        (Receipt("a:", "att", "s1", "at", "sha256:1"), Receipt("a:", "sig", "s2", "there", "sha256:2", changed=False)),
        (Failure("a:", "referrer", "s3", "down", transient=True, absence="possible", host="https://h:1"),),
        (Failure("a:", "none", "s4", "no image"),),
    )  # fmt: skip
    assert put(Shelf("a:", answer)) == [
        Entry("provenance", "a:", "att", "s1", "stored", "at", "sha256:1"),
        Entry("provenance", "a:", "sig", "s2", "unchanged", "there", "sha256:2"),
        Entry(
            "provenance", "a:", "referrer", "s3", "failed", "down", "", True, "https://h:1", "", "possible"
        ),
        Entry("provenance", "a:", "none", "s4", "skipped", "no image"),
    ]
    nothing = Entry("provenance", "a:", "", "", "skipped", "no subject that this store can hold")
    assert put(Shelf("a:", Stored())) == [nothing]


def test_a_location_is_told_whole_and_a_reason_without_its_secrets() -> None:
    text = "https://user:hunter2@host/x"
    for state in ("stored", "unchanged"):
        assert Entry("p", "a:", "f", "s", state, text).told == text
    for state in ("failed", "skipped"):
        assert "hunter2" not in Entry("p", "a:", "f", "s", state, text).told


@pytest.mark.parametrize(
    ("state", "form", "received"),
    [
        ("stored", "att", True),
        ("unchanged", "att", True),
        ("stored", "annotation", False),
        ("unchanged", "annotation", False),
        ("failed", "att", False),
        ("skipped", "att", False),
    ],
)
def test_what_goes_into_the_runs_annotations_is_not_there_before_its_mark(
    state: str, form: str, received: bool
) -> None:
    assert Entry("p", "a:", form, "s", state, "x").is_received is received


@pytest.mark.parametrize(
    ("earlier", "done"),
    [
        ([], False),
        ([stored()], True),
        ([stored(state="unchanged")], True),
        ([stored(), stored("there", "att")], True),
        ([stored(), stored("why", "att", "skipped")], True),
        ([stored("why", "att", "skipped")], False),
        ([stored(), stored("why", "att", "failed")], False),
        ([stored(form="annotation")], False),
        ([stored(store="b:")], False),
        ([stored(), stored("why", "att", "failed", "b:")], True),
    ],
)
def test_a_store_is_done_with_what_it_gave_a_receipt_for_in_every_form(
    earlier: list[Entry], done: bool
) -> None:
    shelf = Shelf("a:")
    assert is_done(shelf, earlier) is done
    found = put(shelf, *earlier)
    assert len(shelf.put_records) == (0 if done else 1)
    if done:
        assert found == [one for one in earlier if one.store == "a:"]


def test_what_an_earlier_try_stored_is_not_stored_again_and_keeps_its_entry() -> None:
    receipts = (
        Receipt("a:", "file", "s", "here", "sha256:1", changed=False),
        Receipt("a:", "att", "s", "there", "sha256:2"),
    )
    shelf = Shelf("a:", Stored(receipts))
    earlier = [
        stored("here"),
        stored("there", "att", "failed"),
        stored("elsewhere", store="b:"),
        stored("x", "annotation"),
    ]
    assert put(shelf, *earlier) == [
        stored("here"),
        Entry("provenance", "a:", "att", "s", "stored", "there", "sha256:2"),
    ]
    assert [one.received for one in shelf.put_records] == [frozenset({"here"})]
    fresh = Shelf("a:")
    put(fresh)
    assert [one.received for one in fresh.put_records] == [frozenset()]


def test_a_payload_goes_to_the_stores_of_its_names_and_to_each_once() -> None:
    a, b, c = Shelf("a:"), Shelf("b:"), Shelf("c:")
    stores = Stores({"oci": [a, b], "gcs": [c], "s3": [a]})
    assert stores.all == (a, b, c)
    assert stores.chosen(["gcs", "oci"]) == (c, a, b)
    assert stores.chosen([]) == ()
    with pytest.raises(ConfigError) as caught:
        stores.chosen(["oci", "kafka", "file"])
    assert str(caught.value) == "no store is open for kafka, file"
    everything = Stores({Stores.EVERYTHING: [c], "oci": [a]})
    assert everything.chosen(["oci", "kafka"]) == (c,)
    assert everything.all == (c, a)


def test_a_payload_is_put_into_each_of_its_stores_but_those_that_are_left_out() -> None:
    a, b, c = Shelf("a:"), Shelf("b:"), Shelf("c:")
    stores = Stores({"oci": [a, b, c]})
    record = records.attestation()
    found = asyncio.run(stores.put("report", record, ["oci"], without={b}))
    assert [(one.payload, one.store) for one in found] == [("report", "a:"), ("report", "c:")]
    assert (len(a.put_records), len(b.put_records), len(c.put_records)) == (1, 0, 1)
    found = asyncio.run(stores.put("report", record, ["oci"], earlier=[stored()]))
    assert [(one.payload, one.store) for one in found] == [
        ("provenance", "a:"),
        ("report", "b:"),
        ("report", "c:"),
    ]
    assert len(a.put_records) == 1, "it has a receipt already"
    assert asyncio.run(stores.put("report", record, ["oci"], without={a, b, c})) == []


def test_one_store_that_cannot_flush_keeps_no_other_from_it() -> None:
    broken, good = Shelf("a:", broken=StoreUnavailable("no room")), Shelf("b:")
    stores = Stores({"x": [broken], "y": [good]})
    assert asyncio.run(stores.flush()) == {"a:": "no room"}
    asyncio.run(stores.close())
    assert [(one.flushed, one.closed) for one in (broken, good)] == [(1, 1), (1, 1)]


def test_stores_are_exchanged_one_for_one() -> None:
    a, b = Shelf("a:"), Shelf("b:")
    changed = Stores({"x": [a, b], "y": [a]}).exchanged(lambda store: Shelf(f"new-{store.url}"))
    assert [one.url for one in changed.all] == ["new-a:", "new-b:"]
    assert changed.chosen(["y"]) == changed.chosen(["x"])[:1]


def test_a_closed_store_takes_nothing_for_now_and_says_why() -> None:
    closed = ClosedStore("kms:", "its key cannot be read")
    stores = Stores({"x": [Shelf("a:"), closed]})
    assert stores.closed() == ["its key cannot be read"]
    (_, failed) = asyncio.run(stores.put("report", records.attestation(), ["x"]))
    assert failed == Entry("report", "kms:", "", "", "failed", "its key cannot be read", transient=True)
    assert asyncio.run(closed.probe()) == [
        Probe("open", "failed", "its key cannot be read", "mend the keys of this store")
    ]
    for asked in (closed.find("sha256:1"), closed.platforms("sha256:1", "x")):
        with pytest.raises(StoreUnavailable) as caught:
            asyncio.run(asked)
        assert str(caught.value) == "its key cannot be read"

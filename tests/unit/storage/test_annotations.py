"""The store in a run's annotations: Chains' names and values, and a limit that is told before it is met."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from dataclasses import replace

import pytest

from storage.annotations import MAX_BYTES, AnnotationStore
from storage.base import StoreOptions
from storage.errors import StoreRejected
from storage.record import Record, Stored
from tests.unit.storage import records

UID = records.origin().uid
PREFIX = "chains.tekton.dev/"


def opened() -> AnnotationStore:
    return AnnotationStore("tekton:", StoreOptions())


def put(store: AnnotationStore, *several: Record) -> list[Stored]:
    async def work() -> list[Stored]:
        return [await store.put(record) for record in several]

    return asyncio.run(work())


def test_names_and_values_are_those_of_chains() -> None:
    image = records.subject()
    provenance, report, signature = records.records_of_run(image)
    store = opened()
    stored = put(store, provenance, report, replace(signature, certificate=b"CERT", chain=b"CHAIN"))
    assert all(one.receipts and not one.failures for one in stored)
    written = dict(store.take(UID))
    short = image.digest["sha256"][:12]
    keys = (f"taskrun-{UID}", f"report-{UID}", short)
    assert set(written) == {
        f"{PREFIX}{name}-{key}" for key in keys for name in ("payload", "signature", "cert", "chain")
    }
    assert b64decode(written[f"{PREFIX}payload-taskrun-{UID}"]) == provenance.payload
    assert b64decode(written[f"{PREFIX}signature-taskrun-{UID}"]) == provenance.envelope
    assert written[f"{PREFIX}cert-taskrun-{UID}"] == ""  # Chains writes it empty too
    assert b64decode(written[f"{PREFIX}payload-{short}"]) == signature.payload
    assert b64decode(written[f"{PREFIX}signature-{short}"]) == signature.signature
    assert b64decode(written[f"{PREFIX}cert-{short}"]) == b"CERT"
    assert all(len(name.removeprefix(PREFIX)) <= 63 for name in written), "kubernetes takes no longer names"
    assert store.take(UID) == {}


def test_what_would_not_fit_into_one_object_is_a_failure_and_nothing_of_it_is_written() -> None:
    image = records.subject()
    store = opened()
    small, large = records.attestation(image), records.attestation(image, pad=100_000)
    first, second = put(store, replace(small, predicate_type=records.REPORT), large)
    assert first.receipts
    (failure,) = second.failures
    assert not second.receipts
    assert not failure.transient
    assert "kubernetes allows 256" in failure.reason
    assert "store in oci or another place" in failure.reason
    written = store.take(UID)
    assert {name.partition("-")[2] for name in written} == {f"report-{UID}"}
    assert sum(len(name) + len(value) for name, value in written.items()) < MAX_BYTES


def test_pieces_that_fit_alone_and_not_together_are_told() -> None:
    store = opened()
    made = [
        records.attestation(records.subject(), pad=40_000),
        replace(records.attestation(records.subject(), pad=40_000), predicate_type=records.REPORT),
    ]
    first, second = put(store, *made)
    assert first.receipts
    assert second.failures
    store.take(UID)
    assert put(store, made[1])[0].receipts, "another run has its own room"


def test_another_url_is_none() -> None:
    with pytest.raises(StoreRejected, match="expected tekton:"):
        AnnotationStore("tekton:x", StoreOptions())

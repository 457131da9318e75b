"""Receipts of stores that could not flush, in the flow that the command line uses."""

from __future__ import annotations

import asyncio

import pytest

from chains.attest.batch import attest_all
from chains.attest.flow import distrust
from chains.attest.outcome import FAILED, SIGNED, SKIPPED, Outcome
from chains.attest.stores import Entry, Stores
from chains.config.parse import parse_config
from signers.base import Signer
from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair
from storage.base import Store
from storage.errors import StoreUnavailable
from storage.record import Failure, Findings, Receipt, Record, Stored
from tests.unit.chains.attest.test_flow import CONFIG, intake_of, run


class Shelf(Store):
    """Takes everything, or has it already, and fails to flush on demand."""

    def __init__(self, url: str, *, changed: bool, flush_error: str = "") -> None:
        self.url, self._changed, self._flush_error = url, changed, flush_error

    async def put(self, record: Record) -> Stored:
        skipped = Failure(self.url, "referrer", "", "no image")
        return Stored((Receipt(self.url, "att", "", "there", "sha256:1", self._changed),), skipped=(skipped,))

    async def find(self, digest: str, reference: str = "") -> Findings:
        return Findings()

    async def flush(self) -> None:
        if self._flush_error:
            raise StoreUnavailable(self._flush_error)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("key") / "signing.key"
    write_key_pair(path, generate_key())
    return open_keyfile(str(path))


def attested(signer: Signer, *stores: Store) -> Outcome:
    opened = Stores({Stores.EVERYTHING: stores})
    return asyncio.run(attest_all(intake_of(run()), parse_config(CONFIG), signer, opened))[0]


@pytest.mark.parametrize("changed", [True, False])
def test_no_receipt_of_a_store_that_could_not_flush_is_believed_unchanged_ones_neither(
    signer: Signer, changed: bool
) -> None:
    sound = attested(signer, Shelf("a:", changed=changed))
    assert (sound.state, sound.unchanged) == (SIGNED, not changed)
    lost = attested(signer, Shelf("a:", changed=changed, flush_error="no room"), Shelf("b:", changed=changed))
    assert (lost.state, lost.unchanged) == (FAILED, False)
    assert lost.reason == "provenance in a:: no room (and 1 more)"
    state = "stored" if changed else "unchanged"
    assert {(one.store, one.form, one.state, one.detail, one.digest) for one in lost.entries} == {
        ("a:", "att", "failed", "no room", ""),
        ("a:", "referrer", "skipped", "no image", ""),
        ("b:", "att", state, "there", "sha256:1"),
        ("b:", "referrer", "skipped", "no image", ""),
    }


def test_a_store_that_could_not_flush_changes_no_outcome_that_it_had_no_part_in() -> None:
    entry = Entry("provenance", "b:", "att", "", "unchanged", "there", "sha256:1")
    outcome = Outcome("taskrun/ns/r", "u", SIGNED, "", (entry,))
    assert distrust(outcome, {"a:": "no room"}) is outcome
    assert distrust(outcome, {}) is outcome
    skipped = Outcome(
        "taskrun/ns/r", "u", SKIPPED, "no image", (Entry("p", "a:", "", "", "skipped", "no image"),)
    )
    assert distrust(skipped, {"a:": "no room"}) == skipped

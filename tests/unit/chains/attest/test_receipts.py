"""Receipts of stores that could not flush, in the flow that the command line uses."""

from __future__ import annotations

import asyncio

import pytest

from chains.attest.batch import attest_all
from chains.attest.flow import Flow, distrust
from chains.attest.outcome import FAILED, SIGNED, SKIPPED, Outcome
from chains.attest.stores import Entry, Stores
from chains.config.parse import parse_config
from chains.errors import ChainsError
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
    return asyncio.run(attest_all(intake_of(run()), Flow(parse_config(CONFIG), signer, opened)))[0]


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


def told(outcome: Outcome) -> set[tuple[str, str, str, str]]:
    return {(one.store, one.form, one.state, one.detail) for one in outcome.entries}


def test_one_attempt_of_the_controller_and_a_batch_have_the_same_rule_for_a_store_that_cannot_flush(
    signer: Signer,
) -> None:
    shelves = Shelf("a:", changed=True, flush_error="no room"), Shelf("b:", changed=True)
    flow = Flow(parse_config(CONFIG), signer, Stores({Stores.EVERYTHING: shelves}))
    intake = intake_of(run())
    (batched,) = asyncio.run(attest_all(intake, flow))
    alone = asyncio.run(flow.attest(intake.snapshot(next(iter(intake.runs)))))
    assert (
        told(alone) == told(batched) >= {("a:", "att", "failed", "no room"), ("b:", "att", "stored", "there")}
    )
    assert (alone.state, alone.reason) == (batched.state, batched.reason)
    assert alone.may_pass
    assert batched.may_pass


def test_the_next_attempt_stores_again_what_could_not_be_flushed_and_nothing_else(signer: Signer) -> None:
    class Counting(Shelf):
        puts = 0

        async def put(self, record: Record) -> Stored:
            self.puts += 1
            return await super().put(record)

    sick, sound = Counting("a:", changed=True, flush_error="no room"), Counting("b:", changed=True)
    flow = Flow(parse_config(CONFIG), signer, Stores({Stores.EVERYTHING: [sick, sound]}))
    intake = intake_of(run())
    snapshot = intake.snapshot(next(iter(intake.runs)))
    first = asyncio.run(flow.attest(snapshot))
    assert (first.state, sick.puts, sound.puts) == (FAILED, 2, 2)
    sick._flush_error = ""
    again = asyncio.run(flow.attest(snapshot, earlier=first.earlier))
    assert (again.state, sick.puts, sound.puts) == (SIGNED, 4, 2)


def test_a_run_with_no_part_in_a_store_that_cannot_flush_is_signed(signer: Signer) -> None:
    config = parse_config(CONFIG | {"artifacts.taskrun.storage": "oci", "artifacts.oci.storage": "oci"})
    stores = Stores(
        {"oci": [Shelf("b:", changed=True)], "gcs": [Shelf("a:", changed=True, flush_error="full")]}
    )
    intake = intake_of(run())
    outcome = asyncio.run(Flow(config, signer, stores).attest(intake.snapshot(next(iter(intake.runs)))))
    assert (outcome.state, {one.store for one in outcome.entries}) == (SIGNED, {"b:"})


def test_a_run_that_breaks_a_store_is_an_outcome_with_the_exception(signer: Signer) -> None:
    class Broken(Shelf):
        async def put(self, record: Record) -> Stored:
            raise ValueError("a shape that nobody thought of")

    flow = Flow(parse_config(CONFIG), signer, Stores({Stores.EVERYTHING: [Broken("a:", changed=True)]}))
    intake = intake_of(run())
    outcome = asyncio.run(flow.attest(intake.snapshot(next(iter(intake.runs)))))
    assert (outcome.state, outcome.may_pass) == (FAILED, False)
    assert "unexpected ValueError: a shape that nobody thought of; please report it" in outcome.reason
    assert isinstance(outcome.error, ValueError)


@pytest.mark.parametrize("error", [ChainsError("not now"), PermissionError("not now")])
def test_what_is_raised_before_storing_is_raised_and_nothing_is_stored(
    signer: Signer, error: Exception
) -> None:
    class Untouched(Shelf):
        async def put(self, record: Record) -> Stored:
            raise AssertionError("something was stored")

    def refuse() -> None:
        raise error

    flow = Flow(parse_config(CONFIG), signer, Stores({Stores.EVERYTHING: [Untouched("a:", changed=True)]}))
    intake = intake_of(run())
    with pytest.raises(type(error), match="not now"):
        asyncio.run(flow.attest(intake.snapshot(next(iter(intake.runs))), before_storing=refuse))

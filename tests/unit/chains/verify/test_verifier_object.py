"""The verifier as a library user has it: one object for stores, criteria and clock."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chains.errors import UsageError
from chains.verify.reasons import Result
from chains.verify.verdict import Verdict, VerificationFailed
from chains.verify.verifier import Verifier
from storage.record import Findings
from tests.faults.verify.forge import (
    DIGEST,
    IMAGE,
    NOW,
    OTHER,
    Shelf,
    bundle,
    criteria,
    form_a,
    form_b,
    provenance,
    signer,
    subject,
)


def test_an_image_gives_its_verified_statement() -> None:
    async def work() -> str:
        async with Verifier(criteria(), [Shelf(form_a(provenance()))], clock=lambda: NOW) as verifier:
            found = await verifier.image(f"{IMAGE}@{DIGEST}")
        attestation = found.require()
        assert attestation.used
        assert attestation.statement is not None
        return attestation.statement.predicate_type

    assert asyncio.run(work()) == "https://slsa.dev/provenance/v1"


@pytest.mark.parametrize("reference", [f"{IMAGE}:v1", IMAGE, DIGEST, "run.json"])
def test_what_is_no_image_with_digest_is_refused_and_nothing_is_asked(reference: str) -> None:
    class Untouched(Shelf):
        async def find(self, digest: str, reference: str = "") -> Findings:
            raise AssertionError("a store was asked")

    with pytest.raises(UsageError):
        asyncio.run(Verifier(criteria(), [Untouched()]).image(reference))


def test_a_store_may_be_a_url(tmp_path: Path) -> None:
    verifier = Verifier(criteria(), [f"file:{tmp_path}"])
    assert [store.url for store in verifier.stores] == [f"file:{tmp_path}"]
    assert asyncio.run(verifier.digest(DIGEST)).verdict is Verdict.NOT_FOUND


def test_its_end_closes_every_store() -> None:
    class Closing(Shelf):
        closed = False

        async def close(self) -> None:
            self.closed = True

    shelves = Closing(), Closing()

    async def work() -> None:
        async with Verifier(criteria(), shelves):
            pass

    asyncio.run(work())
    assert [shelf.closed for shelf in shelves] == [True, True]


def test_what_is_required_and_was_not_verified_is_raised_with_every_check() -> None:
    held = form_a(provenance(subject(OTHER)))
    found = asyncio.run(Verifier(criteria(), [Shelf(held)], clock=lambda: NOW).digest(DIGEST, IMAGE))
    with pytest.raises(VerificationFailed) as raised:
        found.require()
    assert raised.value.verification is found
    assert raised.value.checks == found.checks
    assert {check.result for check in raised.value.checks} >= {Result.PASS, Result.FAIL}
    assert raised.value.exit_code == 1
    assert str(raised.value).startswith(f"{DIGEST}: FAILED: subject_mismatch")
    assert any(line.startswith("subject: expected ") for line in raised.value.lines)


def test_no_evidence_is_raised_with_its_own_exit_code() -> None:
    found = asyncio.run(Verifier(criteria(), [Shelf()], clock=lambda: NOW).digest(DIGEST))
    with pytest.raises(VerificationFailed, match="NOT_FOUND") as raised:
        found.require()
    assert raised.value.exit_code == 3


def test_a_bundle_is_verified_for_its_subject() -> None:
    async def work() -> list[Verdict]:
        verifier = Verifier(criteria(), clock=lambda: NOW)
        ours, theirs = bundle(provenance()), bundle(provenance(), signer("stranger"))
        return [
            (await verifier.bundle(ours, digest=DIGEST)).verdict,
            (await verifier.bundle(ours, digest=f"sha256:{OTHER}")).verdict,
            (await verifier.bundle(theirs, digest=DIGEST)).verdict,
        ]

    assert asyncio.run(work()) == [Verdict.VERIFIED, Verdict.FAILED, Verdict.FAILED]


def test_the_clock_is_read_once_for_each_verification() -> None:
    read = []

    def clock() -> object:
        read.append(NOW)
        return NOW

    verifier = Verifier(criteria(), [Shelf(form_b(provenance()))], clock=clock)  # type: ignore[arg-type]
    assert asyncio.run(verifier.digest(DIGEST, IMAGE)).verified_at == NOW
    assert len(read) == 1

"""How each piece of evidence is listed in an answer."""

from __future__ import annotations

import asyncio

import pytest

from chains.revocation.revocations import Revocations
from chains.verify.criteria import Criteria
from chains.verify.reasons import Reason
from chains.verify.verdict import Attestation
from chains.verify.verifier import Verifier
from signers.formats.dsse import Envelope, Signature
from storage.record import Evidence
from tests.faults.verify.forge import (
    DIGEST,
    IMAGE,
    NOW,
    Shelf,
    envelope,
    evidence,
    form_b,
    provenance,
    public,
    signer,
)
from tests.unit.chains.policy.made import report
from tests.unit.chains.revocation.made import revoked

OURS, SECOND = public(), public("second")


def told(by: Criteria, one: Evidence, revocations: Revocations | None = None) -> Attestation:
    verifier = Verifier(by, [Shelf(one)], clock=lambda: NOW, revocations=revocations)
    (found,) = asyncio.run(verifier.digest(DIGEST, IMAGE)).attestations
    return found


def broken() -> Evidence:
    """Return an envelope that names our key, which did not sign it."""
    made = envelope(provenance(), signer())
    signatures = tuple(Signature(one.keyid, bytes(len(one.sig))) for one in made.signatures)
    return evidence(Envelope(made.payload, made.payload_type, signatures).to_bytes(), "dsse")


@pytest.mark.parametrize("struck", ["", "ours", "second"])
def test_an_attestation_is_listed_as_tampered_or_revoked_only_if_it_is(struck: str) -> None:
    by = Criteria([OURS, SECOND])
    revocations = revoked({"key": public(struck).keyid}) if struck else None
    altered, honest = told(by, broken(), revocations), told(by, form_b(provenance()), revocations)
    assert (altered.is_tampered, altered.is_revoked, altered.reason) == (
        True,
        False,
        Reason.SIGNATURE_INVALID,
    )
    assert (honest.is_tampered, honest.is_revoked) == (False, struck == "ours")


def test_a_report_that_fails_as_provenance_alone_is_told_with_that_reason() -> None:
    found = told(Criteria([OURS], builder_id="https://other.example"), form_b(report()))
    assert not found.used
    assert found.reason is Reason.PREDICATE_TYPE_MISMATCH

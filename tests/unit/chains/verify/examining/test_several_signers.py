"""An envelope may have several signatures: any trusted one that counts suffices, and others are told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from chains.revocation.revocations import Revocations
from chains.verify.criteria import Criteria
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from signers.formats.dsse import Envelope, Signature
from signers.keys.keyset import KeyStatus, ListedKey
from storage.record import Evidence
from tests.faults.verify.forge import (
    DIGEST,
    IMAGE,
    NOW,
    Shelf,
    envelope,
    evidence,
    image_signature,
    provenance,
    public,
    signer,
)
from tests.unit.chains.policy.made import document, report, tekton, trust, verdict, wrong
from tests.unit.chains.revocation.made import revoked

Json = Any
OURS, SECOND = public(), public("second")
BOTH = ([OURS, SECOND], [SECOND, OURS])


def by_several(statement: Json, *names: str, broken: str = "") -> Evidence:
    """Return one envelope with a signature of each of these keys; the one of ``broken`` is wrong."""
    made = [envelope(statement, signer(name)) for name in names]
    signatures = [
        Signature(one.keyid, bytes(len(one.sig))) if name == broken else one
        for name, each in zip(names, made, strict=True)
        for one in each.signatures
    ]
    return evidence(Envelope(made[0].payload, made[0].payload_type, tuple(signatures)).to_bytes(), "dsse")


def ask(one: Evidence, criteria: Criteria, revocations: Revocations | None = None) -> Verification:
    verifier = Verifier(criteria, [Shelf(one)], clock=lambda: NOW, revocations=revocations)
    return asyncio.run(verifier.digest(DIGEST, IMAGE))


def used(found: Verification) -> str:
    (one,) = found.attestations
    assert one.used
    return one.keyid


@pytest.mark.parametrize("names", [("ours", "second"), ("second", "ours")], ids="-then-".join)
@pytest.mark.parametrize("keys", BOTH, ids=["ours-listed-first", "second-listed-first"])
def test_a_signature_of_a_key_that_counts_suffices_beside_one_of_a_revoked_key(
    names: tuple[str, str], keys: list[Any]
) -> None:
    one = by_several(provenance(), *names)
    for bad, good in ((OURS, SECOND), (SECOND, OURS)):
        by_list = ask(one, Criteria(keys), revoked({"key": bad.keyid}))
        status = {bad.keyid: ListedKey(bad, status=KeyStatus.REVOKED)}
        over = {bad.keyid: ListedKey(bad, not_after=NOW - timedelta(days=1))}
        by_set, by_window = ask(one, Criteria(keys, windows=status)), ask(one, Criteria(keys, windows=over))
        for found, check_id, reason in (
            (by_list, "revocation", Reason.KEY_REVOKED),
            (by_set, "key-window", Reason.KEY_REVOKED),
            (by_window, "key-window", Reason.KEY_OUTSIDE_WINDOW),
        ):
            assert found.verdict is Verdict.VERIFIED
            assert used(found) == good.keyid
            told = [check for check in found.checks if check.id == check_id and check.result is Result.SKIP]
            # the key of the second signature is found first only if it is tried first
            first = names[0] == ("ours" if bad is OURS else "second")
            assert [check.reason for check in told] == ([reason] if first else [])
            assert all(f"one by {bad.keyid} does not: " in check.actual for check in told)
            assert all(check.expected for check in told)


def test_an_envelope_whose_signers_are_all_revoked_does_not_count() -> None:
    one = by_several(provenance(), "ours", "second")
    found = ask(one, Criteria([OURS, SECOND]), revoked({"key": OURS.keyid}, {"key": SECOND.keyid}))
    assert found.verdict is Verdict.FAILED
    failed = [check for check in found.checks if check.result is Result.FAIL and check.id == "revocation"]
    assert [check.reason for check in failed] == [Reason.KEY_REVOKED]


def test_a_signature_of_a_stranger_or_a_broken_one_saves_no_revoked_key() -> None:
    for one in (
        by_several(provenance(), "ours", "stranger"),
        by_several(provenance(), "ours", "second", broken="second"),
    ):
        found = ask(one, Criteria([OURS, SECOND]), revoked({"key": OURS.keyid}))
        assert found.verdict is Verdict.FAILED
        assert not found.attestations[0].is_tampered
        assert found.attestations[0].reason is Reason.KEY_REVOKED


def test_a_single_file_counts_by_any_of_its_signatures_too() -> None:
    one = by_several(provenance(), "ours", "second")
    verifier = Verifier(Criteria([OURS, SECOND]), clock=lambda: NOW, revocations=revoked({"key": OURS.keyid}))
    found = asyncio.run(verifier.bundle(one.data, digest=DIGEST, form="dsse"))
    assert (found.verdict, used(found)) == (Verdict.VERIFIED, SECOND.keyid)


def test_an_image_signature_by_a_revoked_key_is_refused_whoever_else_is_trusted() -> None:
    # it has one signature, which is found again however often somebody else is looked for
    found = ask(image_signature(), Criteria([OURS, SECOND]), revoked({"key": OURS.keyid}))
    assert found.verdict is not Verdict.VERIFIED
    assert [each.reason for each in found.attestations] == [Reason.KEY_REVOKED]


def test_another_signature_does_not_mend_what_the_statement_says() -> None:
    one = by_several(provenance(builder="https://other.example"), "ours", "second")
    found = ask(one, Criteria([OURS, SECOND], builder_id="https://tekton.dev/chains/v2"))
    assert found.verdict is Verdict.FAILED
    assert found.attestations[0].reason is Reason.BUILDER_NOT_TRUSTED
    assert found.attestations[0].keyid == OURS.keyid


def test_a_policy_counts_the_signature_whose_key_has_not_ended() -> None:
    ended = trust("tekton", "ours", until="2026-01-01T00:00:00Z")
    ended["signer"]["keys"] += trust("tekton", "second")["signer"]["keys"]
    policy = document(trust=[ended], require={"outcome": "succeeded"})
    pieces = [by_several(made, "ours", "second") for made in (tekton(), report())]
    assert wrong(verdict(policy, *pieces)) == {}
    alone = [by_several(made, "ours") for made in (tekton(), report())]
    assert wrong(verdict(policy, *alone)) == {"evidence": "key_outside_window"}

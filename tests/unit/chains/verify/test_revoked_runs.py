"""Revocation lists and run files."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains.attest.payloads import build_payloads
from chains.attest.sign import sign
from chains.config.parse import parse_config
from chains.revocation.revocations import Revocations
from chains.tekton.snapshot import RunSnapshot, take_snapshot
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from storage.base import Store
from storage.record import Evidence
from tests.faults.verify.forge import (
    HEX,
    NOW,
    OTHER,
    Broken,
    Shelf,
    criteria,
    evidence,
    public,
    reasons,
    results,
    signer,
)
from tests.unit.chains.revocation.made import revoked
from tests.unit.chains.verify.test_runs import config, raw

Json = Any
SCAI = b"https://in-toto.io/attestation/scai/"
RUN = take_snapshot(raw())
BROKEN = Revocations(problems=("revocation list x: is away",))


def signed(
    run: RunSnapshot = RUN, by: str = "ours", form: str = "slsa/v2alpha4"
) -> tuple[Evidence, Evidence]:
    """Return the provenance of a run and its execution report."""
    records = [sign(run, one, signer(by)) for one in build_payloads(run, parse_config(config(form)))]
    (report,) = [one for one in records if SCAI in one.payload]
    provenance = next(one for one in records if b"slsa.dev/provenance" in one.payload)
    return evidence(provenance.bundle), evidence(report.bundle)


def ask(run: RunSnapshot, *held: Evidence | Store, by: Revocations | None) -> Verification:
    stores = [Shelf(*(one for one in held if isinstance(one, Evidence)))]
    wanted = criteria(keys=[public(), public("second")])
    broken = [one for one in held if isinstance(one, Broken)]
    verifier = Verifier(wanted, [*stores, *broken], clock=lambda: NOW, revocations=by)
    return asyncio.run(verifier.run(run))


def test_a_run_with_a_revoked_artifact_fails() -> None:
    held = signed()
    assert ask(RUN, *held, by=None).verdict is Verdict.VERIFIED
    found = ask(RUN, *held, by=revoked({"image": f"sha256:{HEX}"}))
    assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"revoked"})
    assert f"image sha256:{HEX} is revoked" in found.summary
    assert ask(RUN, *held, by=revoked({"image": f"sha256:{OTHER}"})).verdict is Verdict.VERIFIED
    assert ask(RUN, by=revoked({"image": f"sha256:{HEX}"})).verdict is Verdict.FAILED


def test_a_run_without_artifacts_fails_for_a_revoked_key_of_its_report() -> None:
    run = take_snapshot(raw(image=False))
    _, report = signed(run)
    assert ask(run, report, by=None).verdict is Verdict.VERIFIED
    found = ask(run, report, by=revoked({"key": public().keyid}))
    assert found.verdict is Verdict.FAILED
    assert "key_revoked" in reasons(found)


def test_evidence_of_a_run_by_another_key_counts_beside_revoked_evidence() -> None:
    found = ask(RUN, *signed(), *signed(by="second"), by=revoked({"key": public().keyid}))
    assert found.verdict is Verdict.VERIFIED
    assert {one.keyid for one in found.attestations if one.used} == {public("second").keyid}
    assert {one.keyid for one in found.attestations if one.is_revoked} == {public().keyid}


def test_a_list_that_cannot_be_used_leaves_a_run_undecided() -> None:
    found = ask(RUN, *signed(), by=BROKEN)
    assert (found.verdict, found.exit_code) == (Verdict.INDETERMINATE, 4)
    assert results(found)["revocation-list"] == "error"


@pytest.mark.parametrize("held", [signed(), signed()[:1], signed()[1:]], ids=["both", "provenance", "report"])
def test_a_changed_run_stays_changed_whatever_is_revoked(held: Json) -> None:
    changed = take_snapshot(raw(params=[{"name": "url", "value": "https://git.example.com/other"}]))
    for by in (None, revoked({"key": public().keyid}), BROKEN):
        assert ask(changed, *held, by=by).verdict is Verdict.FAILED


def test_evidence_that_is_taken_away_does_not_turn_a_contradiction_into_an_outage() -> None:
    """Old provenance fits a copy of its run, and only a report shows the copy."""
    copied = take_snapshot(raw("copy", uid="uid-2"))
    old, _ = signed(by="ours", form="in-toto")
    _, report = signed(by="second", form="in-toto")
    for by in (None, revoked({"key": public().keyid})):
        found = ask(copied, old, report, Broken(), by=by)
        assert (found.verdict, found.exit_code) == (Verdict.FAILED, 1)

"""Pitfalls that other verifiers fell into, asked of policies, each under its number in the list of pitfalls.

Those about the bytes of certificates, logs and timestamps (6, 13, 15, 16) are in ``tests/unit/chains/verify``, and
those about the printed answer of ``verify`` (14) too; who signs summaries (24) is in ``test_summary``.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from chains.errors import UsageError
from chains.policy.answer import answer
from chains.policy.document.load import parse_policies
from chains.policy.document.patterns import read_image
from chains.policy.opened import open_policy
from chains.policy.verdict import Decision
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import (
    BUILDER,
    IMAGE,
    NOW,
    OTHER,
    Shelf,
    altered,
    bundle,
    evidence,
    form_a,
    form_b,
    image_bundle,
    image_signature,
    public,
    signer,
    subject,
)
from tests.unit.chains.policy.made import (
    REF,
    decided,
    document,
    opened,
    problems,
    report,
    tekton,
    trust,
    verdict,
    wrong,
)
from tests.unit.chains.policy.summaries import door, held, stamped, trusted_root, vsa

Json = Any
SOURCES = ["oci-referrer", "oci-att", "oci-layout", "file", "s3", "archivista"]


def test_pitfall_1_a_policy_decides_about_a_digest_and_about_no_tag() -> None:
    with pytest.raises(UsageError, match="has no digest"):
        decided(document(), form_b(tekton()), image=f"{IMAGE}:v1")


def test_pitfall_2_a_statement_is_about_its_digests_whatever_names_it_has() -> None:
    named = tekton() | {"subject": [subject(OTHER, IMAGE)]}
    assert wrong(verdict(document(), form_b(named))) == {"evidence": "subject_mismatch"}
    several = tekton() | {"subject": [subject(OTHER, "x"), subject(name="something else")]}
    assert wrong(verdict(document(), form_b(several))) == {}


@pytest.mark.parametrize(
    "kind", ["https://slsa.dev/provenance/v1/", "slsaprovenance1", "https://slsa.dev/provenance"]
)
def test_pitfall_3_what_is_almost_provenance_is_none(kind: str) -> None:
    found = verdict(document(), form_b(tekton() | {"predicateType": kind}))
    assert (found.verdict, found.decision) == (Verdict.FAILED, Decision.DENY)


def test_pitfall_4_nothing_verified_is_never_success() -> None:
    for pieces in (
        (),
        (image_signature(),),
        (image_bundle(),),
        (form_b(report()),),
        (evidence(b"{}", "dsse"),),
    ):
        found = verdict(document(rules=[{"name": "r", "cel": "true", "message": "m"}]), *pieces)
        assert found.exit_code in {1, 3}
        assert found.decision is Decision.DENY
    assert verdict(document(missing="warn")).exit_code == 3


def test_pitfall_5_a_key_inside_the_evidence_is_never_trusted() -> None:
    thief = signer("thief")

    def name_us(members: Json) -> None:
        members["verificationMaterial"]["publicKey"] = {"hint": public().keyid}
        members["dsseEnvelope"]["signatures"][0]["keyid"] = public().keyid
        members["publicKey"] = thief.public_pem.decode()

    named = evidence(altered(bundle(tekton(), thief), name_us))
    assert wrong(verdict(document(), named)) == {"evidence": "evidence_invalid"}
    assert wrong(verdict(document(), form_b(tekton(), thief))) == {"evidence": "key_unknown"}


@pytest.mark.parametrize("source", SOURCES)
def test_pitfall_7_a_forged_envelope_counts_on_no_path_of_discovery(source: str) -> None:
    forged = evidence(bundle(tekton(), signer("stranger")), "bundle-v0.3", source)
    assert verdict(document(), forged).verdict is Verdict.FAILED
    assert verdict(document(), forged, form_b(tekton())).verdict is Verdict.VERIFIED


def test_pitfall_8_an_identity_is_compared_as_a_whole_and_with_its_issuer() -> None:
    def entry(**identity: str) -> Json:
        return {**trust(), "signer": {"identity": identity}}

    def wanted(**identity: str) -> Json:
        written = document(trust=[entry(**identity)], trustedRoot=trusted_root())
        (policy,) = parse_policies(json.dumps(written).encode(), "p.json").policies
        (by,) = open_policy(policy).trust
        assert by.criteria.certificate is not None
        return by.criteria.certificate

    found = wanted(sanRegexp=r"https://ci\.example\.com/.*", issuer="https://issuer.example.com")
    assert found.identity.matches("https://ci.example.com/shop")
    assert not found.identity.matches("https://evil.example.com/https://ci.example.com/shop")
    assert not found.identity.matches("https://ciXexample.com/shop")
    assert not found.issuer.matches("https://issuer.example.com.evil.example.com")
    exact = wanted(san="https://ci.example.com/.*", issuer="https://issuer.example.com")
    assert not exact.identity.matches("https://ci.example.com/shop")
    for half in ({"san": "https://ci.example.com/shop"}, {"issuer": "https://issuer.example.com"}):
        assert problems(document(trust=[entry(**half)], trustedRoot=trusted_root()))


def test_pitfall_9_a_builder_id_without_its_signer_is_worth_nothing() -> None:
    pairs = [trust("tekton", "ours"), trust("other", "second", builder="https://other.example.com")]
    stolen = form_b(tekton(builder="https://other.example.com"))
    assert wrong(verdict(document(trust=pairs), stolen)) == {"trust": "signer_not_trusted"}
    assert problems(document(trust=[{"name": "x", "builderId": BUILDER, "maxLevel": 1}])) == {"missing_name"}


def test_pitfall_10_an_external_parameter_that_is_not_listed_fails() -> None:
    policy = document(require={"externalParameters": {"runSpec": "any"}})
    assert wrong(verdict(policy, form_b(tekton(external={"runSpec": 1})))) == {}
    assert wrong(verdict(policy, form_b(tekton(external={"runSpec": 1, "debug": True})))) == {
        "externalParameters": "parameter_unknown"
    }


def test_pitfall_11_old_or_foreign_evidence_is_no_fresh_evidence_of_this_image() -> None:
    assert wrong(verdict(document(), form_b(tekton(value=OTHER)))) == {"evidence": "subject_mismatch"}
    recent = document(require={"maxAge": "30d"}, trustedRoot=trusted_root())
    assert wrong(verdict(recent, stamped(tekton(), NOW - timedelta(days=31), key="ours"))) == {
        "maxAge": "too_old"
    }
    assert wrong(verdict(recent, stamped(tekton(), NOW - timedelta(days=29), key="ours"))) == {}
    elsewhere = held(vsa(resourceUri=REF.replace(IMAGE, f"{IMAGE}-other")))
    assert wrong(verdict(door(), elsewhere)) == {"vsa": "resource_mismatch"}


def test_pitfall_12_one_foreign_bundle_hides_no_envelope_of_ours() -> None:
    foreign = evidence(b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.9+json"}', "bundle-v0.9")
    assert verdict(document(), foreign, form_a(tekton())).verdict is Verdict.VERIFIED
    assert verdict(document(), foreign).verdict is not Verdict.VERIFIED


def test_pitfall_17_a_time_in_the_future_is_undecided() -> None:
    recent = document(require={"maxAge": "30d"}, trustedRoot=trusted_root())
    found = verdict(recent, stamped(tekton(), NOW + timedelta(days=1), key="ours"))
    assert (found.verdict, found.exit_code) == (Verdict.INDETERMINATE, 4)


def test_pitfall_18_evidence_about_a_platforms_manifest_is_none_about_its_index() -> None:
    found = verdict(document(), form_b(tekton(value=OTHER)))
    assert found.verdict is Verdict.FAILED
    assert verdict(document(), form_b(tekton(value=OTHER)), image=f"{IMAGE}@sha256:{OTHER}").verdict is (
        Verdict.VERIFIED
    )


def test_pitfall_19_hundreds_of_strangers_do_not_hide_ours() -> None:
    strangers = [form_b(tekton(uid=f"uid-{number}"), signer("stranger")) for number in range(300)]
    assert verdict(document(), *strangers, form_b(tekton()), *strangers).verdict is Verdict.VERIFIED


def test_pitfall_20_what_cannot_be_read_is_told_with_its_reason() -> None:
    found = verdict(document(), form_b(tekton()), evidence(b"no JSON", "bundle-v0.3"))
    assert found.verdict is Verdict.VERIFIED
    assert [(one.reason.value, bool(one.detail)) for one in found.skipped] == [("unreadable", True)]


def test_pitfall_21_a_signature_bundle_is_no_provenance() -> None:
    assert verdict(document(), image_bundle()).verdict is Verdict.NOT_FOUND


def test_pitfall_22_an_image_is_judged_anew_each_time_it_is_asked_about() -> None:
    policies = opened(document())

    def asked(*pieces: Json) -> Verdict:
        found = asyncio.run(answer(policies, read_image(REF), stores=[Shelf(*pieces)], now=NOW))
        assert found is not None
        return found.strictest.verdict

    good = form_b(tekton())
    assert [asked(good), asked(), asked(good)] == [Verdict.VERIFIED, Verdict.NOT_FOUND, Verdict.VERIFIED]


def test_pitfall_23_a_parameter_or_annotation_proves_no_hermetic_run() -> None:
    policy = document(require={"hermetic": "enforced"})
    wish = tekton(external={"runSpec": {"hermetic": True}, "hermetic": "enforced"})
    annotated = evidence(bundle(wish), annotations={"dev.sigstore.bundle.hermetic": "enforced"})
    assert wrong(verdict(policy, annotated)) == {"hermetic": "no_execution_report"}
    assert wrong(verdict(policy, annotated, form_b(report(level="requested")))) == {
        "hermetic": "hermetic_not_proven"
    }
    assert wrong(verdict(policy, annotated, form_b(report(), signer("stranger")))) == {
        "hermetic": "no_execution_report"
    }


def test_pitfall_25_an_answer_says_when_and_by_which_policy_it_was_given() -> None:
    written = verdict(document(), form_b(tekton())).to_json()
    assert written["verifiedAt"] == "2026-10-05T09:00:00Z"
    assert written["policy"]["digest"] == opened(document())[0].policy.digest

"""Verdicts about one digest: what counts, what is only told, and what wins when findings disagree."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from chains.errors import UsageError
from chains.verify.criteria import Criteria
from chains.verify.evidence import Examined, examine
from chains.verify.render import to_text
from chains.verify.verdict import Verdict
from signers.formats.dsse import Envelope, Signature, sign_payload
from storage.errors import StoreRejected, StoreUnavailable
from storage.formats.manifest_evidence import read_manifest
from storage.record import IN_TOTO_PAYLOAD_TYPE, SkipKind, Skipped
from tests.faults.verify.forge import (
    BUILD_TYPE,
    BUILDER,
    DIGEST,
    HEX,
    IMAGE,
    OTHER,
    Broken,
    Json,
    Shelf,
    altered,
    ask,
    bundle,
    criteria,
    envelope,
    evidence,
    form_a,
    form_b,
    image_bundle,
    image_signature,
    old_provenance,
    provenance,
    public,
    reasons,
    results,
    signer,
    subject,
    with_payload,
)

SCAI = "https://in-toto.io/attestation/scai/v0.3"


@pytest.mark.parametrize("form", [form_a, form_b])
@pytest.mark.parametrize("statement", [provenance(), old_provenance()])
def test_provenance_of_either_version_in_either_form_is_verified(form: Json, statement: Json) -> None:
    found = ask(form(statement))
    assert found.verdict is Verdict.VERIFIED
    assert found.exit_code == 0
    assert set(results(found).values()) == {"pass"}
    assert [each.used for each in found.attestations] == [True]
    assert found.attestations[0].statement is not None
    assert found.attestations[0].statement.predicate_type == statement["predicateType"]


@pytest.mark.parametrize("algorithm", ["ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519"])
def test_every_kind_of_key_verifies(algorithm: str) -> None:
    by = signer("kinds", algorithm)
    trusted = criteria(keys=[public("kinds", algorithm)])
    found = ask(form_a(provenance(), by), form_b(provenance(), by), image_signature(by=by), by=trusted)
    assert found.verdict is Verdict.VERIFIED
    assert results(found)["image-signature"] == "pass"


def test_any_of_several_given_keys_is_enough_and_the_one_that_signed_is_told() -> None:
    found = ask(form_b(provenance(), signer("second")), by=criteria(keys=[public(), public("second")]))
    assert found.verdict is Verdict.VERIFIED
    assert found.attestations[0].keyid == public("second").keyid


def test_no_evidence_at_all_is_not_found() -> None:
    found = ask()
    assert found.verdict is Verdict.NOT_FOUND
    assert found.exit_code == 3
    assert results(found) == {"evidence": "fail"}
    assert reasons(found) == {"no_attestation"}


def test_evidence_by_a_stranger_alone_is_failed() -> None:
    found = ask(form_a(provenance(), signer("stranger")))
    assert found.verdict is Verdict.FAILED
    assert found.exit_code == 1
    assert reasons(found) == {"key_unknown"}
    assert found.attestations[0].statement is None


def test_a_stranger_beside_good_evidence_is_listed_and_changes_nothing() -> None:
    found = ask(form_b(provenance(), signer("stranger")), form_a(provenance()))
    assert found.verdict is Verdict.VERIFIED
    assert [(each.used, each.reason and each.reason.value) for each in found.attestations] == [
        (False, "key_unknown"),
        (True, None),
    ]


@pytest.mark.parametrize("form", [form_a, form_b])
def test_evidence_changed_after_our_signature_fails_even_beside_good_evidence(form: Json) -> None:
    good = form(provenance())
    forged = evidence(
        with_payload(good.data, lambda statement: statement["subject"].append(subject(OTHER))), good.format
    )
    for held in ([forged], [good, forged], [forged, good]):
        found = ask(*held)
        assert found.verdict is Verdict.FAILED
        assert "signature_invalid" in reasons(found)
        assert results(found)["signature"] == "fail"
        assert not any(each.used for each in found.attestations)


def test_a_hint_in_cosigns_spelling_that_names_our_key_is_tampering_too() -> None:
    def name_us(members: Json) -> None:
        members["verificationMaterial"]["publicKey"]["hint"] = public().cosign_hint
        members["dsseEnvelope"]["signatures"][0].pop("keyid")

    found = ask(evidence(altered(bundle(provenance(), signer("stranger")), name_us)))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"signature_invalid"}


def test_a_bundle_as_cosign_writes_it_without_keyid_is_verified() -> None:
    def like_cosign(members: Json) -> None:
        members["verificationMaterial"]["publicKey"]["hint"] = public().cosign_hint
        members["dsseEnvelope"]["signatures"][0].pop("keyid")

    assert ask(evidence(altered(bundle(provenance()), like_cosign))).verdict is Verdict.VERIFIED


def test_an_envelope_without_any_name_by_a_stranger_is_unknown_not_tampered() -> None:
    data = altered(
        envelope(provenance(), signer("stranger")).to_bytes(),
        lambda members: members["signatures"][0].pop("keyid"),
    )
    assert reasons(ask(evidence(data))) == {"key_unknown"}
    assert ask(evidence(data), form_a(provenance())).verdict is Verdict.VERIFIED


def test_a_hint_that_contradicts_the_keyid_keeps_a_bundle_from_being_used() -> None:
    data = altered(
        bundle(provenance()),
        lambda members: members["verificationMaterial"]["publicKey"].update(hint=public().cosign_hint),
    )
    found = ask(evidence(data))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"key_hint_mismatch"}


def test_an_envelope_with_a_strangers_signature_before_ours_is_verified() -> None:
    payload = json.dumps(provenance()).encode()
    signatures = [
        sign_payload(by, payload, IN_TOTO_PAYLOAD_TYPE).signatures[0] for by in (signer("stranger"), signer())
    ]
    both = Envelope(payload, IN_TOTO_PAYLOAD_TYPE, tuple(signatures)).to_bytes()
    assert ask(evidence(both)).verdict is Verdict.VERIFIED


def test_an_envelope_whose_signature_in_our_name_is_wrong_is_failed() -> None:
    forged = Envelope(b"{}", IN_TOTO_PAYLOAD_TYPE, (Signature(public().keyid, b"\0" * 70),)).to_bytes()
    assert reasons(ask(evidence(forged))) == {"signature_invalid"}


def test_a_store_that_is_down_leaves_nothing_decided() -> None:
    found = ask(Broken())
    assert found.verdict is Verdict.INDETERMINATE
    assert found.exit_code == 4
    assert results(found) == {"evidence": "error", "store": "error"}
    assert "503" in found.summary


def test_a_store_that_is_down_beside_verified_evidence_is_told() -> None:
    found = ask(form_a(provenance()), Broken())
    assert found.verdict is Verdict.VERIFIED
    assert results(found)["store"] == "error"
    assert "broken:" in next(check.actual for check in found.checks if check.id == "store")


def test_a_store_that_is_down_beside_unusable_evidence_is_not_decided() -> None:
    assert ask(form_a(provenance(), signer("stranger")), Broken()).verdict is Verdict.INDETERMINATE


def test_a_store_that_is_down_does_not_hide_tampering() -> None:
    forged = evidence(with_payload(bundle(provenance()), lambda statement: statement.clear()))
    assert ask(forged, Broken()).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    "error", [StoreRejected("403"), StoreUnavailable("timed out"), RuntimeError("a bug"), OSError("disk")]
)
def test_whatever_a_store_raises_becomes_an_error_check(error: Exception) -> None:
    found = ask(Broken(error))
    assert found.verdict is Verdict.INDETERMINATE
    assert str(error) in to_text(found, verbose=True)


def test_image_signatures_alone_are_no_provenance() -> None:
    found = ask(image_signature(), image_bundle())
    assert found.verdict is Verdict.NOT_FOUND
    assert results(found) == {"evidence": "fail", "image-signature": "pass"}
    assert not any(each.used for each in found.attestations)


def test_image_signatures_beside_provenance_have_a_check_of_their_own() -> None:
    found = ask(image_signature(), image_bundle(), form_a(provenance()))
    assert found.verdict is Verdict.VERIFIED
    (check,) = [check for check in found.checks if check.id == "image-signature"]
    assert check.actual == "2 of 2 verified"


def test_an_image_signature_by_a_stranger_is_told_and_changes_nothing() -> None:
    found = ask(image_signature(by=signer("stranger")), form_a(provenance()))
    assert found.verdict is Verdict.VERIFIED
    (check,) = [check for check in found.checks if check.id == "image-signature"]
    assert (check.result.value, check.reason and check.reason.value) == ("skip", "key_unknown")


def test_an_image_signature_of_another_image_never_passes() -> None:
    for stolen in (image_signature(OTHER), image_bundle(OTHER)):
        found = ask(stolen, form_a(provenance()))
        (check,) = [check for check in found.checks if check.id == "image-signature"]
        assert (check.result.value, check.reason and check.reason.value) == ("skip", "subject_mismatch")


def test_an_image_signature_in_our_name_that_was_changed_is_failed() -> None:
    forged = evidence(
        with_payload(image_bundle().data, lambda statement: statement.update(predicate={"a": 1}))
    )
    assert ask(forged, form_a(provenance())).verdict is Verdict.FAILED


def test_a_raw_signature_over_something_else_is_no_image_signature() -> None:
    for payload in (
        b"{}",
        b"[]",
        b"no json",
        b'{"critical":{"type":"other","image":{}}}',
        b'{"critical":{}}',
    ):
        held = evidence(payload, "simplesigning", "oci-sig", signature=signer().sign(payload))
        found = ask(held)
        assert found.verdict is Verdict.NOT_FOUND
        assert "statement_invalid" in reasons(found)


def test_image_signatures_can_be_asked_for_by_their_type() -> None:
    found = ask(image_bundle(), by=criteria(predicate_types=["https://sigstore.dev/cosign/sign/v1"]))
    assert found.verdict is Verdict.VERIFIED


def test_another_predicate_type_can_be_asked_for() -> None:
    report = provenance(predicateType=SCAI)
    assert ask(form_a(report)).verdict is Verdict.FAILED
    assert reasons(ask(form_a(report))) == {"predicate_type_mismatch"}
    assert ask(form_a(report), by=criteria(predicate_types=[SCAI])).verdict is Verdict.VERIFIED


def test_the_attestation_that_got_furthest_explains_a_failure() -> None:
    found = ask(form_a(provenance(), signer("stranger")), form_a(provenance(predicateType=SCAI)))
    failed = [check for check in found.checks if check.result.value == "fail"]
    assert [check.id for check in failed] == ["predicate-type"]
    assert failed[0].attestation == found.attestations[1].digest


def test_a_builder_and_build_type_that_were_asked_for_must_be_exact() -> None:
    for statement in (provenance(), old_provenance()):
        held = form_a(statement)
        assert ask(held, by=criteria(builder_id=BUILDER)).verdict is Verdict.VERIFIED
        for wrong in (BUILDER + "/", BUILDER.upper(), "https://tekton.dev"):
            found = ask(held, by=criteria(builder_id=wrong))
            assert found.verdict is Verdict.FAILED
            assert reasons(found) == {"builder_not_trusted"}
    found = ask(form_a(provenance()), by=criteria(build_type=BUILD_TYPE))
    assert found.verdict is Verdict.VERIFIED
    assert reasons(ask(form_a(old_provenance()), by=criteria(build_type=BUILD_TYPE))) == {
        "build_type_mismatch"
    }


@pytest.mark.parametrize("predicate", [{}, {"runDetails": []}, {"runDetails": {"builder": {"id": 5}}}])
def test_a_predicate_without_a_builder_never_satisfies_one(predicate: Json) -> None:
    found = ask(form_a(provenance(predicate=predicate)), by=criteria(builder_id=BUILDER))
    assert reasons(found) == {"builder_not_trusted"}


def test_one_attestation_by_the_right_builder_is_enough() -> None:
    found = ask(
        form_a(provenance(builder="https://other.example")),
        form_a(provenance()),
        by=criteria(builder_id=BUILDER),
    )
    assert found.verdict is Verdict.VERIFIED
    assert [each.used for each in found.attestations] == [False, True]


def test_subjects_match_by_all_algorithms_in_common() -> None:
    sha512 = "ab" * 64
    both = {"name": "", "digest": {"sha256": HEX, "sha512": sha512}}
    assert ask(form_a(provenance(both))).verdict is Verdict.VERIFIED
    assert ask(form_a(provenance(both)), digest=f"sha512:{sha512}").verdict is Verdict.VERIFIED
    only = subject(sha512, algorithm="sha512")
    assert reasons(ask(form_a(provenance(only)))) == {"subject_mismatch"}


@pytest.mark.parametrize(
    "layers",
    [[], [{"mediaType": "application/spdx+json", "digest": DIGEST, "size": 1}]],
    ids=["none", "sbom"],
)
def test_what_is_no_evidence_lies_beside_an_image_and_is_listed(layers: Json) -> None:
    manifest = json.dumps({"layers": layers}).encode()
    contents = read_manifest(manifest, "oci-referrer", "registry.example.com/x@sha256:1", DIGEST, DIGEST)
    found = ask(Shelf(skipped=contents.skipped))
    assert found.verdict is Verdict.NOT_FOUND
    assert reasons(found) == {"no_attestation", "not_an_attestation"}
    other = read_manifest(b'{"mediaType": "x"}', "", "", DIGEST, "").skipped
    other += read_manifest(b'{"subject": {"digest": "x"}}', "", "", DIGEST, DIGEST).skipped
    assert ask(Shelf(skipped=other)).verdict is Verdict.NOT_FOUND


@pytest.mark.parametrize(
    "why", ["the registry does not have this blob", "not read: too many", "expected digest"]
)
def test_what_may_be_evidence_and_cannot_be_read_is_not_told_as_absent(why: str) -> None:
    left = Skipped("registry.example.com/x@sha256:1", "sha256:1", why)
    found = ask(Shelf(skipped=[left]))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"unreadable"}
    assert why in found.summary
    assert ask(Shelf(skipped=[left]), Broken()).verdict is Verdict.INDETERMINATE
    assert ask(Shelf(form_a(provenance()), skipped=[left])).verdict is Verdict.VERIFIED


def test_things_that_a_store_found_are_listed() -> None:
    left = Skipped(
        "registry.example.com/x@sha256:1",
        "sha256:1",
        "application/spdx+json is no evidence that we know",
        SkipKind.FOREIGN,
    )
    found = ask(Shelf(skipped=[left]))
    assert found.verdict is Verdict.NOT_FOUND
    assert found.skipped[0].detail == left.reason
    assert "1 other item" in found.summary


def test_bytes_that_are_not_what_the_store_says_are_not_used() -> None:
    lying = evidence(bundle(provenance()), digest=f"sha256:{OTHER}")
    found = ask(lying)
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"digest_mismatch"}
    assert found.skipped[0].digest != f"sha256:{OTHER}"


def test_the_same_evidence_from_two_places_is_listed_with_both() -> None:
    one = evidence(bundle(provenance()), source="oci-referrer")
    two = evidence(bundle(provenance()), source="file")
    found = ask(Shelf(one, one), Shelf(two))
    assert [each.source for each in found.attestations] == ["oci-referrer", "file"]


def test_log_entries_and_timestamps_are_told_as_not_looked_at() -> None:
    def add(members: Json) -> None:
        members["verificationMaterial"]["tlogEntries"] = [{"logIndex": "1"}]
        members["verificationMaterial"]["timestampVerificationData"] = {
            "rfc3161Timestamps": [{"signedTimestamp": base64.b64encode(b"x").decode()}]
        }

    found = ask(evidence(altered(bundle(provenance()), add)))
    assert found.verdict is Verdict.VERIFIED
    assert {name: result for name, result in results(found).items() if result != "pass"} == {
        "transparency-log": "skip",
        "timestamp": "skip",
    }


def test_criteria_need_a_key_and_words_that_are_not_empty() -> None:
    with pytest.raises(UsageError, match="nobody to trust"):
        criteria(keys=[])
    for wrong in ({"predicate_types": [""]}, {"builder_id": ""}, {"build_type": ""}):
        with pytest.raises(UsageError, match="must not be empty"):
            criteria(**wrong)
    assert isinstance(criteria(), Criteria)


def test_the_reference_reaches_the_store_and_a_malformed_digest_does_not() -> None:
    shelf = Shelf()
    ask(shelf)
    assert shelf.asked == [(DIGEST, IMAGE)]
    for wrong in ("sha256:", "sha256:" + HEX.upper(), "md5:" + "a" * 32, "sha256:" + HEX[:-1], "x"):
        with pytest.raises(UsageError, match="is no digest: "):
            ask(shelf, digest=wrong)


def test_the_same_bytes_at_many_places_are_judged_once_and_listed_at_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged = []

    def counted(*given: Any, **more: Any) -> Examined:
        judged.append(given[0].location)
        return examine(*given, **more)

    monkeypatch.setattr("chains.verify.examining.every.examine", counted)
    good, stranger = form_b(provenance()), form_b(provenance(), signer("stranger"))
    held = [replace(each, location=f"place-{number}") for number in range(20) for each in (good, stranger)]
    found = ask(*held)
    assert found.verdict is Verdict.VERIFIED
    assert len(judged) == 2
    assert [(each.location, each.used) for each in found.attestations] == [
        (f"place-{number}", used) for number in range(20) for used in (True, False)
    ]


def test_equal_bytes_in_another_form_or_with_other_annotations_are_judged_by_themselves() -> None:
    good = form_a(provenance())
    other = replace(good, location="elsewhere", digest=OTHER)
    found = ask(good, other)
    assert [each.location for each in found.attestations if each.used] == [good.location]
    assert "digest_mismatch" in {each.reason for each in found.skipped}

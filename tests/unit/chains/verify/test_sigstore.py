"""Certificates, log entries and timestamps of a real instance, verified offline."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta

import pytest

from chains.errors import UsageError
from chains.verify.criteria import CertificateWanted, Criteria, NameWanted
from chains.verify.render import to_text
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from storage.record import Evidence
from tests.faults.verify.forge import DIGEST, form_a, form_b, provenance, reasons, results, signer
from tests.faults.verify.sigstore import (
    GOLDEN,
    IDENTITY,
    ISSUER,
    KEY,
    NOW,
    answer,
    by_identity,
    by_key,
    content,
    golden,
    layer_of,
)

FORMS = ("bundle", "att")
VERSIONS = ("v2", "v1", "unlogged")


def ask(*held: Evidence, by: Criteria | None = None) -> Verification:
    return asyncio.run(answer(*held, criteria=by or by_identity()))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_of_the_identity_asked_for_is_verified_in_both_forms(form: str, version: str) -> None:
    found = ask(golden(f"certificate-{version}", form))
    assert found.verdict is Verdict.VERIFIED, to_text(found, verbose=True)
    expected = {"evidence", "identity", "issuer", "certificate", "signature", "payload-type", "statement",
        "subject", "predicate-type"}  # fmt: skip
    expected |= {"timestamp"} if version != "v1" else set()
    expected |= {"transparency-log"} if version != "unlogged" else set()
    assert results(found) == dict.fromkeys(expected, "pass")
    line = to_text(found, width=4000).splitlines()[1]
    assert f"signed by {IDENTITY} (issuer {ISSUER})" in line
    assert ("log index" in line) == (version != "unlogged")
    assert f", at {NOW.year}-" in line


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_with_a_log_entry_and_a_timestamp_is_verified_in_both_forms(form: str, version: str) -> None:
    found = ask(golden(f"key-{version}", form), by=by_key())
    assert found.verdict is Verdict.VERIFIED, to_text(found, verbose=True)
    assert results(found).get("transparency-log") == (None if version == "unlogged" else "pass")
    assert results(found).get("timestamp") == (None if version == "v1" else "pass")
    assert found.attestations[0].keyid == KEY.keyid


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["key", "certificate"])
def test_an_image_signature_is_verified_with_what_its_layer_carries(name: str, version: str) -> None:
    criteria = by_key() if name == "key" else by_identity()
    found = ask(golden(f"{name}-{version}", "sig"), golden(f"{name}-{version}"), by=criteria)
    assert found.verdict is Verdict.VERIFIED
    assert results(found)["image-signature"] == "pass"
    other = content(f"{name}-{version}", "sig")
    other["data"] = other["data"].replace("registry", "Registry")
    found = ask(layer_of(other), golden(f"{name}-{version}"), by=criteria)
    assert results(found)["image-signature"] == "skip"


def test_bundles_of_sigstore_python_and_of_cosign_are_verified() -> None:
    assert ask(golden("sigstore-python"), by=by_identity(require_log=True)).verdict is Verdict.VERIFIED
    blob = "sha256:" + hashlib.sha256(b"the artifact\n").hexdigest()
    data = (GOLDEN / "cosign-attest-blob.bundle.json").read_bytes()
    for digest, verdict in ((blob, Verdict.VERIFIED), (DIGEST, Verdict.FAILED)):
        found = Verifier(by_identity(), clock=lambda: NOW).judge_bundle(data, ref="file", digest=digest)
        assert found.verdict is verdict, to_text(found, verbose=True)
    data = (GOLDEN / "cosign-sign-blob.bundle.json").read_bytes()
    found = Verifier(by_identity(), clock=lambda: NOW).judge_bundle(data, ref="file")
    assert reasons(found) == {"not_an_attestation"}


@pytest.mark.parametrize("source", ["key", "certificate"])
def test_a_timestamp_of_form_a_is_over_the_whole_envelope(source: str) -> None:
    name = "dev.sigstore.cosign/rfc3161timestamp"
    layer, signature = content(f"{source}-v2", "att"), content(f"{source}-v2", "sig")
    layer["annotations"][name] = signature["annotations"][name]
    found = ask(layer_of(layer), by=by_key() if source == "key" else by_identity())
    assert reasons(found) == {"timestamp_invalid"}


def test_keys_and_identities_are_trusted_side_by_side() -> None:
    both = by_identity(keys=[KEY])
    for name in ("key-v2", "certificate-v2"):
        assert ask(golden(name), by=both).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("form", FORMS)
def test_a_certificate_never_verifies_when_no_identity_was_asked_for(form: str) -> None:
    for criteria in (by_key(), Criteria(keys=[KEY])):
        found = ask(golden("certificate-v2", form), by=criteria)
        assert found.verdict is Verdict.FAILED
        assert reasons(found) == {"keyless_unsupported"}
        assert IDENTITY not in json.dumps(found.to_json())


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_not_trusted_because_an_identity_is(form: str) -> None:
    found = ask(golden("key-v2", form))
    assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"key_unknown"})


def test_without_a_trusted_root_log_entries_and_timestamps_are_told_as_not_checked() -> None:
    for form in FORMS:
        found = ask(golden("key-v2", form), by=Criteria(keys=[KEY]))
        assert found.verdict is Verdict.VERIFIED
        assert results(found)["transparency-log"] == "skip"
        assert reasons(found) == {"not_checked"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "missing"),
    [("v2", ""), ("v1", "timestamp_missing"), ("unlogged", "tlog_missing")],
)
@pytest.mark.parametrize("source", ["key", "certificate"])
def test_a_log_entry_and_a_timestamp_can_be_demanded(source: str, name: str, missing: str, form: str) -> None:
    more = {"require_log": True, "require_timestamp": True}
    found = ask(golden(f"{source}-{name}", form), by=(by_key if source == "key" else by_identity)(**more))
    assert found.verdict is (Verdict.FAILED if missing else Verdict.VERIFIED)
    assert reasons(found) == ({missing} if missing else set())


def test_plain_key_evidence_needs_no_time_with_a_trusted_root() -> None:
    criteria = by_key(keys=[KEY, by_key().keys[0]])
    for form in (form_a, form_b):
        trusted = Criteria(keys=[*criteria.keys, _own()], trusted_root=criteria.trusted_root)
        assert ask(form(provenance()), by=trusted).verdict is Verdict.VERIFIED


def _own() -> object:
    from tests.faults.verify.forge import public

    return public()


@pytest.mark.parametrize(
    ("identity", "issuer", "reason"),
    [
        ("https://kubernetes\\.io/namespaces/tekton-chains/.*", "http://127\\.0\\.0\\.1:[0-9]+", ""),
        ("https://kubernetes\\.io/namespaces/tekton-chains", "http://.*", "identity_mismatch"),
        ("tekton-chains", ".*", "identity_mismatch"),
        ("(?i)HTTPS://.*", "127.0.0.1", "issuer_mismatch"),
        ("a|https://.*", "http://127.0.0.1:1|x", "issuer_mismatch"),
        ("^https://kubernetes$|.*controller", ".*", ""),
    ],
)
def test_a_regular_expression_has_to_match_all_of_a_name(identity: str, issuer: str, reason: str) -> None:
    wanted = CertificateWanted(NameWanted(identity, is_regexp=True), NameWanted(issuer, is_regexp=True))
    found = ask(golden("certificate-v2"), by=by_identity(certificate=wanted))
    assert reasons(found) == ({reason} if reason else set())
    assert (found.verdict is Verdict.VERIFIED) == (not reason)


def test_the_answer_tells_identity_log_index_and_time_in_the_keys_of_sigstore() -> None:
    found = ask(golden("certificate-v2")).to_json()
    assert found["criteria"]["signer"] == {
        "key": [],
        "certificate": {"identity": IDENTITY, "issuer": ISSUER},
    }
    (used,) = found["attestations"]
    assert used["signer"] == {"identity": IDENTITY, "issuer": ISSUER}
    entry = content("certificate-v2")["verificationMaterial"]["tlogEntries"][0]
    assert [one["logIndex"] for one in used["logEntries"]] == [int(entry["logIndex"])]
    told = used["verificationResult"]
    assert told["signature"]["certificate"]["subjectAlternativeName"] == IDENTITY
    assert [one["type"] for one in told["verifiedTimestamps"]] == ["TimestampAuthority"]
    (used,) = ask(golden("certificate-v1")).to_json()["attestations"]
    assert [one["type"] for one in used["verificationResult"]["verifiedTimestamps"]] == ["Tlog"]


def test_clocks_that_disagree_leave_it_undecided() -> None:
    early = NOW - timedelta(hours=1)
    found = asyncio.run(answer(golden("certificate-v2"), criteria=by_identity(), now=early))
    assert found.verdict is Verdict.INDETERMINATE
    assert reasons(found) == {"time_in_future"}


def test_the_certificates_end_does_not_end_its_evidence() -> None:
    later = NOW + timedelta(days=1000)
    found = asyncio.run(answer(golden("certificate-v2"), criteria=by_identity(), now=later))
    assert found.verdict is Verdict.VERIFIED


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"identity": "a"}, "together with its issuer"),
        ({"issuer": "b"}, "together with its issuer"),
        ({"identity": "a", "identity_regexp": "a", "issuer": "b"}, "not both"),
        ({"identity_regexp": "(", "issuer": "b"}, "is no regular expression"),
    ],
)
def test_half_an_identity_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        CertificateWanted.from_options(**options)


def test_what_needs_a_trusted_root_is_refused_without_one() -> None:
    for more in (
        {"require_log": True},
        {"require_timestamp": True},
        {"certificate": by_identity().certificate},
    ):
        with pytest.raises(UsageError, match="verified with a trusted root"):
            Criteria(keys=[KEY], **more)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="nobody to trust"):
        Criteria(trusted_root=by_key().trusted_root)


def test_a_strangers_certificate_beside_good_evidence_changes_nothing() -> None:
    found = ask(golden("certificate-v2"), form_b(provenance(), signer("stranger")), by=by_identity())
    assert found.verdict is Verdict.VERIFIED
    assert GOLDEN.is_dir()

"""Who signed and when, where one more signature, key, time or log would change the answer if nobody looked."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chains.cli.main import run as chains
from chains.statements import simple_signing
from chains.tekton.image_name import ImageDigest
from chains.verify.criteria import Criteria
from chains.verify.evidence import examine
from chains.verify.reasons import Reason, Result
from chains.verify.render import to_text
from chains.verify.subject import DigestWanted
from chains.verify.verdict import Check, Verdict
from signers.errors import FormatError
from signers.formats.layer_annotations import (
    CERTIFICATE_ANNOTATION,
    MATERIAL_ANNOTATION,
    TIMESTAMP_ANNOTATION,
)
from signers.keys.keyset import MEDIA_TYPE, KeyStatus, ListedKey, parse_keyset
from signers.keys.public_key import PublicKey
from signers.sigstore.trusted_root import TrustedRoot
from storage.record import Evidence
from tests.faults.verify.forge import (
    HEX,
    IMAGE,
    OTHER,
    ask,
    criteria,
    envelope,
    evidence,
    form_a,
    form_b,
    provenance,
    public,
    reasons,
    signer,
)
from tests.faults.verify.forge import NOW as FORGE_NOW
from tests.faults.verify.forged_cases import BY_IDENTITY, CASES, criteria_of, file, layer
from tests.testbed.forged_evidence import Forger
from tests.testbed.forged_signature import Signature
from tests.testbed.forged_sigstore import NOW, V1, V2, Entry, Instance, body_v2, encoded, sign, spki
from tests.testbed.sigstore_keys import public_pem
from tests.unit.chains.verify.test_hermetic import hermetic, report

Json = Any
IN_FORCE = datetime(2025, 1, 15, tzinfo=UTC)
"""A time at which the logs and authorities that ended were trusted."""


def bundle_of(name: str) -> Evidence:
    return evidence(file(name).read_bytes(), "bundle-v0.3", "oci-referrer")


def layer_of(name: str) -> Evidence:
    return layer(json.loads(file(name).read_bytes()))


@cache
def forger() -> Forger:
    return Forger()


def by_key(**more: Json) -> Criteria:
    key = PublicKey.from_pem(public_pem(forger().key))
    root = TrustedRoot.from_bytes(json.dumps(forger().root).encode())
    return Criteria(**{"keys": [key], "trusted_root": root} | more)


def keyed(entries: list[Json], stamps: list[bytes] | None = None, one: Signature | None = None) -> Evidence:
    """A bundle that the key signed, with these log entries and timestamps."""
    held = (one or Signature(forger().key)).bundle(entries, stamps or [])
    return evidence(json.dumps(held).encode(), "bundle-v0.3", "oci-referrer")


# a signature under somebody's name that they did not make


@pytest.mark.parametrize("form", [bundle_of, layer_of])
def test_a_forged_signature_under_the_wanted_certificate_fails_honest_evidence_beside_it(form: Any) -> None:
    honest, forged = form("honest-v2"), form("certificate-of-another-key")
    asked = criteria_of(BY_IDENTITY)
    assert ask(honest, by=asked).verdict is Verdict.VERIFIED
    for held in ((honest, forged), (forged, honest)):
        found = ask(*held, by=asked)
        assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"signature_invalid"})
        assert found.summary.startswith("signature_invalid: ")
        assert "whose key did not sign this" in found.summary


@pytest.mark.parametrize(
    "name", ["payload-changed", "certificate-changed", "identity-of-another", "sct-missing", "entry-no-json"]
)
def test_only_what_names_the_wanted_signer_truly_spoils_what_lies_beside_it(name: str) -> None:
    """Anybody may put a stranger's certificate there; a changed payload is tampering by whoever could write."""
    found = ask(bundle_of("honest-v2"), bundle_of(name), by=criteria_of(BY_IDENTITY))
    tampered = name == "payload-changed"
    assert found.verdict is (Verdict.FAILED if tampered else Verdict.VERIFIED), to_text(found, verbose=True)
    assert reasons(found) == {CASES[name].reason}


def named(keyid: str, by: str = "stranger", statement: Json = None) -> Evidence:
    """Form A: an envelope by a stranger that names another key as its own."""
    made = envelope(statement or provenance(uid="uid-2"), signer(by))
    return evidence(
        replace(made, signatures=(replace(made.signatures[0], keyid=keyid),)).to_bytes(), "dsse", "oci-att"
    )


@pytest.mark.parametrize("name", ["keyid", "cosign_hint"])
def test_form_a_that_names_a_given_key_which_did_not_sign_it_is_tampering(name: str) -> None:
    forged = named(getattr(public(), name))
    for held in ((forged,), (form_a(provenance()), forged), (forged, form_a(provenance()))):
        found = ask(*held)
        assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"signature_invalid"})
        assert "names a given key, which did not sign this" in found.summary


def test_any_signature_of_an_envelope_may_be_the_one_that_names_a_given_key() -> None:
    made = envelope(provenance(), signer("stranger"))
    (own,) = made.signatures
    for signatures in ((own, replace(own, keyid=public().keyid)), (replace(own, keyid=public().keyid), own)):
        found = ask(
            evidence(replace(made, signatures=signatures).to_bytes(), "dsse", "oci-att"), form_a(provenance())
        )
        assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"signature_invalid"})


@pytest.mark.parametrize("keyid", ["", "SHA256:somebody", "stranger"])
def test_form_a_that_names_nobody_who_was_given_is_a_strangers_and_spoils_nothing(keyid: str) -> None:
    stranger = named(public("stranger").keyid if keyid == "stranger" else keyid)
    alone, beside = ask(stranger), ask(stranger, form_a(provenance()))
    assert (alone.verdict, reasons(alone)) == (Verdict.FAILED, {"key_unknown"})
    assert (beside.verdict, reasons(beside)) == (Verdict.VERIFIED, {"key_unknown"})


def test_a_hint_of_a_bundle_that_names_a_given_key_falsely_is_tampering_though_the_envelope_names_nobody() -> (
    None
):
    made = json.loads(form_b(provenance(), signer("stranger")).data)
    made["dsseEnvelope"]["signatures"][0]["keyid"] = ""
    made["verificationMaterial"]["publicKey"]["hint"] = public().keyid
    forged = evidence(json.dumps(made).encode())
    found = ask(forged, form_b(provenance()))
    assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"signature_invalid"})


@pytest.mark.parametrize("certificate", ["honest-v2", "certificate-of-another-authority", "no certificate"])
def test_in_form_a_a_given_key_comes_before_any_certificate_beside_it(certificate: str) -> None:
    """Anybody may put a certificate beside a layer: it neither spoils what a key signed, nor saves what it did not."""
    told = (
        "x" if certificate == "no certificate" else layer_of(certificate).annotations[CERTIFICATE_ANNOTATION]
    )
    beside = {CERTIFICATE_ANNOTATION: told}
    good = ask(replace(form_a(provenance()), annotations=beside))
    assert (good.verdict, reasons(good)) == (Verdict.VERIFIED, set())
    forged = replace(named(public().keyid), annotations=beside)
    found = ask(forged, form_a(provenance()))
    assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"signature_invalid"})
    stranger = ask(replace(form_a(provenance(), signer("stranger")), annotations=beside))
    assert (stranger.verdict, reasons(stranger)) == (Verdict.FAILED, {"keyless_unsupported"})


@pytest.mark.parametrize("place", [0, 1, 2])
def test_any_of_several_signatures_may_be_the_one_of_a_given_key(place: int) -> None:
    made = [envelope(provenance(), signer(name)).signatures[0] for name in ("stranger", "second")]
    made.insert(place, envelope(provenance()).signatures[0])
    held = evidence(replace(envelope(provenance()), signatures=tuple(made)).to_bytes(), "dsse", "oci-att")
    found = ask(held)
    assert (found.verdict, reasons(found)) == (Verdict.VERIFIED, set())
    assert found.attestations[0].keyid == public().keyid


# logs that ended, and logs that only look like the one that is trusted


def test_an_entry_of_an_ended_log_that_no_time_is_known_of_is_refused_for_a_key_too() -> None:
    one = Signature(forger().key)
    assert ask(keyed([forger().us.entry(one.body(V2))], one=one), by=by_key()).verdict is Verdict.VERIFIED
    found = ask(keyed([forger().ended.entry(one.body(V2))], one=one), by=by_key())
    assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"tlog_invalid"})
    assert "is not trusted for entries of 2026-10-05" in found.summary


@pytest.mark.parametrize(
    ("moment", "reason"), [(IN_FORCE, ""), (NOW, "tlog_invalid"), (IN_FORCE - timedelta(60), "tlog_invalid")]
)
def test_an_ended_log_counts_for_the_time_that_it_was_trusted_at(moment: datetime, reason: str) -> None:
    one = Signature(forger().key)
    entry = forger().ended.entry(one.body(V1), Entry(V1, moment=moment))
    found = ask(keyed([entry], one=one), by=by_key())
    assert reasons(found) == ({reason} if reason else set()), to_text(found, verbose=True)
    assert found.verdict is (Verdict.FAILED if reason else Verdict.VERIFIED)


def test_an_entry_has_to_be_of_a_trusted_log_at_every_time_and_not_at_the_first_alone() -> None:
    one = Signature(forger().key)
    old = forger().ended.entry(one.body(V1), Entry(V1, moment=IN_FORCE))
    for stamps, entries in (
        ([forger().stamped(one)], [old]),
        ([], [old, forger().us.entry(one.body(V1), Entry(V1))]),
        ([], [forger().us.entry(one.body(V1), Entry(V1)), old]),
    ):
        found = ask(keyed(entries, stamps, one), by=by_key())
        assert reasons(found) == {"tlog_invalid"}, to_text(found, verbose=True)


def test_every_entry_has_to_be_of_a_log_in_force_and_not_the_first_alone() -> None:
    one = Signature(forger().key)
    good, ended = forger().us.entry(one.body(V2)), forger().ended.entry(one.body(V2))
    for entries in ([good, ended], [ended, good]):
        assert reasons(ask(keyed(entries, [forger().stamped(one)], one), by=by_key())) == {"tlog_invalid"}


@pytest.mark.parametrize(
    ("origin", "is_ours"),
    [
        (V2, True),
        (f"{V2} - 42", True),
        (f"{V2}.evil.example", False),
        (f"{V2}-evil", False),
        (f"{V2}/other", False),
        (f"{V2} ", False),
        (f"{V2} -", False),
        (f"{V2} -42", False),
        (f"{V2}- 42", False),
        (f"evil.{V2}", False),
        (f"evil.example - {V2}", False),
        (V2[:-1], False),
        (V2.upper(), False),
    ],
)
def test_a_checkpoint_is_of_the_log_whose_name_its_origin_is(origin: str, is_ours: bool) -> None:
    one = Signature(forger().key)
    found = ask(keyed([forger().us.entry(one.body(V2), Entry(origin=origin))], one=one), by=by_key())
    assert reasons(found) == (set() if is_ours else {"tlog_invalid"}), to_text(found, verbose=True)
    if not is_ours:
        assert f"the checkpoint is of {origin!r}, not of {V2}" in found.summary


@pytest.mark.parametrize("name", [f"{V2}.evil.example", f"{V2} - 42".replace(" ", "_"), f"evil.{V2}"])
def test_a_checkpoint_is_signed_in_the_name_of_its_log_and_of_no_longer_one(name: str) -> None:
    one = Signature(forger().key)
    found = ask(keyed([forger().us.entry(one.body(V2), Entry(signed_as=name))], one=one), by=by_key())
    assert reasons(found) == {"tlog_invalid"}
    assert f"the checkpoint is signed by {name}, not by {V2}" in found.summary


# times, of which each counts


def listed(**window: Json) -> Criteria:
    (key,) = by_key().keys
    return by_key(windows={key.keyid: ListedKey(key, **window)})


END = NOW + timedelta(days=30)


@pytest.mark.parametrize(
    "moments",
    [(NOW, NOW + timedelta(60)), (NOW + timedelta(60), NOW), (NOW, NOW + timedelta(1), NOW + timedelta(60))],
)
def test_of_several_verified_times_each_has_to_lie_within_the_window(moments: tuple[datetime, ...]) -> None:
    one = Signature(forger().key)
    stamps = [forger().stamped(one, moment) for moment in moments]
    found = ask(keyed([], stamps, one), by=listed(not_after=END))
    assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"key_outside_window"})
    assert (
        f"signed at {max(moments).isoformat()}, after the key's notAfter {END.isoformat()}" in found.summary
    )
    assert ask(keyed([], stamps[:1], one), by=listed(not_after=max(moments))).verdict is Verdict.VERIFIED


def test_a_time_of_a_log_and_one_of_an_authority_count_alike() -> None:
    one = Signature(forger().key)
    late = forger().us.entry(one.body(V1), Entry(V1, moment=END + timedelta(1)))
    found = ask(keyed([late], [forger().stamped(one)], one), by=listed(not_after=END))
    assert reasons(found) == {"key_outside_window"}
    early = forger().us.entry(one.body(V1), Entry(V1, moment=NOW - timedelta(minutes=1)))
    found = ask(keyed([early], [forger().stamped(one)], one), by=listed(not_before=NOW))
    assert reasons(found) == {"key_outside_window"}


@pytest.mark.parametrize("first", [True, False])
def test_of_several_verified_times_none_may_lie_in_the_future(first: bool) -> None:
    one = Signature(forger().key)
    future = datetime(2026, 10, 5, 9, 5, 1, tzinfo=UTC)
    entry = forger().us.entry(one.body(V1), Entry(V1, moment=future))
    held = keyed([entry], [forger().stamped(one)], one) if first else keyed([entry], one=one)
    found = ask(held, by=by_key())
    assert (found.verdict, reasons(found)) == (Verdict.INDETERMINATE, {"time_in_future"})
    entry = forger().us.entry(one.body(V1), Entry(V1, moment=future - timedelta(seconds=1)))
    assert ask(keyed([entry], one=one), by=by_key()).verdict is Verdict.VERIFIED


def image_signed(*entries: Json, value: str = HEX) -> Evidence:
    """Form A's signature of an image by the key, with log entries beside it."""
    data = simple_signing.build(ImageDigest(IMAGE, value))
    signature = sign(forger().key, data)
    material = json.dumps({"tlogEntries": list(entries)})
    return evidence(
        data, "simplesigning", "oci-sig", signature=signature, annotations={MATERIAL_ANNOTATION: material}
    )


def entry_of(one: Evidence, by: Instance) -> Json:
    return by.entry(
        body_v2(one.signature, one.data, {"publicKey": {"rawBytes": encoded(spki(forger().key))}})
    )


def test_entries_beside_an_image_signature_have_to_hold_too() -> None:
    one = image_signed()
    logged = {
        "": [entry_of(one, forger().us)],
        "tlog_invalid": [entry_of(one, forger().ended)],
    }
    for reason, entries in logged.items():
        material = json.dumps({"tlogEntries": entries})
        held = replace(one, annotations={MATERIAL_ANNOTATION: material})
        found = examine(held, by_key(), DigestWanted({"sha256": HEX}), now=FORGE_NOW)
        assert (found.is_image_signature, found.is_usable) == (True, not reason)
        assert (found.failed.reason.value if found.failed and found.failed.reason else "") == reason
        assert found.checks[-1] == Check("subject", Result.PASS, "the image asked for", f"sha256:{HEX}")
    other = examine(one, by_key(), DigestWanted({"sha256": OTHER}), now=FORGE_NOW)
    assert other.checks[-1] == Check(
        "subject", Result.FAIL, "the image asked for", f"sha256:{HEX}", Reason.SUBJECT_MISMATCH
    )


def by_identity() -> Criteria:
    return replace(criteria_of(BY_IDENTITY), trusted_root=by_key().trusted_root)


@pytest.mark.parametrize("certified", [True, False])
@pytest.mark.parametrize(
    ("stamped", "reason"),
    [("data", ""), ("signature", "timestamp_invalid"), ("payload", "timestamp_invalid")],
)
def test_a_timestamp_of_cosign_beside_a_layer_is_over_the_whole_of_it(
    stamped: str, reason: str, certified: bool
) -> None:
    one = forger().signed() if certified else Signature(forger().key)
    held = layer(one.bundle([forger().us.entry(one.body(V2))], []))
    over = held.data if stamped == "data" else getattr(one, stamped)
    told = json.dumps({"SignedRFC3161Timestamp": encoded(forger().us.timestamp(over))})
    found = ask(
        replace(held, annotations={**held.annotations, TIMESTAMP_ANNOTATION: told}),
        by=by_identity() if certified else by_key(),
    )
    assert reasons(found) == ({reason} if reason else set()), to_text(found, verbose=True)
    assert found.verdict is (Verdict.FAILED if reason else Verdict.VERIFIED)


def test_a_certificate_for_a_kind_of_key_that_is_not_supported_is_told() -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    one = Signature(key, forger().us.certificate(key))
    found = ask(keyed([forger().us.entry(one.body(V2))], [forger().stamped(one)], one), by=by_identity())
    assert (found.verdict, reasons(found)) == (Verdict.FAILED, {"certificate_invalid"})
    assert (
        "got the certificate's key: ECDSA on secp521r1 is not supported: use ECDSA on P-256" in found.summary
    )


# keys that are listed more than once, or count no more


def keyset_of(*states: str, keys: list[PublicKey] | None = None) -> bytes:
    keys = keys or [public()] * len(states)
    found = [{**ListedKey(key).to_json(), "status": state} for key, state in zip(keys, states, strict=True)]
    return json.dumps({"mediaType": MEDIA_TYPE, "keys": found}).encode()


@pytest.mark.parametrize(
    "states", [("revoked", "active"), ("active", "revoked"), ("active", "active"), ("retired", "active")]
)
def test_a_key_that_is_listed_twice_makes_the_set_unusable(states: tuple[str, str]) -> None:
    with pytest.raises(FormatError, match=re.escape(f"{public().keyid} is listed twice")):
        parse_keyset(keyset_of(*states))
    others = [public(), public("other"), public()]
    with pytest.raises(FormatError, match="is listed twice"):
        parse_keyset(keyset_of("revoked", "active", "active", keys=others))


@pytest.mark.parametrize("states", [("revoked", "active"), ("active", "revoked"), ("active", "retired")])
def test_a_key_that_two_sets_say_different_things_of_is_wrong_usage(
    states: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = tmp_path / "evidence.json"
    held.write_bytes(form_b(provenance()).data)
    options = []
    for number, state in enumerate(states):
        (tmp_path / f"{number}.json").write_bytes(keyset_of(state))
        options += ["--key", str(tmp_path / f"{number}.json")]
    assert chains(["verify", str(held), *options]) == 2
    assert (
        f"key {public().keyid} is given twice, with other times or another status" in capsys.readouterr().err
    )
    twice = tmp_path / "twice.json"
    twice.write_bytes(keyset_of(*states))
    assert chains(["verify", str(held), "--key", str(twice)]) == 2
    assert f"{public().keyid} is listed twice" in capsys.readouterr().err


WINDOWS = {
    "key_revoked": {"status": KeyStatus.REVOKED},
    "key_outside_window": {"not_after": NOW},
}


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("key_revoked", "the key is revoked"),
        ("key_outside_window", "no trusted time says that the signature is older"),
    ],
)
def test_an_enforced_report_by_a_key_that_counts_no_more_proves_nothing(reason: str, words: str) -> None:
    old = public("old")
    asked = criteria(
        keys=[public(), old],
        windows={old.keyid: ListedKey(old, **WINDOWS[reason])},
        require_hermetic=True,
    )
    held = (form_b(provenance()), form_b(report(), signer("old")))
    found = ask(*held, by=asked)
    assert found.verdict is Verdict.FAILED
    result, code, actual = hermetic(found)
    assert (result, code) == ("fail", "hermetic_not_proven")
    assert actual.startswith(f"a report by a key that does not count: {old.keyid}: ")
    assert actual.endswith(words)
    assert ask(*held, form_b(report()), by=asked).verdict is Verdict.VERIFIED
    # while the key counts, its report proves the provenance that it signed, and nobody else's
    counting = replace(asked, windows={})
    own = (form_b(provenance(), signer("old")), form_b(report(), signer("old")))
    assert ask(*own, by=counting).verdict is Verdict.VERIFIED
    assert ask(*own, by=asked).verdict is Verdict.FAILED
    assert ask(*held, by=counting).verdict is Verdict.FAILED


@pytest.mark.parametrize("reason", WINDOWS)
def test_provenance_by_a_key_that_counts_no_more_is_no_evidence(reason: str) -> None:
    old = public("old")
    asked = criteria(keys=[public(), old], windows={old.keyid: ListedKey(old, **WINDOWS[reason])})
    alone = ask(form_b(provenance(), signer("old")), by=asked)
    assert (alone.verdict, reasons(alone)) == (Verdict.FAILED, {reason})
    beside = ask(form_b(provenance(), signer("old")), form_b(provenance(uid="uid-2")), by=asked)
    assert beside.verdict is Verdict.VERIFIED
    assert [each.used for each in beside.attestations] == [False, True]

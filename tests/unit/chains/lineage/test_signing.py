"""Who signed: keys that are checked, names that are only claimed, certificates, and what names a key falsely."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from chains.lineage.signing import Searched, Trust
from chains.lineage.wanted import Kind, Wanted
from chains.verify.criteria import CertificateWanted, NameWanted
from signers.formats.bundle import Bundle
from storage.record import Evidence
from tests.faults.verify import sigstore
from tests.faults.verify.forge import (
    envelope,
    evidence,
    form_a,
    form_b,
    image_bundle,
    provenance,
    public,
    signer,
    with_payload,
)
from tests.unit.chains.lineage.made import Whole, asked, states
from tests.unit.chains.verify.test_blob import message


def named(keyid: str) -> Evidence:
    """Return an envelope by a stranger that names another key as its own."""
    made = envelope(provenance(), signer("stranger"))
    return evidence(replace(made, signatures=(replace(made.signatures[0], keyid=keyid),)).to_bytes(), "dsse")


@pytest.mark.parametrize("form", [form_a, form_b, lambda statement: image_bundle()])
def test_a_signature_of_the_key_is_found_in_every_form(form: object) -> None:
    held = form(provenance())  # type: ignore[operator]
    found = asked(Wanted(Searched([public()])), Whole(held))
    assert list(states(found).values()) == ["verified"]
    assert asked(Wanted(Searched([public("stranger")])), Whole(held)).exit_code == 0


def test_a_signature_without_a_key_id_is_found_all_the_same() -> None:
    made = envelope(provenance())
    held = evidence(replace(made, signatures=(replace(made.signatures[0], keyid=""),)).to_bytes(), "dsse")
    assert asked(Wanted(Searched([public()])), Whole(held)).exit_code == 1


def test_every_signature_of_an_envelope_is_looked_at_whoever_is_trusted() -> None:
    ours, theirs = envelope(provenance()), envelope(provenance(), signer("stranger"))
    both = replace(ours, signatures=(*ours.signatures, *theirs.signatures))
    held = evidence(both.to_bytes(), "dsse")
    for searched, trusted in (("ours", "stranger"), ("stranger", "ours")):
        found = asked(Wanted(Searched([public(searched)])), Whole(held), trust=Trust([public(trusted)]))
        assert list(states(found).values()) == ["verified"]
        assert found.artifacts[0].because[Kind.KEY].text == public(searched).keyid
        assert found.collected.claims[0].signer == public(trusted).keyid


@pytest.mark.parametrize("name", ["keyid", "cosign_hint"])
def test_evidence_that_names_the_key_falsely_is_counted_and_touches_nothing(name: str) -> None:
    found = asked(Wanted(Searched([public()])), Whole(named(getattr(public(), name))))
    assert (found.exit_code, found.artifacts, found.collected.forged) == (0, (), 1)


def test_evidence_changed_after_signing_is_not_signed_by_the_key() -> None:
    changed = with_payload(form_a(provenance()).data, lambda statement: statement.update(predicateType="x"))
    found = asked(Wanted(Searched([public()])), Whole(evidence(changed, "dsse")))
    assert (found.exit_code, found.collected.forged) == (0, 1)


def test_a_key_id_alone_finds_claims_and_says_so() -> None:
    wanted = Wanted(Searched(keyids=[public().keyid]))
    found = asked(wanted, Whole(named(public().keyid)))
    assert list(states(found).values()) == ["claimed"]
    (artifact,) = found.artifacts
    assert artifact.because[Kind.KEY] == (public().keyid, True)


def test_a_claimed_key_id_stays_a_claim_although_somebody_trusted_signed() -> None:
    wanted = Wanted(Searched(keyids=[public().keyid]))
    found = asked(wanted, Whole(named(public().keyid)), trust=Trust([public("stranger")]))
    assert list(states(found).values()) == ["claimed"]


def test_a_certificate_is_verified_with_a_root_and_a_claim_without() -> None:
    held = sigstore.golden("certificate-v1")
    wanted = Wanted(Searched(identities=[sigstore.WANTED]))
    now = sigstore.NOW
    checked = asked(wanted, Whole(held), trust=Trust(root=sigstore.ROOT), now=now)
    assert list(states(checked).values()) == ["verified"]
    assert checked.artifacts[0].because[Kind.IDENTITY].text.startswith(sigstore.IDENTITY)
    assert checked.collected.claims[0].moment is not None
    claimed = asked(wanted, Whole(held), now=now)
    assert list(states(claimed).values()) == ["claimed"]
    assert claimed.artifacts[0].because[Kind.IDENTITY] == (
        f"{sigstore.IDENTITY} (issuer {sigstore.ISSUER})",
        True,
    )


@pytest.mark.parametrize("form", ["att", "sig"])
def test_a_certificate_beside_a_layer_is_read_like_one_in_a_bundle(form: str) -> None:
    wanted = Wanted(Searched(identities=[sigstore.WANTED]))
    held = sigstore.golden("certificate-v1", form)
    assert asked(wanted, Whole(held), now=sigstore.NOW).exit_code == 1
    checked = asked(wanted, Whole(held), trust=Trust(root=sigstore.ROOT), now=sigstore.NOW)
    assert list(states(checked).values()) == ["verified"]


@pytest.mark.parametrize(
    ("identity", "issuer", "code"),
    [
        (NameWanted("https://kubernetes.io/.*", is_regexp=True), NameWanted(sigstore.ISSUER), 1),
        (NameWanted("https://kubernetes.io/", is_regexp=True), NameWanted(sigstore.ISSUER), 0),
        (NameWanted(sigstore.IDENTITY), NameWanted("https://other.example.com"), 0),
        (NameWanted("somebody"), NameWanted(".*", is_regexp=True), 0),
    ],
)
@pytest.mark.parametrize("root", [None, sigstore.ROOT])
def test_identity_and_issuer_match_as_a_whole(
    identity: NameWanted, issuer: NameWanted, code: int, root: object
) -> None:
    wanted = Wanted(Searched(identities=[CertificateWanted(identity, issuer)]))
    trust = Trust(root=root)  # type: ignore[arg-type]
    found = asked(wanted, Whole(sigstore.golden("certificate-v1")), trust=trust, now=sigstore.NOW)
    assert found.exit_code == code


def test_a_trusted_identity_makes_its_statements_verified() -> None:
    trust = Trust(certificate=sigstore.WANTED, root=sigstore.ROOT)
    held = sigstore.golden("certificate-v1")
    builder = asked(Wanted(Searched(identities=[sigstore.WANTED])), Whole(held), now=sigstore.NOW)
    name = builder.artifacts[0].names[0]
    digest = builder.artifacts[0].digest
    user = form_a(
        provenance(
            predicate={
                "buildDefinition": {"resolvedDependencies": [{"uri": name, "digest": {"sha256": digest[7:]}}]}
            },
            subject=[{"name": "n", "digest": {"sha256": "1" * 64}}],
        )
    )
    found = asked(
        Wanted(Searched(identities=[sigstore.WANTED])), Whole(held, user), trust=trust, now=sigstore.NOW
    )
    assert states(found) == {name: "verified", "n": "claimed"}


@pytest.mark.parametrize("pem", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_certificate_that_cannot_be_read_states_nobody(pem: str) -> None:
    held = replace(form_a(provenance()), annotations={"dev.sigstore.cosign/certificate": pem})
    everybody = CertificateWanted(NameWanted(".*", is_regexp=True), NameWanted(".*", is_regexp=True))
    found = asked(Wanted(Searched(identities=[everybody])), Whole(held))
    assert found.exit_code == 0


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_copies_the_one_that_verifies_counts(order: int) -> None:
    checked = sigstore.golden("certificate-v1")
    bundle = Bundle.from_bytes(checked.data)
    pem = x509.load_der_x509_certificate(bundle.certificates[0]).public_bytes(Encoding.PEM).decode()
    bare = evidence(bundle.envelope.to_bytes(), "dsse", annotations={"dev.sigstore.cosign/certificate": pem})
    wanted, trust = Wanted(Searched(identities=[sigstore.WANTED])), Trust(root=sigstore.ROOT)
    alone = asked(wanted, Whole(bare), trust=trust, now=sigstore.NOW)
    assert list(states(alone).values()) == ["claimed"], "it has no time"
    both = asked(wanted, Whole(*[checked, bare][::order]), trust=trust, now=sigstore.NOW)
    assert list(states(both).values()) == ["verified"]
    (claim,) = both.collected.claims
    assert not claim.found[Kind.IDENTITY].is_claimed
    assert claim.moment is not None
    assert len(claim.places) == 2


def test_signatures_over_files_that_may_be_of_a_leaked_key_are_told_and_not_followed() -> None:
    ours, keyid = public(), public().keyid
    files = [
        evidence(message(hint=keyid), location="file:0"),
        evidence(message(hint=""), location="file:1"),
        evidence(message(hint=public("stranger").keyid), location="file:2"),
    ]
    expected = (
        f"2 signatures over files, not followed: they claim to be by {keyid} at file:0; "
        "a key that it does not name at file:1; verify each with its file"
    )
    for signers in (Searched([ours]), Searched(keyids=[keyid])):
        found = asked(Wanted(signers), Whole(*files))
        assert (found.exit_code, found.touched, found.collected.pieces) == (0, 0, 3)
        assert found.collected.notes == [expected]
    many = [evidence(message(hint=keyid, data=b"%d" % number)) for number in range(7)]
    (note,) = asked(Wanted(Searched([ours])), Whole(*many)).collected.notes
    assert note.startswith("7 signatures over files")
    assert " and 3 more; verify each" in note
    assert asked(Wanted(builders=["https://builder"]), Whole(*files)).collected.notes == []


def test_a_signature_over_a_file_by_a_certificate_is_told_by_its_identity() -> None:
    der = Bundle.from_bytes(sigstore.golden("certificate-v1").data).certificates[0]
    written = json.loads(message())
    written["verificationMaterial"] = {"certificate": {"rawBytes": base64.b64encode(der).decode()}}
    held = evidence(json.dumps(written).encode(), location="file:0")
    (note,) = asked(Wanted(Searched(identities=[sigstore.WANTED])), Whole(held)).collected.notes
    assert f"they claim to be by {sigstore.IDENTITY} (issuer {sigstore.ISSUER}) at file:0" in note
    other = CertificateWanted(NameWanted("somebody"), NameWanted(sigstore.ISSUER))
    assert asked(Wanted(Searched(identities=[other])), Whole(held)).collected.notes == []

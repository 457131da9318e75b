"""Certificates and timestamps that are forged in one way each, refused in their own words and for their reason."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from signers.errors import FormatError, VerificationError
from signers.formats.bundle import Bundle
from signers.sigstore.certificate import (
    MAX_BYTES,
    Certificate,
    Issued,
    check_certificate,
    check_issued,
    issuer_of,
    read_certificate,
    verify_sct,
)
from signers.sigstore.timestamp_verify import MAX_BYTES as MAX_STAMP
from signers.sigstore.timestamp_verify import Timestamp, check_timestamp
from signers.sigstore.trusted_root import Period, TrustedRoot
from signers.sigstore.verification_material import VerificationMaterial
from tests.faults.verify.forged_cases import FOLDER, file
from tests.testbed.certificates import NO_USAGE
from tests.testbed.ct_log import der
from tests.testbed.forged_sigstore import IDENTITY, ISSUER, NOW, Instance, Wanted, private_key
from tests.testbed.forged_timestamps import Stamp, make_authority, make_root
from tests.testbed.sigstore_keys import Authority
from tests.unit.signers.sigstore.test_certificate import authority, issued, root_of

Json = Any
NO_AUTHORITY = ("no authority of the trusted root issued the certificate", "certificate_unknown")
NO_CODE = ("the certificate is not for signing code", "certificate_invalid")
NOT_HELD = "the certificate's timestamp is not valid: "
CERTIFICATES = {
    "certificate-changed": NO_AUTHORITY,
    "certificate-of-another-authority": NO_AUTHORITY,
    "certificate-of-an-authority-of-that-name": NO_AUTHORITY,
    "certificate-issued-by-a-signer": NO_AUTHORITY,
    "certificate-for-clients": NO_CODE,
    "certificate-for-nothing-told": NO_CODE,
    "certificate-not-for-signatures": NO_CODE,
    "certificate-of-an-authority": ("the certificate is an authority's", "certificate_invalid"),
    "certificate-for-two-names": ("the certificate is for 2 names, not for one", "certificate_invalid"),
    "certificate-for-no-name": ("the certificate is for 0 names, not for one", "certificate_invalid"),
    "certificate-with-an-unknown-rule": (
        "the certificate has the critical extension 1.2.3.4, which is not supported", "certificate_invalid",
    ),
    "certificate-with-two-issuers": (
        "the certificate names two issuers, https://kubernetes.default.svc and https://issuer.example",
        "certificate_invalid",
    ),
    "sct-missing": ("the certificate has no certificate timestamp", "sct_missing"),
    "sct-forged": (f"{NOT_HELD}the log https://ct.example did not sign this", "sct_invalid"),
    "sct-of-another-certificate": (f"{NOT_HELD}the log https://ct.example did not sign this", "sct_invalid"),
    "sct-of-an-ended-log": (f"{NOT_HELD}its certificate log is trusted for another time", "sct_invalid"),
}  # fmt: skip


def root() -> TrustedRoot:
    return TrustedRoot.from_path(FOLDER / "trusted_root.json")


def leaf_of(name: str) -> x509.Certificate:
    return read_certificate(Bundle.from_bytes(file(name).read_bytes()).certificates[0])


def refused(words: str, reason: str, leaf: x509.Certificate, by: TrustedRoot | None = None) -> None:
    with pytest.raises(VerificationError) as caught:
        check_issued(leaf, by or root())
    assert (str(caught.value), caught.value.reason) == (words, reason)


@pytest.mark.parametrize("name", CERTIFICATES)
def test_each_fault_of_a_certificate_is_told(name: str) -> None:
    refused(*CERTIFICATES[name], leaf_of(name))


def test_a_certificate_log_that_is_not_trusted_is_told_by_its_id() -> None:
    with pytest.raises(
        VerificationError, match=r"^the certificate's timestamp is not valid: log [0-9a-f]{16}… is not"
    ) as caught:
        check_issued(leaf_of("sct-of-another-log"), root())
    assert caught.value.reason == "sct_invalid"


@pytest.fixture(scope="module")
def instance() -> Instance:
    return Instance.new()


def test_an_honest_certificate_is_told_whole(instance: Instance) -> None:
    trusted = root_of(instance)
    leaf = read_certificate(instance.certificate(private_key()))
    found = check_issued(leaf, trusted)
    ours = trusted.certificate_authorities[0]
    assert found == Issued(leaf, (ours,), IDENTITY, ISSUER)
    assert found.at(NOW) == Certificate(leaf, ours.chain, IDENTITY, ISSUER)
    assert check_certificate(leaf, trusted, NOW) == found.at(NOW)
    assert found.at(NOW).der == leaf.public_bytes(Encoding.DER)


def test_a_certificate_says_when_it_did_not_hold(instance: Instance) -> None:
    found = issued(instance)
    end = NOW + timedelta(minutes=10)
    for moment in (NOW - timedelta(seconds=1), end + timedelta(seconds=1)):
        with pytest.raises(VerificationError) as caught:
            found.at(moment)
        assert str(caught.value) == f"the certificate is valid from {NOW} to {end}, not at {moment}"
        assert caught.value.reason == "timestamp_outside_cert"
    ended = replace(found, authorities=(replace(found.authorities[0], valid=Period(None, NOW)),))
    assert ended.at(NOW).leaf == found.leaf
    with pytest.raises(VerificationError) as caught:
        ended.at(NOW + timedelta(seconds=1))
    assert str(caught.value) == f"the certificate's authority is not trusted at {NOW + timedelta(seconds=1)}"
    assert caught.value.reason == "expired"


def test_an_authority_that_is_listed_for_several_periods_counts_in_each(instance: Instance) -> None:
    found = issued(instance)
    (own,) = found.authorities
    early = replace(own, valid=Period(None, NOW), url="early")
    late = replace(own, valid=Period(NOW + timedelta(minutes=1), None), url="late")
    both = replace(found, authorities=(early, late))
    for moment in (NOW, NOW + timedelta(minutes=1)):
        assert both.at(moment).leaf == found.leaf
    with pytest.raises(VerificationError, match="is not trusted at"):
        both.at(NOW + timedelta(seconds=30))


def test_skew_is_for_the_certificate_and_not_for_its_authority(instance: Instance) -> None:
    found = issued(instance)
    minute = timedelta(minutes=1)
    assert found.at(NOW - minute, minute).leaf == found.leaf
    assert found.at(NOW + 11 * minute, minute).leaf == found.leaf
    ended = replace(found, authorities=(replace(found.authorities[0], valid=Period(NOW, None)),))
    with pytest.raises(VerificationError) as caught:
        ended.at(NOW - minute, minute)
    assert caught.value.reason == "expired"


def test_what_is_no_certificate_is_told() -> None:
    for data, words in (
        (b"", "the certificate cannot be read"),
        (b"\0" * 3, "the certificate cannot be read"),
        (b"\0" * MAX_BYTES, "the certificate cannot be read"),
        (b"\0" * (MAX_BYTES + 1), f"the certificate has {MAX_BYTES + 1} bytes, at most {MAX_BYTES} are read"),
    ):
        with pytest.raises(FormatError) as caught:
            read_certificate(data)
        assert str(caught.value) == words


@pytest.mark.parametrize(
    ("raw", "issuer"),
    [
        (b"\x0c\x00", ""),
        (b"\x0c\x03abc", "abc"),
        (der(0x0C, b"y" * 127), "y" * 127),
        (der(0x0C, b"y" * 128), "y" * 128),
        (der(0x0C, b"y" * 256), "y" * 256),
        (der(0x0C, "é".encode()), "é"),
    ],
)
def test_an_issuer_is_a_text_of_any_length(instance: Instance, raw: bytes, issuer: str) -> None:
    leaf = read_certificate(instance.certificate(private_key(), Wanted(issuer_der=raw)))
    assert issuer_of(leaf) == issuer


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0c\x80",
        b"\x0c\x80" + b"a" * 128,
        b"\x0c\x01",
        b"\x0c\x04abc",
        b"\x0c\x02abc",
        b"\x0c\x81\x04abc",
        b"\x0d\x03abc",
        b"\x0c\x02\xc3\x28",
        b"\x0c",
    ],
)
def test_an_issuer_that_is_no_text_is_told(instance: Instance, raw: bytes) -> None:
    leaf = read_certificate(instance.certificate(private_key(), Wanted(issuer_der=raw)))
    refused("the certificate has a name that is no text", "certificate_invalid", leaf, root_of(instance))


def test_an_old_issuer_that_is_no_text_is_told(instance: Instance) -> None:
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), b"\xff")
    wanted = Wanted(issuer="", extension=odd)
    leaf = read_certificate(instance.certificate(private_key(), wanted))
    with pytest.raises(VerificationError) as caught:
        issuer_of(leaf)
    assert (str(caught.value), caught.value.reason) == (
        "the certificate has a name that is no text",
        "certificate_invalid",
    )


def test_without_an_issuer_it_is_empty_and_equal_ones_are_one(instance: Instance) -> None:
    none = read_certificate(instance.certificate(private_key(), Wanted(issuer="")))
    assert issuer_of(none) == ""
    twice = read_certificate(instance.certificate(private_key(), Wanted(old_issuer=ISSUER)))
    assert issuer_of(twice) == ISSUER


def test_the_first_problem_of_a_profile_is_told(instance: Instance) -> None:
    both = Wanted(is_authority=True, names=2, usages=())
    leaf = read_certificate(instance.certificate(private_key(), both))
    refused("the certificate is an authority's", "certificate_invalid", leaf, root_of(instance))
    usages = Wanted(usages=(ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.CODE_SIGNING))
    assert issued(instance, usages).identity == IDENTITY
    two = Wanted(usages=(), names=2)
    leaf = read_certificate(instance.certificate(private_key(), two))
    refused("the certificate is not for signing code", "certificate_invalid", leaf, root_of(instance))


def test_one_certificate_timestamp_that_holds_is_enough(instance: Instance) -> None:
    leaf = read_certificate(instance.certificate(private_key()))
    trusted, issuer = root_of(instance), instance.fulcio.chain[0]
    verify_sct(leaf, issuer, trusted)
    for logs in ((), (replace(trusted.ct_logs[0], valid=Period(NOW + timedelta(seconds=1), None)),)):
        with pytest.raises(VerificationError) as caught:
            verify_sct(leaf, issuer, replace(trusted, ct_logs=logs))
        assert caught.value.reason == "sct_invalid"
    edge = replace(trusted, ct_logs=(replace(trusted.ct_logs[0], valid=Period(NOW, NOW)),))
    verify_sct(leaf, issuer, edge)
    with pytest.raises(VerificationError, match="did not sign this"):
        verify_sct(leaf, Instance.new().fulcio.chain[0], trusted)


CA_FOR_ANY = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
CA_FOR_BOTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING])
KEY_CERT_SIGN = x509.KeyUsage(**NO_USAGE | {"key_cert_sign": True})


@pytest.mark.parametrize("usage", [CA_FOR_ANY, CA_FOR_BOTH])
@pytest.mark.parametrize("length", [None, 0, 1])
def test_an_authority_for_more_than_code_may_issue_too(
    instance: Instance, usage: x509.ExtendedKeyUsage, length: int | None
) -> None:
    constraints = x509.BasicConstraints(ca=True, path_length=length)
    made = authority((constraints, True), (KEY_CERT_SIGN, True), (usage, True))
    assert issued(replace(instance, fulcio=made)).identity == IDENTITY


def test_a_chain_leads_from_the_leaf_through_each_authority_to_the_root(instance: Instance) -> None:
    above, stranger = (
        authority((x509.BasicConstraints(ca=True, path_length=1), True), (KEY_CERT_SIGN, True))
        for _ in range(2)
    )
    below = private_key()
    middle = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "between")]))
        .issuer_name(above.chain[0].subject)
        .public_key(below.public_key())
        .serial_number(2)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(above.key, hashes.SHA256())
    )
    whole = replace(instance, fulcio=Authority(below, (middle, *above.chain)))
    found = issued(whole)
    assert found.identity == IDENTITY
    assert found.at(NOW).chain == (middle, *above.chain)
    assert found.at(NOW).chain_pem.count(b"BEGIN") == 2
    forged = replace(instance, fulcio=Authority(below, (middle, *stranger.chain)))
    leaf = read_certificate(forged.certificate(private_key()))
    refused(*NO_AUTHORITY, leaf, root_of(forged))


def test_a_certificate_that_does_not_say_what_its_key_is_for_signs_no_code(instance: Instance) -> None:
    leaf = read_certificate(instance.certificate(private_key(), Wanted(has_usage=False)))
    refused(*NO_CODE, leaf, root_of(instance))


def test_a_promise_that_does_not_count_keeps_none_after_it_from_counting(instance: Instance) -> None:
    """Of a log that ended, of one that is not trusted, and of one under whose name another signed."""
    ended, unknown = Instance.new(), private_key()
    trusted = TrustedRoot.from_bytes(json.dumps(instance.trusted_root(ended)).encode())
    for logs in ((ended.ct,), (unknown,), (unknown, ended.ct)):
        leaf = read_certificate(instance.certificate(private_key(), Wanted(promised_by=logs)))
        assert check_issued(leaf, trusted).identity == IDENTITY
    both = Wanted(promised_by=(ended.ct,), sct_key=unknown)
    leaf = read_certificate(instance.certificate(private_key(), both))
    refused(f"{NOT_HELD}the log https://ct.example did not sign this", "sct_invalid", leaf, trusted)


def test_a_certificate_with_a_part_that_cannot_be_read_is_told(instance: Instance) -> None:
    odd = x509.UnrecognizedExtension(ExtensionOID.CRL_DISTRIBUTION_POINTS, b"\xff")
    leaf = read_certificate(instance.certificate(private_key(), Wanted(extension=odd)))
    refused("the certificate cannot be read", "certificate_invalid", leaf, root_of(instance))


# timestamps


STAMPS = {
    "timestamp-of-another-signature": "the timestamp is over another signature",
    "timestamp-of-the-payload": "the timestamp is over another signature",
    "timestamp-of-sha1": "the timestamp is over another signature",
    "timestamp-not-granted": "no timestamp was granted: 2",
    "timestamp-unreadable": "this is not a timestamp response",
}


@pytest.mark.parametrize("name", STAMPS)
def test_each_fault_of_a_timestamp_is_told(name: str) -> None:
    bundle = Bundle.from_bytes(file(name).read_bytes())
    (stamp,) = VerificationMaterial.from_bundle(bundle).timestamps
    with pytest.raises(VerificationError) as caught:
        check_timestamp(stamp, bundle.envelope.signatures[0].sig, root())
    assert (str(caught.value), caught.value.reason) == (STAMPS[name], "signature_invalid")


@pytest.mark.parametrize(
    "name",
    [
        "of-another-authority",
        "of-an-authority-of-that-name",
        "of-an-ended-authority",
        "by-an-expired-certificate",
        "by-a-signer-of-code",
        "changed",
    ],
)
def test_a_timestamp_that_no_trusted_authority_made_is_told_as_such(name: str) -> None:
    bundle = Bundle.from_bytes(file(f"timestamp-{name}").read_bytes())
    (stamp,) = VerificationMaterial.from_bundle(bundle).timestamps
    with pytest.raises(
        VerificationError, match=r"^no authority of the trusted root made the timestamp: Error"
    ) as caught:
        check_timestamp(stamp, bundle.envelope.signatures[0].sig, root())
    assert caught.value.reason == "signature_invalid"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_an_honest_timestamp_is_told_with_its_authority(instance: Instance, algorithm: str) -> None:
    moment = datetime(2025, 6, 1, 12, 0, 9, tzinfo=UTC)
    stamp = instance.timestamp(b"sig", Stamp(moment, algorithm=algorithm))
    assert check_timestamp(stamp, b"sig", root_of(instance)) == Timestamp(
        stamp, moment, "https://tsa.example"
    )
    assert check_timestamp(stamp, b"sig", None) == Timestamp(stamp, moment, "")
    assert check_timestamp(stamp, b"sig", None, nonce=None).time == moment
    with pytest.raises(VerificationError) as caught:
        check_timestamp(stamp, b"sig", None, nonce=4712)
    assert (str(caught.value), caught.value.reason) == (
        "the timestamp answers another query",
        "signature_invalid",
    )


def test_the_answer_to_a_query_has_its_number_and_counts_without_the_query_too(instance: Instance) -> None:
    stamp = instance.timestamp(b"sig", Stamp(NOW, nonce=4712))
    for nonce in (None, 4712):
        assert check_timestamp(stamp, b"sig", root_of(instance), nonce).time == NOW
    for nonce in (0, 4711):
        with pytest.raises(VerificationError, match="answers another query"):
            check_timestamp(stamp, b"sig", root_of(instance), nonce)


def test_any_authority_of_the_trusted_root_may_have_made_a_timestamp(instance: Instance) -> None:
    stamp, trusted = instance.timestamp(b"sig"), root_of(instance)
    ours = trusted.timestamp_authorities[0]
    strangers = root_of(Instance.new()).timestamp_authorities
    early = replace(ours, valid=Period(None, NOW), url="early")
    for listed in ((ours, *strangers), (*strangers, ours), (early, ours)):
        found = check_timestamp(stamp, b"sig", replace(trusted, timestamp_authorities=listed))
        assert found.authority == "https://tsa.example"


def test_a_timestamp_is_by_the_authority_that_is_listed_and_not_by_another_below_its_root(
    instance: Instance,
) -> None:
    trusted, sibling = root_of(instance), make_authority(instance.tsa_root, NOW)
    theirs = replace(instance, tsa=sibling).timestamp(b"sig")
    with pytest.raises(VerificationError, match="no authority of the trusted root made the timestamp"):
        check_timestamp(theirs, b"sig", trusted)
    # where the root alone is listed, each of those that it vouches for counts
    (above,) = instance.tsa_root.chain
    whole = replace(trusted.timestamp_authorities[0], chain=(above,))
    for stamp in (theirs, instance.timestamp(b"sig")):
        check_timestamp(stamp, b"sig", replace(trusted, timestamp_authorities=(whole,)))


def test_an_authority_between_leads_from_the_root_to_what_it_vouches_for_and_no_further(
    instance: Instance,
) -> None:
    between = make_root(NOW, instance.tsa_root)
    stamp = replace(instance, tsa=make_authority(between, NOW)).timestamp(b"sig")
    trusted = root_of(instance)
    ours = trusted.timestamp_authorities[0]
    whole = replace(trusted, timestamp_authorities=(replace(ours, chain=between.chain),))
    assert check_timestamp(stamp, b"sig", whole).authority == ours.url
    stranger = replace(ours, chain=make_root(NOW).chain)
    with pytest.raises(VerificationError, match="no authority of the trusted root made the timestamp"):
        check_timestamp(stamp, b"sig", replace(trusted, timestamp_authorities=(stranger,)))


def test_an_authority_that_does_not_say_that_it_is_none_over_others_is_none(instance: Instance) -> None:
    plain = make_authority(instance.tsa_root, NOW, is_told=False)
    sibling = make_authority(instance.tsa_root, NOW)
    trusted = root_of(instance)
    listed = replace(trusted.timestamp_authorities[0], chain=plain.chain)
    by_it = replace(trusted, timestamp_authorities=(listed,))
    check_timestamp(replace(instance, tsa=plain).timestamp(b"sig"), b"sig", by_it)
    with pytest.raises(VerificationError, match="no authority of the trusted root made the timestamp"):
        check_timestamp(replace(instance, tsa=sibling).timestamp(b"sig"), b"sig", by_it)


class Unreadable:
    """Stands where a certificate does; of a version that there is not."""

    def public_bytes(self, encoding: Encoding) -> bytes:
        whole = Instance.new().fulcio.chain[0].public_bytes(encoding)
        return whole.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)


def test_a_certificate_beside_a_timestamp_that_cannot_be_read_is_told(instance: Instance) -> None:
    chain: Any = (*instance.tsa.chain, Unreadable())
    stamp = replace(instance, tsa=replace(instance.tsa, chain=chain)).timestamp(b"sig")
    with pytest.raises(VerificationError) as caught:
        check_timestamp(stamp, b"sig", root_of(instance))
    assert (str(caught.value), caught.value.reason) == (
        "a certificate of the timestamp cannot be read",
        "signature_invalid",
    )


def test_an_authority_counts_for_its_period_alone(instance: Instance) -> None:
    moment = NOW + timedelta(minutes=1)
    stamp, trusted = instance.timestamp(b"sig"), root_of(instance)
    for period, is_trusted in (
        (Period(moment, moment), True),
        (Period(moment + timedelta(seconds=1), None), False),
        (Period(None, moment - timedelta(seconds=1)), False),
    ):
        listed = tuple(replace(one, valid=period) for one in trusted.timestamp_authorities[:1])
        limited = replace(trusted, timestamp_authorities=listed)
        if is_trusted:
            assert check_timestamp(stamp, b"sig", limited).time == moment
            continue
        with pytest.raises(VerificationError) as caught:
            check_timestamp(stamp, b"sig", limited)
        assert str(caught.value) == (
            f"no authority of the trusted root made the timestamp: its authority is not trusted at {moment}"
        )
    with pytest.raises(VerificationError) as caught:
        check_timestamp(stamp, b"sig", replace(trusted, timestamp_authorities=()))
    assert str(caught.value) == (
        "no authority of the trusted root made the timestamp: the trusted root has no timestamp authority"
    )
    assert caught.value.reason == "signature_invalid"


def test_a_timestamp_is_read_to_its_limit_and_no_further() -> None:
    for size, words in (
        (MAX_STAMP, "this is not a timestamp response"),
        (MAX_STAMP + 1, f"a timestamp response has {MAX_STAMP + 1} bytes, at most {MAX_STAMP} are read"),
    ):
        with pytest.raises(VerificationError) as caught:
            check_timestamp(b"\0" * size, b"", None)
        assert (str(caught.value), caught.value.reason) == (words, "signature_invalid")


def test_certificates_of_a_timestamp_are_few_and_each_of_its_own_name(instance: Instance) -> None:
    """Two of one name, and a verifier looks at one while the other signed."""
    words = "the timestamp's certificates are ambiguous or too many"
    chain = instance.tsa.chain
    other = private_key()
    like_the_signer = (
        x509.CertificateBuilder()
        .subject_name(chain[0].subject)
        .issuer_name(chain[0].issuer)
        .public_key(other.public_key())
        .serial_number(chain[0].serial_number)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(other, hashes.SHA256())
    )
    many = [Instance.new().fulcio.chain[0] for _ in range(15)]
    for more in ([like_the_signer], many):
        stamp = replace(instance, tsa=replace(instance.tsa, chain=(*chain, *more))).timestamp(b"sig")
        with pytest.raises(VerificationError) as caught:
            check_timestamp(stamp, b"sig", root_of(instance))
        assert (str(caught.value), caught.value.reason) == (words, "signature_invalid")
    stamp = replace(instance, tsa=replace(instance.tsa, chain=(*chain, *many[1:]))).timestamp(b"sig")
    assert check_timestamp(stamp, b"sig", root_of(instance)).authority == "https://tsa.example"


def test_the_same_is_read_from_json(instance: Instance) -> None:
    """The cases above lean on it: the instance's own trusted root is what they verify with."""
    written = instance.trusted_root(Instance.new())
    assert TrustedRoot.from_bytes(json.dumps(written).encode()).ct_logs[0].url == "https://ct.example"

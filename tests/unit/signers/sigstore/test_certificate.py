"""Certificates: who they may name, who may issue them, and when."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from signers.errors import FormatError, VerificationError
from signers.sigstore.certificate import MAX_BYTES, Issued, check_certificate, check_issued, read_certificate
from signers.sigstore.timestamp_verify import check_timestamp
from signers.sigstore.trusted_root import TrustedRoot
from tests.testbed.certificates import NO_USAGE
from tests.testbed.ct_log import der
from tests.testbed.forged_sigstore import IDENTITY, ISSUER, NOW, Instance, Wanted, private_key
from tests.testbed.sigstore_keys import Authority, make_keys

USERNAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
USAGE = x509.KeyUsage(**NO_USAGE | {"key_cert_sign": True})
CA = x509.BasicConstraints(ca=True, path_length=0)
UTF8_STRING = 0x0C


@pytest.fixture(scope="module")
def instance() -> Instance:
    return Instance.new()


def root_of(instance: Instance) -> TrustedRoot:
    return TrustedRoot.from_bytes(json.dumps(instance.trusted_root(Instance.new())).encode())


def issued(instance: Instance, wanted: Wanted | None = None) -> Issued:
    leaf = read_certificate(instance.certificate(private_key(), wanted))
    return check_issued(leaf, root_of(instance))


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        (x509.RFC822Name("dev@example.com"), "dev@example.com"),
        (x509.DNSName("ci.example.com"), "ci.example.com"),
        (x509.OtherName(USERNAME, der(UTF8_STRING, b"dev!example.com")), "dev!example.com"),
        (x509.OtherName(x509.ObjectIdentifier("1.2.3"), der(UTF8_STRING, b"dev")), ""),
    ],
)
def test_an_identity_is_a_name_of_any_kind_that_fulcio_writes(
    instance: Instance, name: x509.GeneralName, identity: str
) -> None:
    assert issued(instance, Wanted(alternatives=(name,))).identity == identity


@pytest.mark.parametrize("issuer", [ISSUER, f"https://{'a' * 120}.example", f"https://example/{'a' * 300}"])
def test_an_issuer_may_be_of_any_length(instance: Instance, issuer: str) -> None:
    found = issued(instance, Wanted(issuer=issuer, old_issuer=issuer))
    assert (found.identity, found.issuer) == (IDENTITY, issuer)
    assert issued(instance, Wanted(issuer="", old_issuer=issuer)).issuer == issuer


@pytest.mark.parametrize(
    "raw", [b"x", b"\x0c", b"\x0c\x05abc", b"\x16\x03abc", b"\x0c\x82\x01", b"\x0c\x01\xff", b"\x0c\xff\x00"]
)
def test_an_issuer_that_is_no_text_is_refused(instance: Instance, raw: bytes) -> None:
    with pytest.raises(VerificationError, match="no text") as refused:
        issued(instance, Wanted(issuer_der=raw))
    assert refused.value.reason == "certificate_invalid"


def authority(*extensions: tuple[x509.ExtensionType, bool]) -> Authority:
    key = private_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Authority(key, (builder.sign(key, hashes.SHA256()),))


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


@pytest.mark.parametrize(
    ("extensions", "may"),
    [
        (((CA, True), (USAGE, True)), True),
        (
            ((CA, True), (USAGE, True), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)),
            True,
        ),
        (((CA, True), (USAGE, True), (UNKNOWN, False)), True),
        (((CA, True), (USAGE, True), (UNKNOWN, True)), False),
        (
            ((CA, True), (USAGE, True), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)),
            False,
        ),
        (((CA, True), (x509.KeyUsage(**NO_USAGE | {"crl_sign": True}), True)), False),
        (((x509.BasicConstraints(ca=False, path_length=None), True), (USAGE, True)), False),
        (((USAGE, True),), False),
    ],
)
def test_an_authority_may_issue_what_its_own_certificate_says(
    instance: Instance, extensions: tuple[tuple[x509.ExtensionType, bool], ...], may: bool
) -> None:
    other = replace(instance, fulcio=authority(*extensions))
    if may:
        assert issued(other).identity == IDENTITY
        return
    with pytest.raises(VerificationError, match="no authority") as refused:
        issued(other)
    assert refused.value.reason == "certificate_unknown"


def test_a_path_is_no_longer_than_it_may_be(instance: Instance) -> None:
    below = private_key()
    above = authority((CA, True), (USAGE, True))
    middle = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(NAME)
        .public_key(below.public_key())
        .serial_number(2)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(CA, critical=True)
        .sign(above.key, hashes.SHA256())
    )
    with pytest.raises(VerificationError, match="no authority"):
        issued(replace(instance, fulcio=Authority(below, (middle, *above.chain))))


def test_an_authority_whose_own_certificate_has_ended_counts_no_more(instance: Instance) -> None:
    old = replace(instance, fulcio=make_keys(NOW - timedelta(days=4000)).fulcio)
    found = issued(old)
    with pytest.raises(VerificationError, match="not trusted at") as refused:
        found.at(NOW)
    assert refused.value.reason == "expired"


def test_a_certificate_holds_from_its_first_second_to_its_last(instance: Instance) -> None:
    leaf = read_certificate(instance.certificate(private_key()))
    root, end = root_of(instance), NOW + timedelta(minutes=10)
    for moment in (NOW, end):
        found = check_certificate(leaf, root, moment)
        assert (found.identity, found.issuer, found.leaf) == (IDENTITY, ISSUER, leaf)
        assert found.pem.startswith(b"-----BEGIN")
        assert found.chain_pem.count(b"BEGIN") == len(found.chain) == 1
    second = timedelta(seconds=1)
    for moment in (NOW - second, end + second):
        with pytest.raises(VerificationError, match="valid from") as refused:
            check_certificate(leaf, root, moment)
        assert refused.value.reason == "timestamp_outside_cert"
        assert check_certificate(leaf, root, moment, second).leaf == leaf


def test_too_large_pieces_are_not_read(instance: Instance) -> None:
    with pytest.raises(FormatError, match="at most"):
        read_certificate(bytes(MAX_BYTES + 1))
    with pytest.raises(VerificationError, match="at most"):
        check_timestamp(bytes(MAX_BYTES + 1), b"", root_of(instance))
    with pytest.raises(VerificationError, match="another query"):
        check_timestamp(instance.timestamp(b"x"), b"x", None, nonce=7)

"""Who signed, as it is told to people and to programs."""

from __future__ import annotations

from datetime import UTC, datetime

from chains.verify.signed_by import SignedBy
from signers.sigstore.log_entry import Logged
from signers.sigstore.trusted_root import Period
from signers.sigstore.verification_material import VerifiedTime

EVER = Period(None, None)
FIRST, LATER = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
ENTRIES = (
    Logged(7, "https://rekor.example", EVER, None),
    Logged(8, "https://v1.example", EVER, FIRST),
)
TIMES = (
    VerifiedTime(LATER, "TimestampAuthority", "https://tsa.example"),
    VerifiedTime(FIRST, "Tlog", "https://v1.example"),
)
KEY = SignedBy("SHA256:k", entries=ENTRIES, times=TIMES)
CERTIFICATE = SignedBy("", "https://me.example", "https://issuer.example", "O=authority", ENTRIES, TIMES)


def test_a_key_is_told_by_its_fingerprint_and_a_certificate_by_identity_and_issuer() -> None:
    assert KEY.name == "SHA256:k"
    assert CERTIFICATE.name == "https://me.example (issuer https://issuer.example)"
    assert KEY.to_json() == {"keyid": "SHA256:k"}
    assert CERTIFICATE.to_json() == {"identity": "https://me.example", "issuer": "https://issuer.example"}


def test_the_first_time_is_told_and_every_entry() -> None:
    told = (
        ", log index 7 of https://rekor.example, log index 8 of https://v1.example, at 2026-01-02T03:04:05Z"
    )
    assert KEY.where_and_when == CERTIFICATE.where_and_when == told
    assert str(KEY) == "SHA256:k" + told
    assert str(SignedBy("SHA256:k")) == "SHA256:k"


def test_it_is_written_in_sigstore_gos_keys() -> None:
    assert KEY.signature_to_json() == {"publicKeyId": "SHA256:k"}
    assert CERTIFICATE.signature_to_json() == {
        "certificate": {
            "certificateIssuer": "O=authority",
            "subjectAlternativeName": "https://me.example",
            "issuer": "https://issuer.example",
        }
    }
    assert KEY.entries_to_json() == [
        {"log": "https://rekor.example", "logIndex": 7},
        {"log": "https://v1.example", "logIndex": 8},
    ]
    assert KEY.times_to_json() == [
        {"type": "TimestampAuthority", "timestamp": "2026-01-02T03:04:06Z"},
        {"type": "Tlog", "timestamp": "2026-01-02T03:04:05Z"},
    ]

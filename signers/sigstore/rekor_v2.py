"""Rekor v2: ``hashedrekord`` entries over the digest of what was signed.

Source: sigstore/rekor-tiles CLIENTS.md. The log answers when the entry is in a published checkpoint, after
about a second, and the answer contains the inclusion proof. Only a digest leaves the cluster. Entries have no
signed time, so a signature also needs an RFC 3161 timestamp.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from signers.errors import SignerRejected, SignerUnavailable, VerificationError
from signers.keys.public_key import PublicKey
from signers.sigstore.log_entry import check_body, parse_body
from signers.sigstore.service import Service, expect_success, without_user
from signers.sigstore.signed import Signed
from signers.sigstore.transparency import (
    EntryExistsError,
    LogEntry,
    TransparencyLog,
    number,
    verify_inclusion,
)
from signers.sigstore.trusted_root import TrustedRoot

KEY_DETAILS = {
    "ecdsa-p256-sha256": "PKIX_ECDSA_P256_SHA_256",
    "rsa-2048-sha256": "PKIX_RSA_PKCS1V15_2048_SHA256",
    "rsa-3072-sha256": "PKIX_RSA_PKCS1V15_3072_SHA256",
    "rsa-4096-sha256": "PKIX_RSA_PKCS1V15_4096_SHA256",
}
"""The algorithms that both Rekor v2 and this project support. Rekor v2 takes P-384 only with SHA-384, and no
pure Ed25519."""


class RekorV2(TransparencyLog):
    """A Rekor v2 log at ``url``. With ``root`` its answers are verified with the log's key."""

    refuses_equal = True

    def __init__(self, url: str, root: TrustedRoot | None = None, *, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._root = root
        self._service = Service(url, "transparency log", timeout=timeout)

    def check_key(self, key: PublicKey) -> None:
        """Return if the log accepts signatures of this key. Raises :class:`SignerRejected`."""
        if key.algorithm not in KEY_DETAILS:
            raise SignerRejected(
                f"transparency log: rekor v2 does not accept {key.algorithm} signatures: expected one of "
                f"{', '.join(KEY_DETAILS)}"
            )

    def add(self, signed: Signed) -> LogEntry:
        """Add an entry; see :meth:`TransparencyLog.add`."""
        self.check_key(signed.key)
        digest = hashlib.sha256(signed.data).digest()
        verifier = {**_verifier(signed), "keyDetails": KEY_DETAILS[signed.key.algorithm]}
        signature = {"content": b64encode(signed.signature).decode(), "verifier": verifier}
        request = {"digest": b64encode(digest).decode(), "signature": signature}
        reply = self._service.post_json("/api/v2/log/entries", {"hashedRekordRequestV002": request})
        if reply.status == HTTPStatus.CONFLICT:
            raise EntryExistsError(f"{reply.where} has this signature already and returns no proof of it")
        content = expect_success(reply).json
        try:
            return self.check(content, signed)
        except VerificationError as error:
            raise SignerUnavailable(f"{reply.where}: its answer does not verify: {error}") from error

    def check(self, content: Mapping[str, Any], signed: Signed) -> LogEntry:
        """Return the verified entry; see :meth:`TransparencyLog.check`."""
        check_entry(content, signed, self._root)
        index = number(content, "logIndex")
        return LogEntry(content, index, f"{without_user(self.url)}/api/v2/log/entries?logIndex={index}")


def check_entry(content: Mapping[str, Any], signed: Signed, root: TrustedRoot | None) -> None:
    """Return if the entry proves that this signature is in the log. Raises :class:`VerificationError`."""
    check_body(parse_body(verify_inclusion(content, root)), signed)


def _verifier(signed: Signed) -> dict[str, Any]:
    """Return the protobuf ``Verifier`` without ``keyDetails``: the certificate, or the public key."""
    if signed.certificate:
        return {"x509Certificate": {"rawBytes": b64encode(signed.certificate).decode()}}
    return {"publicKey": {"rawBytes": b64encode(_spki(signed.key)).decode()}}


def _spki(key: PublicKey) -> bytes:
    return load_pem_public_key(key.pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

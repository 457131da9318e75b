"""A signature over a statement, and the parts of evidence about it.

Log entries and times are added elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from tests.faults.verify.forge import provenance, to_bytes
from tests.testbed.forged_sigstore import V2, body_v1, body_v2, encoded, pem_of, sign, spki
from tests.testbed.sigstore_keys import public_pem

TYPE = "application/vnd.in-toto+json"
Json = Any


@dataclass(slots=True)
class Signature:
    """A signature over a statement, and the parts of evidence about it."""

    key: ec.EllipticCurvePrivateKey
    certificate: bytes = b""
    payload: bytes = to_bytes(provenance())
    signature: bytes = b""

    def __post_init__(self) -> None:
        self.signature = self.signature or sign(self.key, self.data)

    @property
    def data(self) -> bytes:
        """The PAE of the envelope."""
        return f"DSSEv1 {len(TYPE)} {TYPE} {len(self.payload)} ".encode() + self.payload

    @property
    def envelope(self) -> Json:
        """The DSSE envelope, without a keyid as cosign writes it."""
        return {
            "payload": encoded(self.payload),
            "payloadType": TYPE,
            "signatures": [{"sig": encoded(self.signature)}],
        }

    @property
    def pem(self) -> bytes:
        """The form in which a Rekor v1 entry names the signer."""
        return pem_of(self.certificate) if self.certificate else public_pem(self.key)

    @property
    def verifier(self) -> Json:
        """The form in which a Rekor v2 entry names the signer."""
        if self.certificate:
            return {"x509Certificate": {"rawBytes": encoded(self.certificate)}}
        return {"publicKey": {"rawBytes": encoded(spki(self.key))}}

    def body(self, host: str, kind: str = "dsse") -> Json:
        """Return the body of a log entry for this signature."""
        if host == V2:
            return body_v2(self.signature, self.data, self.verifier)
        return body_v1(self.signature, self.envelope, self.pem, kind)

    def bundle(self, entries: Sequence[Json], stamps: Sequence[bytes], version: str = "0.3") -> Json:
        """Return a bundle of all parts."""
        owner: Json = {"publicKey": {"hint": ""}}
        if self.certificate and version == "0.3":
            owner = {"certificate": {"rawBytes": encoded(self.certificate)}}
        elif self.certificate:
            owner = {"x509CertificateChain": {"certificates": [{"rawBytes": encoded(self.certificate)}]}}
        media_type = f"application/vnd.dev.sigstore.bundle+json;version={version}"
        if version == "0.3":
            media_type = "application/vnd.dev.sigstore.bundle.v0.3+json"
        times = {"rfc3161Timestamps": [{"signedTimestamp": encoded(one)} for one in stamps]}
        material = {**owner, "tlogEntries": list(entries), "timestampVerificationData": times}
        return {"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": self.envelope}

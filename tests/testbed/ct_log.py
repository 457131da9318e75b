"""A certificate transparency log for Fulcio. It promises to log every precertificate and logs none.

Fulcio only uses ``add-pre-chain`` (RFC 6962, section 4.2). There is no Merkle tree, only the promise: the
signed certificate timestamp of section 3.2.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.testbed.loopback import Answer, Request, serving

SEQUENCE, EXTENSIONS = 0x30, 0xA3
POISON = bytes.fromhex("060a2b06010401d679020403")
"""The object identifier 1.3.6.1.4.1.11129.2.4.3 in DER: it makes a certificate a precertificate."""
SHA256_ECDSA = b"\x04\x03"


def ct_log(key: ec.EllipticCurvePrivateKey) -> AbstractContextManager[str]:
    """Run the log for the length of the block, and yield its base URL."""

    def answer(request: Request) -> Answer:
        if request.method != "POST" or not request.path.endswith("/ct/v1/add-pre-chain"):
            return Answer(404)
        certificates = [base64.b64decode(one) for one in json.loads(request.body)["chain"]]
        return Answer(200, promise(key, certificates[0], certificates[1]))

    return serving(answer)


def promise(
    key: ec.EllipticCurvePrivateKey, precertificate: bytes, issuer: bytes, moment: float = 0.0
) -> dict[str, object]:
    """Return the answer to ``add-pre-chain`` for DER certificates: an SCT signed by ``key``.

    ``moment`` is its time in seconds since 1970, by default now.
    """
    tbs = without_poison(x509.load_der_x509_certificate(precertificate).tbs_certificate_bytes)
    issuer_key = x509.load_der_x509_certificate(issuer).public_key()
    timestamp = int((moment or time.time()) * 1000)
    signed = b"".join(
        (
            b"\x00",  # version v1
            b"\x00",  # certificate_timestamp
            timestamp.to_bytes(8, "big"),
            b"\x00\x01",  # precert_entry
            hashlib.sha256(issuer_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest(),
            len(tbs).to_bytes(3, "big"),
            tbs,
            b"\x00\x00",  # no extensions
        )
    )
    signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    struct = SHA256_ECDSA + len(signature).to_bytes(2, "big") + signature
    log_id = hashlib.sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return {
        "sct_version": 0,
        "id": base64.b64encode(log_id.digest()).decode(),
        "timestamp": timestamp,
        "extensions": "",
        "signature": base64.b64encode(struct).decode(),
    }


def without_poison(tbs: bytes) -> bytes:
    """Return a TBSCertificate (DER) without the extension that marks a precertificate."""
    *before, extensions = elements(content(tbs))
    if extensions[0] != EXTENSIONS:
        raise ValueError("the certificate has no extensions")
    kept = [one for one in elements(content(content(extensions))) if not content(one).startswith(POISON)]
    return der(SEQUENCE, b"".join(before) + der(EXTENSIONS, der(SEQUENCE, b"".join(kept))))


def _header(data: bytes) -> tuple[int, int]:
    """Return the lengths of the header and of the content of the first element in ``data``."""
    first = data[1]
    if first < 0x80:
        return 2, first
    count = first & 0x7F
    return 2 + count, int.from_bytes(data[2 : 2 + count], "big")


def content(element: bytes) -> bytes:
    """Return the content of a DER element."""
    header, length = _header(element)
    return element[header : header + length]


def elements(data: bytes) -> Iterator[bytes]:
    """Yield the consecutive DER elements in ``data``."""
    while data:
        size = sum(_header(data))
        yield data[:size]
        data = data[size:]


def der(tag: int, inner: bytes) -> bytes:
    """Return a DER element."""
    if len(inner) < 0x80:
        return bytes((tag, len(inner))) + inner
    length = len(inner).to_bytes((len(inner).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + inner

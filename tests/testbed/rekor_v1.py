"""Rekor v1's write API over a real Merkle tree with real signatures. It checks entries as the log does.

The real server needs a Trillian and a database. This one follows sigstore/rekor ``openapi.yaml``: 201 with
one entry, 409 with a ``Location`` for an equal one, 400 for an entry that does not verify.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from tests.testbed.loopback import Answer, Request, serving

PATH = "/api/v1/log/entries"
Json = dict[str, Any]


@dataclass(slots=True)
class RekorV1Server:
    """A running log. Tests turn its faults on."""

    key: ec.EllipticCurvePrivateKey
    url: str = ""
    leaves: list[bytes] = field(default_factory=list)
    entries: dict[str, Json] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    status: int = 0
    """The status to answer instead of an entry, if it is not 0."""
    spoil: str = ""
    """The name of the member of the answer that is made wrong."""

    @property
    def log_id(self) -> bytes:
        """SHA-256 of the public key."""
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).digest()

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        self.requests.append(request)
        if self.status:
            return Answer(self.status, {"code": self.status, "message": "told to"})
        if request.method == "GET":
            found = self.entries.get(request.path.removeprefix(f"{PATH}/"))
            return Answer(200, found) if found else Answer(404)
        try:
            body = _canonical(json.loads(request.body))
        except (ValueError, KeyError, TypeError, InvalidSignature) as error:
            return Answer(400, {"code": 400, "message": f"validation error: {error!r}"})
        uuid = hashlib.sha256(b"\0" + body).hexdigest()
        if uuid in self.entries:
            return Answer(409, {"code": 409, "message": "equivalent"}, {"Location": f"{PATH}/{uuid}"})
        self.leaves.append(body)
        self.entries[uuid] = {uuid: self._entry(body)}
        return Answer(201, self.entries[uuid])

    def _entry(self, body: bytes) -> Json:
        index, level = len(self.leaves) - 1, [hashlib.sha256(b"\0" + one).digest() for one in self.leaves]
        root, path = merkle(level, index)
        text = f"127.0.0.1 - 42\n{len(level)}\n{base64.b64encode(root).decode()}\n"
        note = self.log_id[:4] + self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        entry = {
            "body": base64.b64encode(body).decode(),
            "integratedTime": int(time.time()),
            "logID": self.log_id.hex(),
            "logIndex": index + 1000,
        }
        promised = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        promise = self.key.sign(promised, ec.ECDSA(hashes.SHA256()))
        proof = {
            "checkpoint": f"{text}\n\N{EM DASH} 127.0.0.1 {base64.b64encode(note).decode()}\n",
            "hashes": [one.hex() for one in path],
            "logIndex": index,
            "rootHash": root.hex(),
            "treeSize": len(level),
        }
        verification = {"inclusionProof": proof, "signedEntryTimestamp": base64.b64encode(promise).decode()}
        if self.spoil == "signedEntryTimestamp":
            verification["signedEntryTimestamp"] = base64.b64encode(
                promise[:-1] + bytes([promise[-1] ^ 1])
            ).decode()
        if self.spoil == "rootHash":
            proof["rootHash"] = "00" * 32
        if self.spoil == "logID":
            entry["logID"] = "00" * 32
        if self.spoil == "verification":
            return entry
        return {**entry, "verification": verification}


def merkle(level: list[bytes], index: int) -> tuple[bytes, list[bytes]]:
    """Return the RFC 6962 root over leaf hashes, and the path of one leaf, nearest node first."""
    if len(level) == 1:
        return level[0], []
    split = 1 << (len(level) - 1).bit_length() - 1
    left, right = merkle(level[:split], min(index, split - 1)), merkle(level[split:], max(index - split, 0))
    root = hashlib.sha256(b"\1" + left[0] + right[0]).digest()
    return root, [*left[1], right[0]] if index < split else [*right[1], left[0]]


@contextmanager
def rekor_v1() -> Iterator[RekorV1Server]:
    """Run a log for the length of the block."""
    server = RekorV1Server(ec.generate_private_key(ec.SECP256R1()))
    with serving(server.answer) as url:
        server.url = url
        yield server


def _canonical(proposed: Json) -> bytes:
    if proposed["apiVersion"] != "0.0.1":
        raise ValueError(proposed["apiVersion"])
    spec = _dsse(proposed["spec"]) if proposed["kind"] == "dsse" else _hashedrekord(proposed["spec"])
    entry = {"apiVersion": "0.0.1", "kind": proposed["kind"], "spec": spec}
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()


def _dsse(spec: Json) -> Json:
    content = spec["proposedContent"]
    envelope = json.loads(content["envelope"])
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    (signature,), (verifier,) = envelope["signatures"], content["verifiers"]
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    _verify(verifier, base64.b64decode(signature["sig"]), hashlib.sha256(signed).digest())
    return {
        "envelopeHash": _hash(content["envelope"].encode()),
        "payloadHash": _hash(payload),
        "signatures": [{"signature": signature["sig"], "verifier": verifier}],
    }


def _hashedrekord(spec: Json) -> Json:
    signature = spec["signature"]
    digest = bytes.fromhex(spec["data"]["hash"]["value"])
    _verify(signature["publicKey"]["content"], base64.b64decode(signature["content"]), digest)
    return {"data": spec["data"], "signature": signature}


def _verify(verifier: str, signature: bytes, digest: bytes) -> None:
    pem = base64.b64decode(verifier)
    is_certificate = b"CERTIFICATE" in pem
    key = x509.load_pem_x509_certificate(pem).public_key() if is_certificate else load_pem_public_key(pem)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("no ecdsa key")
    key.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))


def _hash(data: bytes) -> Json:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}

"""Records as the flow makes them, really signed with a key that is the same in every run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from storage.record import (
    BUNDLE_TYPE,
    COSIGN_SIGN_PREDICATE,
    IN_TOTO_PAYLOAD_TYPE,
    SIMPLE_SIGNING_TYPE,
    Origin,
    Record,
    Subject,
)

PROVENANCE = "https://slsa.dev/provenance/v1"
REPORT = "https://in-toto.io/attestation/scai/v0.3"
ENDED = "2026-01-02T03:04:05Z"


@cache
def key() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(0x5EED, ec.SECP256R1())


def public_key_pem() -> bytes:
    return (
        key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@cache
def keyid() -> str:
    line = key().public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return "SHA256:" + _b64(hashlib.sha256(base64.b64decode(line.split()[1])).digest()).rstrip("=")


def origin(number: int = 1, *, name: str = "build", namespace: str = "default") -> Origin:
    return Origin("taskrun", namespace, name, f"00000000-0000-4000-8000-{number:012d}")


def subject(text: str = "registry.example/team/app", content: bytes = b"image") -> Subject:
    return Subject(text, {"sha256": hashlib.sha256(content).hexdigest()})


def attestation(
    *subjects: Subject,
    run: Origin | None = None,
    predicate: str = PROVENANCE,
    pad: int = 0,
    body: Mapping[str, object] | None = None,
    **fields: bytes,
) -> Record:
    """Return a signed in-toto attestation; ``pad`` makes its payload that many bytes longer."""
    run = run or origin()
    body = body or {"run": run.uid, "pad": "x" * pad}
    envelope = _envelope(_statement(subjects, predicate, body))
    return Record(
        run,
        subjects,
        base64.b64decode(envelope["payload"]),
        IN_TOTO_PAYLOAD_TYPE,
        predicate,
        _bundle(envelope),
        _json(envelope),
        created=ENDED,
        **fields,
    )


def image_signature(image: Subject, *, run: Origin | None = None, **fields: bytes) -> Record:
    """Return a signed simple-signing payload, with a bundle over cosign's statement."""
    digest = f"sha256:{image.digest['sha256']}"
    payload = _json(
        {
            "critical": {
                "identity": {"docker-reference": image.name},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": {},
        }
    )
    return Record(
        run or origin(),
        (image,),
        payload,
        SIMPLE_SIGNING_TYPE,
        COSIGN_SIGN_PREDICATE,
        _bundle(_envelope(_statement((image,), COSIGN_SIGN_PREDICATE, {}))),
        signature=_sign(payload),
        created=ENDED,
        **fields,
    )


def records_of_run(image: Subject, number: int = 1) -> list[Record]:
    """Return what one run gives: provenance, execution report and image signature."""
    run = origin(number)
    return [
        attestation(image, run=run),
        attestation(image, run=run, predicate=REPORT),
        image_signature(image, run=run),
    ]


def _statement(subjects: tuple[Subject, ...], predicate: str, body: Mapping[str, object]) -> bytes:
    return _json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": one.name, "digest": dict(one.digest)} for one in subjects],
            "predicateType": predicate,
            "predicate": body,
        }
    )


def _envelope(payload: bytes) -> dict[str, object]:
    kind = IN_TOTO_PAYLOAD_TYPE.encode()
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    return {
        "payload": _b64(payload),
        "payloadType": IN_TOTO_PAYLOAD_TYPE,
        "signatures": [{"keyid": keyid(), "sig": _b64(_sign(pae))}],
    }


def _bundle(envelope: dict[str, object]) -> bytes:
    material = {"publicKey": {"hint": keyid()}, "tlogEntries": []}
    return _json({"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope})


def _sign(data: bytes) -> bytes:
    return key().sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()

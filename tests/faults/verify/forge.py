"""Evidence made to order, good and forged, and stores that hold or refuse it. Nothing here verifies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from chains.statements import simple_signing
from chains.statements.statement import SLSA_V02, SLSA_V1, STATEMENT_V01, STATEMENT_V1
from chains.tekton.image_name import ImageDigest
from chains.verify.criteria import Criteria
from chains.verify.verdict import Verification
from chains.verify.verifier import Verifier
from signers.base import Signer
from signers.formats.bundle import build_bundle
from signers.formats.dsse import Envelope, sign_payload
from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair
from signers.keys.public_key import PublicKey
from storage.base import Store
from storage.errors import StoreUnavailable
from storage.record import IN_TOTO_PAYLOAD_TYPE, Evidence, Findings, Record, Skipped, Stored

Json = Any
NOW = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
HEX = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
DIGEST = f"sha256:{HEX}"
IMAGE = "registry.example.com/team/app"
BUILDER = "https://tekton.dev/chains/v2"
BUILD_TYPE = "https://tekton.dev/chains/v2/slsa"
HERE = Path(__file__).parent


def signer(name: str = "ours", algorithm: str = "ecdsa-p256") -> Signer:
    """Return a key for this session: ``ours`` is the one that is trusted, others are strangers'."""
    return _signer(name, algorithm)


@cache
def _signer(name: str, algorithm: str) -> Signer:
    folder = Path(tempfile.mkdtemp(prefix=f"key-{name}-"))
    path = folder / "signing.key"
    write_key_pair(path, generate_key(algorithm))
    return open_keyfile(str(path))


def public(name: str = "ours", algorithm: str = "ecdsa-p256") -> PublicKey:
    return PublicKey.from_pem(signer(name, algorithm).public_pem)


def criteria(**more: Json) -> Criteria:
    return Criteria(**{"keys": [public()]} | more)


def subject(value: str = HEX, name: str = IMAGE, algorithm: str = "sha256") -> Json:
    return {"name": name, "digest": {algorithm: value}}


def provenance(*subjects: Json, builder: str = BUILDER, uid: str = "uid-1", **more: Json) -> Json:
    """A SLSA v1 statement; ``more`` replaces its members."""
    return {
        "_type": STATEMENT_V1,
        "subject": list(subjects) or [subject()],
        "predicateType": SLSA_V1,
        "predicate": {
            "buildDefinition": {"buildType": BUILD_TYPE, "externalParameters": {}, "internalParameters": {}},
            "runDetails": {"builder": {"id": builder}, "metadata": {"invocationId": uid}},
        },
    } | more


def old_provenance(*subjects: Json, builder: str = BUILDER) -> Json:
    """A SLSA v0.2 statement in an old envelope's form."""
    return {
        "_type": STATEMENT_V01,
        "subject": list(subjects) or [subject()],
        "predicateType": SLSA_V02,
        "predicate": {"builder": {"id": builder}, "buildType": "tekton.dev/v1/TaskRun"},
    }


def to_bytes(statement: Json) -> bytes:
    return statement if isinstance(statement, bytes) else json.dumps(statement).encode()


def envelope(statement: Json, by: Signer | None = None, payload_type: str = IN_TOTO_PAYLOAD_TYPE) -> Envelope:
    return sign_payload(by or signer(), to_bytes(statement), payload_type)


def bundle(statement: Json, by: Signer | None = None, payload_type: str = IN_TOTO_PAYLOAD_TYPE) -> bytes:
    by = by or signer()
    return build_bundle(envelope(statement, by, payload_type), by.keyid)


def evidence(data: bytes, form: str = "", source: str = "oci-layout", **more: Json) -> Evidence:
    """Wrap bytes as a store gives them; ``form`` is guessed."""
    form = form or ("bundle-v0.3" if b"verificationMaterial" in data else "dsse")
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return Evidence(**{
        "source": source, "location": f"{source}:{digest[7:19]}", "digest": digest, "format": form, "data": data,
    } | more)  # fmt: skip


def form_a(statement: Json, by: Signer | None = None) -> Evidence:
    return evidence(envelope(statement, by).to_bytes(), "dsse", "oci-att")


def form_b(statement: Json, by: Signer | None = None) -> Evidence:
    return evidence(bundle(statement, by), "bundle-v0.3", "oci-referrer")


def image_signature(value: str = HEX, by: Signer | None = None) -> Evidence:
    """Form A's raw signature over a simple-signing payload."""
    payload = simple_signing.build(ImageDigest(IMAGE, value))
    return evidence(payload, "simplesigning", "oci-sig", signature=(by or signer()).sign(payload))


def image_bundle(value: str = HEX, by: Signer | None = None) -> Evidence:
    """Form B's signature: a bundle over cosign's sign/v1 statement."""
    return form_b(simple_signing.build_statement(ImageDigest(IMAGE, value)).to_bytes(), by)


def altered(data: bytes, change: Any) -> bytes:
    """Return JSON ``data`` after ``change(members)``; the payload stays base64."""
    members = json.loads(data)
    change(members)
    return json.dumps(members).encode()


def with_payload(data: bytes, change: Any) -> bytes:
    """Return a bundle or envelope whose statement was changed after signing."""

    def apply(members: Json) -> None:
        inner = members.get("dsseEnvelope", members)
        statement = json.loads(base64.b64decode(inner["payload"]))
        change(statement)
        inner["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return altered(data, apply)


class Shelf(Store):
    """A store that has the same evidence for every subject and run, and remembers what it was asked."""

    def __init__(self, *held: Evidence, skipped: Sequence[Skipped] = (), url: str = "shelf:") -> None:
        self.url = url
        self.asked: list[tuple[str, str]] = []
        self._findings = Findings(held, tuple(skipped))

    async def put(self, record: Record) -> Stored:
        raise NotImplementedError

    async def find(self, digest: str, reference: str = "") -> Findings:
        self.asked.append((digest, reference))
        return self._findings


class Broken(Store):
    """A store that fails every question with ``error``."""

    def __init__(self, error: Exception | None = None, url: str = "broken:") -> None:
        self.url = url
        self._error = error or StoreUnavailable("registry.example.com answered 503")

    async def put(self, record: Record) -> Stored:
        raise self._error

    async def find(self, digest: str, reference: str = "") -> Findings:
        raise self._error


def ask(
    *held: Evidence | Store, digest: str = DIGEST, reference: str = IMAGE, by: Criteria | None = None
) -> Verification:
    """Verify ``digest`` against evidence in one shelf, or against the stores given."""
    pieces = [one for one in held if isinstance(one, Evidence)]
    stores = [one for one in held if isinstance(one, Store)]
    if pieces or not stores:
        stores = [Shelf(*pieces), *stores]
    return asyncio.run(
        Verifier(by or criteria(), stores, clock=lambda: NOW).digest(digest, reference, ref=reference)
    )


def reasons(verification: Verification) -> set[str]:
    """Every reason code in checks, attestations and skipped items."""
    found = [check.reason for check in verification.checks]
    found += [each.reason for each in verification.attestations]
    found += [each.reason for each in verification.skipped]
    return {reason.value for reason in found if reason}


def results(verification: Verification) -> dict[str, str]:
    """Check id to result; of several with one id, the worst."""
    found: dict[str, str] = {}
    order = ["pass", "skip", "error", "fail"]
    for check in verification.checks:
        known = found.get(check.id, "pass")
        found[check.id] = max(known, check.result.value, key=order.index)
    return found

"""Verifies a transparency log entry offline: it is in the log, at which time, and for which signature.

Sources: Sigstore client specification sections 4.2.2 (the log's time), 4.4 (the entry's body has this
signature, this key or certificate, this artifact) and 4.6; sigstore/rekor types ``hashedrekord`` 0.0.1,
``dsse`` 0.0.1 and ``intoto`` 0.0.2; sigstore/rekor-tiles CLIENTS.md for ``hashedrekord`` 0.0.2.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from signers.errors import FormatError, VerificationError
from signers.shapes import ENTRY_BODIES
from signers.sigstore.signed import Signed
from signers.sigstore.transparency import decoded, number, same_bytes, verify_inclusion
from signers.sigstore.trusted_root import Period, TrustedRoot, find_log
from signers.strict_json import check_shape, decode_base64, parse_object

MAX_BODY_BYTES = 1024 * 1024
"""The largest body of an entry that is read."""
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_V2_HASHES = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}
_WITHOUT_TIME = ("hashedrekord", "0.0.2")


@dataclass(frozen=True, slots=True)
class Logged:
    """A verified entry: a log of the trusted root contains it, or promised to."""

    index: int
    """The index by which people and tools look the entry up. In Rekor v1 it counts over all trees of the log,
    and only the promise signs it."""
    url: str
    valid: Period
    """The period in which the log's key is trusted."""
    time: datetime | None
    """The signed time of inclusion; None for Rekor v2, which signs none."""


def verify_log_entry(
    content: Mapping[str, Any], signed: Signed, root: TrustedRoot, *, needs_proof: bool = True
) -> Logged:
    """Verify a ``TransparencyLogEntry`` for ``signed`` and return it.

    1. The body is well-formed, and of the kind that the entry states.
    2. The inclusion proof and its checkpoint verify, if there is a proof.
    3. The signed entry timestamp (the promise) verifies, if there is one.
    4. The body has this signature, this key or certificate and this data.

    With ``needs_proof`` an inclusion proof is required. Without it a promise is enough: bundles before v0.2
    and cosign's annotations have nothing else. Raises :class:`VerificationError` if any check fails.
    """
    body = parse_body(decoded(content, "canonicalizedBody"))
    log = find_log(root.logs, _log_id(content))
    kind = (body.get("kind"), body.get("apiVersion"))
    _check_kind(content, kind)
    # A member that is null or {} counts as absent, as in protobuf's JSON form.
    has_promise, has_proof = bool(content.get("inclusionPromise")), bool(content.get("inclusionProof"))
    if not has_proof and (needs_proof or not has_promise or kind == _WITHOUT_TIME):
        raise VerificationError("the log entry has no inclusion proof", "signature_invalid")
    index, time = number(content, "logIndex"), None
    if has_proof:
        verify_inclusion(content, root)
        place = number(content["inclusionProof"], "logIndex")
        if kind == _WITHOUT_TIME and index != place:
            raise VerificationError(
                "the log entry and its inclusion proof have different indexes", "signature_invalid"
            )
        # Only the promise signs the index over all trees; without one, use the index in the tree, which the
        # proof covers.
        index = index if has_promise else place
    if has_promise:
        verify_promise(content, root)
        integrated = number(content, "integratedTime")
        # Only the promise signs the time; without a verified promise it proves nothing. 0 means absent.
        if integrated and kind != _WITHOUT_TIME:
            time = _moment(integrated)
    check_body(body, signed)
    return Logged(index, log.url, log.valid, time)


def verify_promise(content: Mapping[str, Any], root: TrustedRoot) -> None:
    """Return if a log of ``root`` signed the entry timestamp. Raises :class:`VerificationError`."""
    promise = content.get("inclusionPromise")
    if not isinstance(promise, dict):
        raise VerificationError("the log entry has no signed entry timestamp", "signature_invalid")
    signature = decoded(promise, "signedEntryTimestamp")
    find_log(root.logs, _log_id(content)).verify(signature, promised(content))


def promised(content: Mapping[str, Any]) -> bytes:
    """Return the bytes that a signed entry timestamp signs: canonical JSON of four members of the entry."""
    entry = {
        "body": content["canonicalizedBody"],
        "integratedTime": number(content, "integratedTime"),
        "logID": _log_id(content).hex(),
        "logIndex": number(content, "logIndex"),
    }
    return orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the body of an entry as strict JSON. Raises :class:`VerificationError`."""
    what = "the log entry's body"
    try:
        parsed = parse_object(body, what, MAX_BODY_BYTES)
        kind = (str(parsed.get("kind")), str(parsed.get("apiVersion")))
        check_shape(parsed, ENTRY_BODIES.get(kind, {"kind": None, "apiVersion": None}), what)
    except FormatError as error:
        raise VerificationError(str(error), "signature_invalid") from error
    return parsed


def check_body(body: Mapping[str, Any], signed: Signed) -> None:
    """Return if the body has exactly this signature, this key or certificate, and this data.

    Source: Sigstore client specification section 4.4. Raises :class:`VerificationError`, also for an unknown
    kind of entry.
    """
    kind = (body.get("kind"), body.get("apiVersion"))
    # The body is foreign: kind and version may be of any type, also one without a hash.
    compare = _KINDS.get(kind) if all(isinstance(part, str) for part in kind) else None
    if compare is None:
        name = " ".join(str(part)[:32] for part in kind)
        raise VerificationError(f"the log entry is of an unknown kind: {name}", "signature_invalid")
    try:
        fits = compare(body["spec"], signed)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, FormatError) as error:
        raise VerificationError(
            f"the log entry is not a valid {kind[0]} {kind[1]}", "signature_invalid"
        ) from error
    if not fits:
        raise VerificationError("the log entry is about another signature", "signature_invalid")


def _hashedrekord_v1(spec: dict[str, Any], signed: Signed) -> bool:
    signature = spec["signature"]
    return (
        _is_hash(spec["data"]["hash"], signed.data)
        and same_bytes(signature["content"], signed.signature)
        and _is_verifier(signature["publicKey"]["content"], signed)
    )


def _hashedrekord_v2(spec: dict[str, Any], signed: Signed) -> bool:
    data, signature = spec["hashedRekordV002"]["data"], spec["hashedRekordV002"]["signature"]
    # A verifier is a oneof; two of them raise ValueError, which check_body() maps.
    (kind,) = (name for name in signature["verifier"] if name != "keyDetails")
    expected = {
        "x509Certificate": signed.certificate,
        "publicKey": b"" if signed.certificate else _spki(signed),
    }
    digest = _HASHES[_V2_HASHES[data["algorithm"]]](signed.data).digest()
    return (
        same_bytes(data["digest"], digest)
        and same_bytes(signature["content"], signed.signature)
        and bool(expected[kind])
        and same_bytes(signature["verifier"][kind]["rawBytes"], expected[kind])
    )


def _dsse(spec: dict[str, Any], signed: Signed) -> bool:
    if signed.envelope is None or not _is_hash(spec["payloadHash"], signed.envelope.payload):
        return False
    return any(
        same_bytes(entry["signature"], signed.signature) and _is_verifier(entry["verifier"], signed)
        for entry in spec["signatures"]
    )


def _intoto(spec: dict[str, Any], signed: Signed) -> bool:
    content = spec["content"]
    if signed.envelope is None or not _is_hash(content["payloadHash"], signed.envelope.payload):
        return False
    # The schema of this type declares "sig" as bytes, so the envelope's base64 is encoded a second time.
    twice = b64encode(signed.signature)
    return content["envelope"]["payloadType"] == signed.envelope.payload_type and any(
        same_bytes(entry["sig"], twice) and _is_verifier(entry["publicKey"], signed)
        for entry in content["envelope"]["signatures"]
    )


_Compare = Callable[[dict[str, Any], Signed], bool]
_KINDS: dict[tuple[object, object], _Compare] = {
    ("hashedrekord", "0.0.1"): _hashedrekord_v1,
    _WITHOUT_TIME: _hashedrekord_v2,
    ("dsse", "0.0.1"): _dsse,
    ("intoto", "0.0.2"): _intoto,
}


def _is_hash(value: dict[str, Any], data: bytes) -> bool:
    return bool(_HASHES[value["algorithm"]](data).hexdigest() == value["value"])


def _is_verifier(encoded: str, signed: Signed) -> bool:
    """Whether a base64 encoded PEM is the signer's certificate, or the key if there is no certificate."""
    pem = decode_base64(encoded, "verifier")
    try:
        if signed.certificate:
            return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER) == signed.certificate
        key = load_pem_public_key(pem)
    except UnsupportedAlgorithm:
        return False
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == _spki(signed)


def _spki(signed: Signed) -> bytes:
    """Return the signer's public key as DER SubjectPublicKeyInfo."""
    return load_pem_public_key(signed.key.pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_kind(content: Mapping[str, Any], kind: tuple[object, object]) -> None:
    """Return if ``kindVersion``, where present, agrees with the body. Raises :class:`VerificationError`."""
    stated = content.get("kindVersion")
    if stated is not None and (
        not isinstance(stated, dict) or (stated.get("kind"), stated.get("version")) != kind
    ):
        raise VerificationError("the log entry's body is not of the kind that it states", "signature_invalid")


def _log_id(content: Mapping[str, Any]) -> bytes:
    log_id = content.get("logId")
    if not isinstance(log_id, dict):
        raise VerificationError("the log entry names no log", "signature_invalid")
    return decoded(log_id, "keyId")


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise VerificationError("the log entry's time is not valid", "signature_invalid") from error

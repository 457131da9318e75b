"""What stands beside a signature, as a verifier finds it: read from a bundle or from a layer, and verified.

Sources: the Sigstore client specification, section 4; sigstore/protobuf-specs ``sigstore_bundle.proto``; the
annotations of cosign's ``SIGNATURE_SPEC.md``, and our own that holds what a bundle would. Nothing is asked of
anybody: the trusted root decides.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signers.errors import FormatError, VerificationError
from signers.formats.bundle import Bundle
from signers.formats.layer_annotations import (
    BUNDLE_ANNOTATION,
    CERTIFICATE_ANNOTATION,
    MATERIAL_ANNOTATION,
    TIMESTAMP_ANNOTATION,
)
from signers.shapes import COSIGN_BUNDLE, COSIGN_TIMESTAMP, MATERIAL
from signers.sigstore.certificate import UNREADABLE
from signers.sigstore.log_entry import Logged, verify_log_entry
from signers.sigstore.timestamp_verify import check_timestamp
from signers.sigstore.transparency import Signed
from signers.sigstore.trusted_root import TrustedRoot
from signers.strict_json import Shape, check_shape, decode_base64, member, objects, parse_object

MOST = 16
"""Log entries, and timestamps, that one signature may carry; each costs public key operations."""
_MAX_ANNOTATION = 4 * 1024 * 1024
_V1_PROMISE_ONLY = "0.1"


@dataclass(frozen=True, slots=True)
class VerificationMaterial:
    """Certificate, log entries and timestamps of one signature; not verified."""

    certificate: bytes = b""
    """DER of the leaf; any others are not read: authorities come from the trusted root."""
    entries: tuple[Mapping[str, Any], ...] = ()
    """``TransparencyLogEntry`` objects as JSON."""
    timestamps: tuple[bytes, ...] = ()
    """RFC 3161 responses over the signature, DER."""
    outer_timestamps: tuple[bytes, ...] = ()
    """The same over the whole envelope, where it is stored alone."""
    needs_proof: bool = True
    """Whether every entry must have a proof of inclusion; a promise is enough for cosign's older forms."""

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> VerificationMaterial:
        """Return what a bundle carries. Raises :class:`FormatError`.

        ``sigstore_bundle.proto``: from v0.2 on every entry has a proof of inclusion.
        """
        return cls(
            bundle.certificates[0] if bundle.certificates else b"",
            bundle.log_entries,
            _stamps(bundle.timestamps),
            needs_proof=_V1_PROMISE_ONLY not in bundle.media_type,
        )

    @classmethod
    def from_annotations(cls, annotations: Mapping[str, str], *, is_envelope: bool) -> VerificationMaterial:
        """Return what a layer of form A carries; ``is_envelope`` when the layer is a DSSE envelope.

        Cosign's timestamp is then over the whole envelope. Raises :class:`FormatError`.
        """
        ours = _object(annotations, MATERIAL_ANNOTATION, MATERIAL)
        entries = (
            list(objects(member(ours, "tlogEntries", list, MATERIAL_ANNOTATION), "log entry")) if ours else []
        )
        data = ours.get("timestampVerificationData") or {}
        if not isinstance(data, dict):
            raise FormatError(f"{MATERIAL_ANNOTATION}: timestampVerificationData must be an object")
        listed = data.get("rfc3161Timestamps") or []
        if not isinstance(listed, list):
            raise FormatError(f"{MATERIAL_ANNOTATION}: rfc3161Timestamps must be an array")
        stamps = _stamps(objects(listed, "timestamp"))
        stamp = _object(annotations, TIMESTAMP_ANNOTATION, COSIGN_TIMESTAMP)
        told: tuple[bytes, ...] = ()
        if stamp:
            text = member(stamp, "SignedRFC3161Timestamp", str, TIMESTAMP_ANNOTATION)
            told = (decode_base64(text, TIMESTAMP_ANNOTATION),)
        promise = _object(annotations, BUNDLE_ANNOTATION, COSIGN_BUNDLE)
        if promise:
            entries.append(_entry_of_promise(promise))
        return cls(
            _leaf(annotations.get(CERTIFICATE_ANNOTATION, "")),
            tuple(entries),
            stamps if is_envelope else tuple(dict.fromkeys((*stamps, *told))),
            told if is_envelope else (),
            needs_proof=False,
        )


@dataclass(frozen=True, slots=True)
class VerifiedTime:
    """A moment at which the signature was there, on the word of an authority or a log of the trusted root."""

    moment: datetime
    source: str
    """``TimestampAuthority`` or ``Tlog``, as sigstore-go calls them."""
    uri: str
    """Of who says so, as the trusted root has it."""


def verify_timestamps(
    material: VerificationMaterial, signature: bytes, envelope: bytes, root: TrustedRoot
) -> list[VerifiedTime]:
    """Return the times of all timestamps (client specification 4.2.1).

    Raises :class:`VerificationError` when any of them does not hold: a wrong one is not outvoted.
    """
    found = [(one, signature) for one in material.timestamps]
    found += [(one, envelope) for one in material.outer_timestamps]
    _expect_few(found, "timestamps")
    stamps = [check_timestamp(der, data, root) for der, data in found]
    return list(dict.fromkeys(VerifiedTime(one.time, "TimestampAuthority", one.authority) for one in stamps))


def verify_entries(material: VerificationMaterial, signed: Signed, root: TrustedRoot) -> list[Logged]:
    """Return all log entries (client specification 4.2.2 and 4.4).

    Raises :class:`VerificationError` when any of them does not hold.
    """
    _expect_few(material.entries, "log entries")
    found = [
        verify_log_entry(one, signed, root, needs_proof=material.needs_proof) for one in material.entries
    ]
    return list(dict.fromkeys(found))


def expect_in_force(entries: Sequence[Logged], moments: Sequence[datetime]) -> None:
    """Return if the entries' logs were trusted at every moment. Raises :class:`VerificationError`."""
    for entry in entries:
        for moment in moments:
            if moment not in entry.valid:
                raise VerificationError(
                    f"the log {entry.url} is not trusted for entries of {moment.isoformat()}",
                    "signature_invalid",
                )


def _expect_few(found: Sequence[object], what: str) -> None:
    if len(found) > MOST:
        raise VerificationError(f"it has {len(found)} {what}, at most {MOST} are read", "signature_invalid")


def _entry_of_promise(promise: Mapping[str, object]) -> dict[str, Any]:
    """Return the bundle's form of what cosign keeps of an entry of Rekor v1: its body and its promise."""
    payload = member(promise, "Payload", dict, BUNDLE_ANNOTATION)
    try:
        log_id = bytes.fromhex(member(payload, "logID", str, BUNDLE_ANNOTATION))
    except ValueError as error:
        raise FormatError(f"{BUNDLE_ANNOTATION}: logID is no hex") from error
    return {
        "logIndex": str(member(payload, "logIndex", int, BUNDLE_ANNOTATION)),
        "logId": {"keyId": b64encode(log_id).decode()},
        "integratedTime": str(member(payload, "integratedTime", int, BUNDLE_ANNOTATION)),
        "inclusionPromise": {
            "signedEntryTimestamp": member(promise, "SignedEntryTimestamp", str, BUNDLE_ANNOTATION)
        },
        "canonicalizedBody": member(payload, "body", str, BUNDLE_ANNOTATION),
    }


def _object(annotations: Mapping[str, str], name: str, shape: Shape) -> dict[str, object]:
    text = annotations.get(name, "")
    if not text:
        return {}
    found = parse_object(text.encode("utf-8", "replace"), f"annotation {name}", _MAX_ANNOTATION)
    check_shape(found, shape, f"annotation {name}")
    return found


def _leaf(pem: str) -> bytes:
    if not pem:
        return b""
    try:
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    except UNREADABLE as error:
        raise FormatError(f"annotation {CERTIFICATE_ANNOTATION} is no certificate in PEM") from error


def _stamps(timestamps: Sequence[Mapping[str, object]]) -> tuple[bytes, ...]:
    what = "timestamp"
    return tuple(decode_base64(member(one, "signedTimestamp", str, what), what) for one in timestamps)

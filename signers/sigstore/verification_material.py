"""Reads the verification material of a signature from a bundle or image layer, and verifies it offline.

Sources: the Sigstore client specification, section 4; sigstore/protobuf-specs ``sigstore_bundle.proto``; the
annotations of cosign's ``SIGNATURE_SPEC.md``, and our own annotation, which has the same members as a bundle.
No service is called; the trusted root alone decides.
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
from signers.sigstore.signed import Signed
from signers.sigstore.timestamp_verify import check_timestamp
from signers.sigstore.trusted_root import TrustedRoot
from signers.strict_json import Shape, check_shape, decode_base64, member, objects, parse_object

MOST = 16
"""The most log entries, and the most timestamps, of one signature. Each costs public key operations."""
_MAX_ANNOTATION = 4 * 1024 * 1024
"""The largest annotation that is read, in bytes."""
_V1_PROMISE_ONLY = "0.1"


@dataclass(frozen=True, slots=True)
class VerificationMaterial:
    """Certificate, log entries and timestamps of one signature; not verified."""

    certificate: bytes = b""
    """The leaf in DER. Other certificates are ignored: authorities come from the trusted root."""
    entries: tuple[Mapping[str, Any], ...] = ()
    """``TransparencyLogEntry`` objects as JSON."""
    timestamps: tuple[bytes, ...] = ()
    """RFC 3161 responses over the signature, DER."""
    outer_timestamps: tuple[bytes, ...] = ()
    """RFC 3161 responses over the whole envelope, DER, for an envelope that is stored outside a bundle."""
    needs_proof: bool = True
    """Whether every entry must have an inclusion proof. For cosign's older forms a promise is enough."""

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> VerificationMaterial:
        """Return the material of a bundle. Raises :class:`FormatError`.

        From bundle v0.2 on, every entry must have an inclusion proof (``sigstore_bundle.proto``).
        """
        return cls(
            bundle.certificates[0] if bundle.certificates else b"",
            bundle.log_entries,
            _stamps(bundle.timestamps),
            needs_proof=_V1_PROMISE_ONLY not in bundle.media_type,
        )

    @classmethod
    def from_annotations(cls, annotations: Mapping[str, str], *, is_envelope: bool) -> VerificationMaterial:
        """Return the material in the annotations of an image layer. Raises :class:`FormatError`.

        ``is_envelope`` tells whether the layer is a DSSE envelope. Cosign's timestamp is then over the whole
        envelope, otherwise over the signature.
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
        cosign_stamps: tuple[bytes, ...] = ()
        if stamp:
            text = member(stamp, "SignedRFC3161Timestamp", str, TIMESTAMP_ANNOTATION)
            cosign_stamps = (decode_base64(text, TIMESTAMP_ANNOTATION),)
        # Our annotation may have the same entry as cosign's. Both are verified.
        promise = _object(annotations, BUNDLE_ANNOTATION, COSIGN_BUNDLE)
        if promise:
            entries.append(_entry_of_promise(promise))
        return cls(
            _leaf(annotations.get(CERTIFICATE_ANNOTATION, "")),
            tuple(entries),
            # For an envelope cosign's timestamp is over the envelope, else over the signature as ours is.
            stamps if is_envelope else tuple(dict.fromkeys((*stamps, *cosign_stamps))),
            cosign_stamps if is_envelope else (),
            needs_proof=False,
        )


@dataclass(frozen=True, slots=True)
class VerifiedTime:
    """A time at which the signature existed, according to an authority or log of the trusted root."""

    moment: datetime
    source: str
    """``TimestampAuthority`` or ``Tlog``, the words of sigstore-go."""
    uri: str
    """The URL of the authority or log in the trusted root."""


def verify_timestamps(
    material: VerificationMaterial, signature: bytes, envelope: bytes, root: TrustedRoot
) -> list[VerifiedTime]:
    """Verify all timestamps and return their times (client specification 4.2.1).

    ``envelope`` is the stored envelope, over which outer timestamps are. Raises :class:`VerificationError` if
    any timestamp is not valid, even if others are.
    """
    stamped = [(response, signature) for response in material.timestamps]
    stamped += [(response, envelope) for response in material.outer_timestamps]
    _expect_few(stamped, "timestamps")
    stamps = [check_timestamp(der, data, root) for der, data in stamped]
    return list(
        dict.fromkeys(
            VerifiedTime(response.time, "TimestampAuthority", response.authority) for response in stamps
        )
    )


def verify_entries(material: VerificationMaterial, signed: Signed, root: TrustedRoot) -> list[Logged]:
    """Verify all log entries and return them (client specification 4.2.2 and 4.4).

    Raises :class:`VerificationError` if any of them is not valid.
    """
    _expect_few(material.entries, "log entries")
    verified = [
        verify_log_entry(entry, signed, root, needs_proof=material.needs_proof) for entry in material.entries
    ]
    return list(dict.fromkeys(verified))


def expect_in_force(entries: Sequence[Logged], moments: Sequence[datetime]) -> None:
    """Return if the logs of the entries were trusted at each moment. Raises :class:`VerificationError`."""
    for entry in entries:
        for moment in moments:
            if moment not in entry.valid:
                raise VerificationError(
                    f"the log {entry.url} is not trusted for entries of {moment.isoformat()}",
                    "signature_invalid",
                )


def _expect_few(items: Sequence[object], what: str) -> None:
    if len(items) > MOST:
        raise VerificationError(
            f"the signature has {len(items)} {what}, at most {MOST} are read", "signature_invalid"
        )


def _entry_of_promise(promise: Mapping[str, object]) -> dict[str, Any]:
    """Return the ``TransparencyLogEntry`` of cosign's annotation: body and promise of a Rekor v1 entry."""
    payload = member(promise, "Payload", dict, BUNDLE_ANNOTATION)
    try:
        log_id = bytes.fromhex(member(payload, "logID", str, BUNDLE_ANNOTATION))
    except ValueError as error:
        raise FormatError(f"{BUNDLE_ANNOTATION}: logID is not hexadecimal") from error
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
    """Return the JSON object of an annotation, empty if it is absent. Raises :class:`FormatError`."""
    text = annotations.get(name, "")
    if not text:
        return {}
    members = parse_object(text.encode("utf-8", "replace"), f"annotation {name}", _MAX_ANNOTATION)
    check_shape(members, shape, f"annotation {name}")
    return members


def _leaf(pem: str) -> bytes:
    """Return the DER of a PEM certificate, empty for no text. Raises :class:`FormatError`."""
    if not pem:
        return b""
    try:
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    except UNREADABLE as error:
        raise FormatError(f"annotation {CERTIFICATE_ANNOTATION} is not a PEM certificate") from error


def _stamps(timestamps: Sequence[Mapping[str, object]]) -> tuple[bytes, ...]:
    what = "timestamp"
    return tuple(
        decode_base64(member(timestamp, "signedTimestamp", str, what), what) for timestamp in timestamps
    )

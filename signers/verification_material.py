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

from signers.base import FormatError, VerificationError
from signers.bundle import Bundle
from signers.rekor import expect_about as expect_about_v2
from signers.rekor_v1 import expect_about as expect_about_v1
from signers.rekor_v1 import verify_promise
from signers.strict_json import decode_base64, member, objects, parse_object
from signers.timestamp import check_timestamp
from signers.transparency import Signed, index_of, parse_body, verify_inclusion
from signers.trusted_root import TrustedRoot, find_log

MOST = 16
"""Log entries, and timestamps, that one signature may carry; each costs public key operations."""
CERTIFICATE_ANNOTATION = "dev.sigstore.cosign/certificate"
BUNDLE_ANNOTATION = "dev.sigstore.cosign/bundle"
TIMESTAMP_ANNOTATION = "dev.sigstore.cosign/rfc3161timestamp"
MATERIAL_ANNOTATION = "provenance.chains/verification-material"
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

    def __bool__(self) -> bool:
        return bool(self.certificate or self.entries or self.timestamps or self.outer_timestamps)

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
        ours = _object(annotations, MATERIAL_ANNOTATION)
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
        stamp = _object(annotations, TIMESTAMP_ANNOTATION)
        told: tuple[bytes, ...] = ()
        if stamp:
            text = member(stamp, "SignedRFC3161Timestamp", str, TIMESTAMP_ANNOTATION)
            told = (decode_base64(text, TIMESTAMP_ANNOTATION),)
        promise = _object(annotations, BUNDLE_ANNOTATION)
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
class VerifiedEntry:
    """A log has this signature: as proved by its checkpoint, promised by it, or both."""

    index: int
    url: str
    time: datetime | None
    """When the log integrated it, where it signed a promise that says so."""


@dataclass(frozen=True, slots=True)
class VerifiedTime:
    """A moment at which the signature was there, on the word of an authority or a log of the trusted root."""

    moment: datetime
    source: str
    """``TimestampAuthority`` or ``Tlog``, as sigstore-go calls them."""


def verify_timestamps(
    material: VerificationMaterial, signature: bytes, envelope: bytes, root: TrustedRoot
) -> list[VerifiedTime]:
    """Return the times of all timestamps (client specification 4.2.1).

    Raises :class:`VerificationError` when any of them does not hold: a wrong one is not outvoted.
    """
    found = [(one, signature) for one in material.timestamps]
    found += [(one, envelope) for one in material.outer_timestamps]
    if len(found) > MOST:
        raise VerificationError(
            f"it has {len(found)} timestamps, at most {MOST} are read", "signature_invalid"
        )
    times = [check_timestamp(der, data, root).time for der, data in found]
    return [VerifiedTime(moment, "TimestampAuthority") for moment in dict.fromkeys(times)]


def verify_entries(material: VerificationMaterial, signed: Signed, root: TrustedRoot) -> list[VerifiedEntry]:
    """Return all log entries (client specification 4.2.2 and 4.4).

    Raises :class:`VerificationError` when any of them does not hold.
    """
    if len(material.entries) > MOST:
        raise VerificationError(
            f"it has {len(material.entries)} log entries, at most {MOST} are read", "signature_invalid"
        )
    found = [verify_entry(one, signed, root, needs_proof=material.needs_proof) for one in material.entries]
    return list(dict.fromkeys(found))


def verify_entry(
    entry: Mapping[str, Any], signed: Signed, root: TrustedRoot, *, needs_proof: bool = True
) -> VerifiedEntry:
    """Return what a log says, if it says it of just this signature, data and key or certificate.

    A Rekor v2 entry has a proof of inclusion under a checkpoint that the log signed; one of Rekor v1 has a
    signed entry timestamp, such a proof, or both, and what it has must hold. The entry's kind is the one that
    the bundle names (client specification 4.4). Raises :class:`VerificationError`.
    """
    try:
        body = parse_body(decode_base64(entry["canonicalizedBody"], "body"))
        log = find_log(root.logs, decode_base64(entry["logId"]["keyId"], "log id"))
        kind = (body["kind"], body["apiVersion"])
        named = entry.get("kindVersion")
        if named is not None and (named["kind"], named["version"]) != kind:
            raise VerificationError(
                f"the log entry is a {kind[0]} {kind[1]}, and the bundle says another kind",
                "signature_invalid",
            )
        has_promise, has_proof = bool(entry.get("inclusionPromise")), bool(entry.get("inclusionProof"))
    except (KeyError, TypeError, ValueError, AttributeError, FormatError) as error:
        raise VerificationError("the log entry cannot be read", "signature_invalid") from error
    is_v2 = kind == ("hashedrekord", "0.0.2")
    (expect_about_v2 if is_v2 else expect_about_v1)(body, signed)
    if not has_proof and (needs_proof or is_v2 or not has_promise):
        raise VerificationError("the log entry lacks a proof of inclusion", "signature_invalid")
    if has_proof:
        verify_inclusion(entry, root)
        _expect_index(entry, is_v2=is_v2)
    # a log of version 2 has no clock of its own, whatever an entry says
    moment = verify_promise(entry, root) if has_promise and not is_v2 else None
    # nothing but a promise says what an entry's place over all trees is
    return VerifiedEntry(index_of(entry if moment or is_v2 else entry["inclusionProof"]), log.url, moment)


def expect_in_force(
    entries: Sequence[Mapping[str, Any]], root: TrustedRoot, moments: Sequence[datetime]
) -> None:
    """Return if the entries' logs were trusted at every moment. Raises :class:`VerificationError`."""
    for entry in entries:
        log = find_log(root.logs, decode_base64(entry["logId"]["keyId"], "log id"))
        for moment in moments:
            if moment not in log.valid:
                raise VerificationError(
                    f"the log {log.url} is not trusted for entries of {moment.isoformat()}",
                    "signature_invalid",
                )


def _expect_index(entry: Mapping[str, Any], *, is_v2: bool) -> None:
    """Rekor v1 counts over several trees, so that its own index is another one than its proof's."""
    if is_v2 and index_of(entry) != index_of(entry["inclusionProof"]):
        raise VerificationError("the log entry's index is not its proof's", "signature_invalid")


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


def _object(annotations: Mapping[str, str], name: str) -> dict[str, object]:
    text = annotations.get(name, "")
    return (
        parse_object(text.encode("utf-8", "replace"), f"annotation {name}", _MAX_ANNOTATION) if text else {}
    )


def _leaf(pem: str) -> bytes:
    if not pem:
        return b""
    try:
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    except ValueError as error:
        raise FormatError(f"annotation {CERTIFICATE_ANNOTATION} is no certificate in PEM") from error


def _stamps(timestamps: Sequence[Mapping[str, object]]) -> tuple[bytes, ...]:
    what = "timestamp"
    return tuple(decode_base64(member(one, "signedTimestamp", str, what), what) for one in timestamps)

"""Seals with verification material: certificate, timestamp and log entry, each if it is configured.

The order is certificate, signature, timestamp, log. Log entries cannot be removed, so the log comes last: a
timestamp authority that is down fails the seal before an entry exists. Nothing is stored before the log has
answered. Every answer is verified before it is used.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signers.base import Signer
from signers.errors import FormatError, SignerRejected, SignerUnavailable, VerificationError
from signers.formats.bundle import build_bundle
from signers.formats.dsse import MAX_PAYLOAD_BYTES, Envelope, pae
from signers.formats.layer_annotations import (
    BUNDLE_ANNOTATION,
    CERTIFICATE_ANNOTATION,
    MATERIAL_ANNOTATION,
    TIMESTAMP_ANNOTATION,
)
from signers.keys.public_key import PublicKey
from signers.sealer import Material, Sealed, Sealer, envelope_of
from signers.sigstore.certificate import Certificate, check_certificate
from signers.sigstore.keyless import CertifiedSigner, Keyless
from signers.sigstore.signed import Signed
from signers.sigstore.timestamp import TimestampAuthority
from signers.sigstore.timestamp_verify import check_timestamp
from signers.sigstore.transparency import EntryExistsError, LogEntry, TransparencyLog
from signers.sigstore.trusted_root import TrustedRoot
from signers.strict_json import expect_few

_TRIES = 3
"""How often a signature is made if the log has it already."""


class MaterialSealer(Sealer):
    """Seals with a key, or keyless, and adds the configured material. ``root`` verifies all answers."""

    def __init__(
        self,
        source: Signer | Keyless,
        *,
        log: TransparencyLog | None = None,
        authority: TimestampAuthority | None = None,
        root: TrustedRoot | None = None,
    ) -> None:
        self._keyless = source if isinstance(source, Keyless) else None
        if isinstance(source, Signer):
            # Such a log returns no proof for a signature that it has already. If its first answer was lost,
            # a deterministic signer could never get the proof, so each attempt needs a new signature.
            refused = log is not None and log.refuses_equal
            super().__init__(source.randomized() if refused else source)
            if log is not None:
                log.check_key(PublicKey.from_pem(source.public_pem))
        else:
            super().__init__(_Unready())
        self._log, self._authority, self._root = log, authority, root

    def is_local(self, *, log: bool) -> bool:
        """Whether sealing calls no service."""
        asks = self._keyless is not None or self._authority is not None or (log and self._log is not None)
        return not asks and not self.signer.remote

    def repeats(self, *, log: bool) -> bool:
        """Whether equal payloads always give equal bytes."""
        return self.is_local(log=log) and self.signer.deterministic

    @property
    def identity(self) -> str:
        """The signer's name for people.

        A keyless sealer may have to request a certificate first and raises what :meth:`Keyless.current`
        raises.
        """
        if self._keyless is None:
            return super().identity
        certificate = self._keyless.current().certificate
        return f"{certificate.identity} (issuer {certificate.issuer})"

    def seal_now(self, payload: bytes, payload_type: str, *, log: bool = False) -> Sealed:
        """Return the envelope and bundle with all material. Raises as :meth:`Sealer.seal_now` does."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise FormatError(f"payload has {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} are signed")
        return self._seal(pae(payload_type, payload), (payload, payload_type), log=log)

    def sign_now(self, data: bytes, *, log: bool = False) -> Sealed:
        """Return a signature over bare ``data`` with all material. Raises as :meth:`Sealer.seal_now` does."""
        return self._seal(data, None, log=log)

    def _seal(self, data: bytes, wrapped: tuple[bytes, str] | None, *, log: bool) -> Sealed:
        """Sign ``data`` and collect the material.

        ``wrapped`` is payload and payload type, None for bare data.
        """
        for _ in range(_TRIES):
            signer = self._keyless.current() if self._keyless is not None else self.signer
            certificate = signer.certificate if isinstance(signer, CertifiedSigner) else None
            signature = signer.sign(data)
            envelope = envelope_of(*wrapped, signer.keyid, signature) if wrapped else None
            # cosign wants one timestamp over the signature (in bundles) and one over the envelope (in .att
            # layers).
            stamp = self._authority.stamp(signature) if self._authority is not None else None
            outer = self._authority.stamp(envelope.to_bytes()) if self._authority and envelope else None
            if stamp is not None and certificate is not None:
                _expect_inside(certificate, stamp.time)
            material = Material(
                certificate.der if certificate else b"",
                stamp.der if stamp else b"",
                outer.der if outer else b"",
            )
            entry = None
            if log and self._log is not None:
                key = PublicKey.from_pem(signer.public_pem)
                try:
                    entry = self._log.add(Signed(data, signature, key, material.certificate, envelope))
                # Sign again: a randomized or new key gives another signature, which the log does not have.
                except EntryExistsError:
                    continue
                # Verifiers compare the log's time with the certificate, so an entry outside its validity is
                # useless.
                integrated = int(entry.content.get("integratedTime") or 0)
                if certificate is not None and integrated:
                    _expect_inside(certificate, datetime.fromtimestamp(integrated, UTC), "log's time")
            return _sealed(signature, envelope, certificate, material, entry)
        raise SignerRejected(
            "the transparency log has this signature already and returns no proof of it, and the key always "
            "makes the same signature: use an ecdsa key with rekor v2"
        )

    def accept(
        self, data: bytes, signature: bytes, material: Material, envelope: Envelope | None, *, log: bool
    ) -> Sealed:
        """Return the seal that the parts form if this sealer could have made them.

        Raises :class:`VerificationError`, :class:`FormatError` and, when a keyless sealer cannot get its
        current certificate to compare identities, :class:`SignerUnavailable` or :class:`SignerRejected`.
        """
        moment = None
        if self._authority is not None:
            moment = check_timestamp(material.timestamp, signature, self._root).time
        # The certificate must have been valid at the stamped time; without a stamp its beginning is used.
        certificate, key = self._owner(material.certificate, moment)
        key.verify(signature, data)
        entry = None
        if log and self._log is not None:
            signed = Signed(data, signature, key, material.certificate, envelope)
            entry = self._log.check(material.entry, signed)
        return _sealed(signature, envelope, certificate, material, entry)

    def _owner(self, der: bytes, moment: datetime | None) -> tuple[Certificate | None, PublicKey]:
        """Return certificate and key of stored material if they are of this sealer's key or identity."""
        if self._keyless is None:
            if der:
                raise VerificationError(
                    "the signature has a certificate, expected a plain key", "key_unknown"
                )
            return None, PublicKey.from_pem(self.signer.public_pem)
        if not der or self._root is None:
            raise VerificationError("the signature has no certificate, expected one", "key_unknown")
        try:
            leaf = x509.load_der_x509_certificate(der)
        except ValueError as error:
            raise FormatError("its certificate cannot be read") from error
        certificate = check_certificate(leaf, self._root, moment or leaf.not_valid_before_utc)
        ours = self._keyless.current().certificate
        # Keys and certificates change every few minutes; the identity is what makes a stored seal ours.
        if (certificate.identity, certificate.issuer) != (ours.identity, ours.issuer):
            raise VerificationError(f"it is signed by {certificate.identity}", "key_unknown")
        return certificate, PublicKey.from_key(leaf.public_key(), "the certificate")


class _Unready(Signer):
    """The signer of a keyless sealer, which has no fixed key: a new one is made every few minutes."""

    keyid = ""
    public_pem = b""
    remote = True
    deterministic = False

    def sign(self, data: bytes) -> bytes:
        """Raise :class:`SignerUnavailable`."""
        del data
        raise SignerUnavailable("keyless signing has no key of its own")


def _expect_inside(certificate: Certificate, moment: datetime, what: str = "timestamp") -> None:
    """Raise :class:`SignerUnavailable` if ``moment`` is outside the certificate's validity."""
    if not certificate.leaf.not_valid_before_utc <= moment <= certificate.leaf.not_valid_after_utc:
        raise SignerUnavailable(
            f"the {what} ({moment.isoformat()}) is outside the certificate's validity, which ends at "
            f"{certificate.leaf.not_valid_after_utc.isoformat()}: check the clocks"
        )


def _sealed(
    signature: bytes,
    envelope: Envelope | None,
    certificate: Certificate | None,
    material: Material,
    entry: LogEntry | None,
) -> Sealed:
    """Build the bundle and the layer annotations from the parts."""
    entries = (entry.content,) if entry else ()
    stamps = ({"signedTimestamp": b64encode(material.timestamp).decode()},) if material.timestamp else ()
    bundle = b""
    if envelope is not None:
        bundle = build_bundle(
            envelope,
            envelope.signatures[0].keyid,
            certificate=certificate.der if certificate else None,
            log_entries=entries,
            timestamps=stamps,
        )
    annotations = {}
    # cosign's annotation for an envelope layer is over the envelope, for a .sig layer over the signature.
    stamp = material.outer_timestamp if envelope is not None else material.timestamp
    if stamp:
        annotations[TIMESTAMP_ANNOTATION] = _json({"SignedRFC3161Timestamp": b64encode(stamp).decode()})
    if entries or stamps:
        times = {"rfc3161Timestamps": stamps}
        annotations[MATERIAL_ANNOTATION] = _json({"tlogEntries": entries, "timestampVerificationData": times})
    # Only Rekor v1 makes promises, and only they have a form in cosign's annotation.
    if entry is not None and entry.content.get("inclusionPromise"):
        annotations[BUNDLE_ANNOTATION] = _promise(entry.content)
    return Sealed(
        signature,
        envelope.to_bytes() if envelope is not None else b"",
        bundle,
        certificate.pem if certificate else b"",
        certificate.chain_pem if certificate else b"",
        annotations,
        entry.url if entry else "",
    )


def _promise(content: Mapping[str, Any]) -> str:
    """Return cosign's JSON form of a Rekor v1 entry."""
    payload = {
        "body": content["canonicalizedBody"],
        "integratedTime": int(content["integratedTime"]),
        "logIndex": int(content["logIndex"]),
        "logID": b64decode(content["logId"]["keyId"]).hex(),
    }
    promise = content["inclusionPromise"]["signedEntryTimestamp"]
    return _json({"SignedEntryTimestamp": promise, "Payload": payload})


def material_of_annotations(annotations: Mapping[str, str]) -> Material:
    """Return the material in the annotations of an image layer. Raises :class:`FormatError`."""
    try:
        pem = annotations.get(CERTIFICATE_ANNOTATION, "")
        der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER) if pem else b""
        material = _loads(annotations.get(MATERIAL_ANNOTATION, "{}"))
        entries = material.get("tlogEntries") or [{}]
        stamps = material.get("timestampVerificationData", {}).get("rfc3161Timestamps") or [{}]
        outer = _loads(annotations.get(TIMESTAMP_ANNOTATION, "{}")).get("SignedRFC3161Timestamp", "")
        return Material(
            der, b64decode(stamps[0].get("signedTimestamp", "")), b64decode(outer), dict(entries[0])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError("the layer's annotations cannot be read") from error


def _loads(text: str) -> Any:
    data = text.encode("utf-8", "replace")
    expect_few(data, "annotation")
    return orjson.loads(data)


def _json(content: Mapping[str, Any]) -> str:
    return orjson.dumps(content).decode()

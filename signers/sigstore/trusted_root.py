"""The trusted root of a Sigstore instance: its logs, certificate authorities and timestamp authorities.

Source: sigstore/protobuf-specs ``sigstore_trustroot.proto``, JSON form, v0.1 and v0.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from signers.errors import FormatError, SignerRejected, VerificationError
from signers.files import read_file
from signers.shapes import TRUSTED_ROOT
from signers.strict_json import check_shape, decode_base64, member, objects, parse_object

MAX_BYTES = 4 * 1024 * 1024
"""The largest trusted root that is read, in bytes."""
_MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot"
LogPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Period:
    """A period of validity, both ends included; ``None`` means no limit on that side."""

    start: datetime | None
    end: datetime | None

    def __contains__(self, moment: datetime) -> bool:
        return (self.start is None or self.start <= moment) and (self.end is None or moment <= self.end)


@dataclass(frozen=True, slots=True)
class Log:
    """A transparency log, or a certificate transparency log."""

    log_id: bytes
    url: str
    key: LogPublicKey
    valid: Period

    checkpoint_id: bytes = b""
    """The key id in its checkpoints, if the trusted root states it separately."""

    @property
    def host(self) -> str:
        """The host of its URL, by which people know the log."""
        return urlsplit(self.url).hostname or self.url

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins that its checkpoints may have: the host of its URL, with and without the port.

        Rekor v1 uses the host that it was started with, including a port other than 443. Rekor v2 uses the
        host alone. The path of the URL is part of the origin (C2SP ``tlog-checkpoint``).
        """
        parts = urlsplit(self.url)
        host = parts.hostname
        if host is None:
            return (self.url,)
        path = parts.path.rstrip("/")
        place = parts.netloc.rpartition("@")[2].lower()
        return tuple(dict.fromkeys((host + path, place + path)))

    def key_hashes(self, origin: str) -> frozenset[bytes]:
        """Return the key hashes that checkpoints of ``origin`` may have, 4 bytes each.

        Source: C2SP ``signed-note``, "Signature types".
        """
        spki = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        # Logs use different key hashes in checkpoints: the log id, a separate id, the hash of the key, or
        # C2SP's.
        ids = [self.log_id, self.checkpoint_id, hashlib.sha256(spki).digest()]
        if isinstance(self.key, ed25519.Ed25519PublicKey):
            raw = self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
            ids.append(hashlib.sha256(origin.encode() + b"\n\x01" + raw).digest())
        return frozenset(key_id[:4] for key_id in ids if key_id)

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return if the log signed ``data``, else raise :class:`VerificationError`."""
        try:
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                self.key.verify(signature, data, ec.ECDSA(SHA256()))
            elif isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, data, padding.PKCS1v15(), SHA256())
            else:
                self.key.verify(signature, data)
        except (InvalidSignature, ValueError) as error:
            raise VerificationError(f"the log {self.url} did not sign this", "signature_invalid") from error


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate or timestamp authority. ``chain`` runs from the issuing certificate to the root."""

    url: str
    chain: tuple[x509.Certificate, ...]
    valid: Period


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """The keys and certificates with which the evidence of a Sigstore instance is verified."""

    logs: tuple[Log, ...]
    ct_logs: tuple[Log, ...]
    certificate_authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> TrustedRoot:
        """Read ``trusted_root.json``. Raises :class:`FormatError`.

        A log with an unsupported kind of key is left out; nothing can verify with it.
        """
        root = parse_object(data, "trusted root", MAX_BYTES)
        check_shape(root, TRUSTED_ROOT, "trusted root")
        media_type = member(root, "mediaType", str, "trusted root")
        if not media_type.startswith(_MEDIA_TYPE):
            raise FormatError(f"trusted root: mediaType is {media_type[:96]!r}: expected {_MEDIA_TYPE}…")
        return cls(
            logs=_logs(root, "tlogs"),
            ct_logs=_logs(root, "ctlogs"),
            certificate_authorities=_authorities(root, "certificateAuthorities"),
            timestamp_authorities=_authorities(root, "timestampAuthorities"),
        )

    @classmethod
    def from_path(cls, path: Path) -> TrustedRoot:
        """Read the file. Raises :class:`SignerRejected` or :class:`FormatError`, which name it."""
        try:
            data = read_file(path, MAX_BYTES)
        except OSError as error:
            raise SignerRejected(f"trusted root {path} cannot be read: {error.strerror}") from error
        try:
            return cls.from_bytes(data)
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from error


def find_log(logs: Sequence[Log], log_id: bytes) -> Log:
    """Return the log with this id. Raises :class:`VerificationError` (``key_unknown``) if there is none."""
    for log in logs:
        if log.log_id == log_id:
            return log
    raise VerificationError(f"log {log_id.hex()[:16]}… is not in the trusted root", "key_unknown")


def _logs(root: Mapping[str, object], name: str) -> tuple[Log, ...]:
    """Return the logs of one member of the trusted root. Raises :class:`FormatError`."""
    logs = []
    for entry in _objects(root, name):
        what = f"trusted root: {name}"
        public = member(entry, "publicKey", dict, what)
        try:
            key = load_der_public_key(decode_base64(member(public, "rawBytes", str, what), what))
        except (ValueError, UnsupportedAlgorithm):
            continue
        checkpoint_id = _log_id(entry, "checkpointKeyId", what)
        # Newer trusted roots may have the checkpoint key id only.
        log_id = _log_id(entry, "logId", what) or checkpoint_id
        if not log_id:
            raise FormatError(f"{what}: logId is missing")
        if isinstance(key, LogPublicKey):
            valid = read_period(public.get("validFor"), what)
            logs.append(Log(log_id, member(entry, "baseUrl", str, what), key, valid, checkpoint_id))
    return tuple(logs)


def _log_id(log: Mapping[str, object], name: str, what: str) -> bytes:
    """Return the bytes of a log id, empty if it is absent. Raises :class:`FormatError`."""
    if log.get(name) is None:
        return b""
    return decode_base64(member(member(log, name, dict, what), "keyId", str, what), what)


def _authorities(root: Mapping[str, object], name: str) -> tuple[Authority, ...]:
    """Return the authorities of one member of the trusted root. Raises :class:`FormatError`."""
    what = f"trusted root: {name}"
    authorities = []
    for entry in _objects(root, name):
        chain = objects(member(member(entry, "certChain", dict, what), "certificates", list, what), what)
        try:
            certificates = tuple(
                x509.load_der_x509_certificate(
                    decode_base64(member(certificate, "rawBytes", str, what), what)
                )
                for certificate in chain
            )
        except ValueError as error:
            raise FormatError(f"{what}: a certificate cannot be read") from error
        # An empty chain would make _issued() true for every certificate.
        if not certificates:
            raise FormatError(f"{what}: an authority has no certificate")
        url = str(entry.get("uri") or "")
        authorities.append(Authority(url, certificates, read_period(entry.get("validFor"), what)))
    return tuple(authorities)


def _objects(root: Mapping[str, object], name: str) -> Sequence[Mapping[str, object]]:
    """Return an array member as objects. Raises :class:`FormatError`."""
    value = root.get(name)
    if value is None:  # protobuf's JSON form leaves an empty array out
        return ()
    if not isinstance(value, list):
        raise FormatError(f"trusted root: {name} is not an array")
    return objects(value, f"trusted root: {name}")


def read_period(value: object, what: str) -> Period:
    """Return the period of a ``validFor`` member; without limits if it is absent.

    A period that is present must have a start (sigstore_common.proto, ``TimeRange``), because one that lost
    it would be valid forever. Raises :class:`FormatError`.
    """
    if value is None:
        return Period(None, None)
    if not isinstance(value, dict):
        raise FormatError(f"{what}: validFor is not an object")
    if value.get("start") is None:
        raise FormatError(f"{what}: validFor has no start")
    return Period(_moment(value.get("start"), what), _moment(value.get("end"), what))


def _moment(value: object, what: str) -> datetime | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY301, TRY004 - one handler for all causes
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise FormatError(f"{what}: {str(value)[:40]!r} is not a time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

"""The trusted root of a Sigstore instance: whose logs, certificates and timestamps count.

Source: sigstore/protobuf-specs ``sigstore_trustroot.proto`` in its JSON form, v0.1 and v0.2.
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
_MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot"
LogPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Period:
    """Times between which a key or an authority counts; ``None`` means without an end on that side."""

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
    """The id that its checkpoints name its key by, where the trusted root tells one."""

    @property
    def host(self) -> str:
        """The host of its URL, which people know it by."""
        return urlsplit(self.url).hostname or self.url

    @property
    def origins(self) -> tuple[str, ...]:
        """The names that its checkpoints may bear: the host of its URL, with and without the port.

        Rekor v1 signs as the host that it was started with, which has the port of a log that is not on 443.
        Rekor v2 signs as the host alone. A path of the URL belongs to the name (C2SP ``tlog-checkpoint``).
        """
        parts = urlsplit(self.url)
        host = parts.hostname
        if host is None:
            return (self.url,)
        path = parts.path.rstrip("/")
        place = parts.netloc.rpartition("@")[2].lower()
        return tuple(dict.fromkeys((host + path, place + path)))

    def key_hashes(self, origin: str) -> frozenset[bytes]:
        """Return the hints at its key in checkpoints of ``origin``, 4 bytes each.

        Source: C2SP ``signed-note``, "Signature types".
        """
        spki = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ids = [self.log_id, self.checkpoint_id, hashlib.sha256(spki).digest()]
        if isinstance(self.key, ed25519.Ed25519PublicKey):
            raw = self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
            ids.append(hashlib.sha256(origin.encode() + b"\n\x01" + raw).digest())
        return frozenset(one[:4] for one in ids if one)

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
    """A certificate or timestamp authority; the certificates reach from the issuing one to the root."""

    url: str
    chain: tuple[x509.Certificate, ...]
    valid: Period


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """What an instance's evidence is verified with."""

    logs: tuple[Log, ...]
    ct_logs: tuple[Log, ...]
    certificate_authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> TrustedRoot:
        """Read ``trusted_root.json``. Raises :class:`FormatError`, saying what is wrong.

        A log whose key is of a kind that is not known here is left out: it verifies nothing.
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
        """Read the file. Raises :class:`SignerRejected` or :class:`FormatError` naming it."""
        try:
            data = read_file(path, MAX_BYTES)
        except OSError as error:
            raise SignerRejected(f"trusted root {path} cannot be read: {error.strerror}") from error
        try:
            return cls.from_bytes(data)
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from error


def find_log(logs: Sequence[Log], log_id: bytes) -> Log:
    """Return the log of that id. Raises :class:`VerificationError` when it is not trusted."""
    for log in logs:
        if log.log_id == log_id:
            return log
    raise VerificationError(f"log {log_id.hex()[:16]}… is not in the trusted root", "key_unknown")


def _logs(root: Mapping[str, object], name: str) -> tuple[Log, ...]:
    found = []
    for one in _objects(root, name):
        what = f"trusted root: {name}"
        public = member(one, "publicKey", dict, what)
        try:
            key = load_der_public_key(decode_base64(member(public, "rawBytes", str, what), what))
        except (ValueError, UnsupportedAlgorithm):
            continue
        checkpoint_id = _log_id(one, "checkpointKeyId", what)
        log_id = _log_id(one, "logId", what) or checkpoint_id
        if not log_id:
            raise FormatError(f"{what}: logId is missing")
        if isinstance(key, LogPublicKey):
            valid = read_period(public.get("validFor"), what)
            found.append(Log(log_id, member(one, "baseUrl", str, what), key, valid, checkpoint_id))
    return tuple(found)


def _log_id(log: Mapping[str, object], name: str, what: str) -> bytes:
    if log.get(name) is None:
        return b""
    return decode_base64(member(member(log, name, dict, what), "keyId", str, what), what)


def _authorities(root: Mapping[str, object], name: str) -> tuple[Authority, ...]:
    what = f"trusted root: {name}"
    found = []
    for one in _objects(root, name):
        chain = objects(member(member(one, "certChain", dict, what), "certificates", list, what), what)
        try:
            certificates = tuple(
                x509.load_der_x509_certificate(decode_base64(member(each, "rawBytes", str, what), what))
                for each in chain
            )
        except ValueError as error:
            raise FormatError(f"{what}: a certificate cannot be read") from error
        if not certificates:
            raise FormatError(f"{what}: an authority has no certificate")
        url = str(one.get("uri") or "")
        found.append(Authority(url, certificates, read_period(one.get("validFor"), what)))
    return tuple(found)


def _objects(root: Mapping[str, object], name: str) -> Sequence[Mapping[str, object]]:
    value = root.get(name)
    if value is None:  # protobuf's JSON form leaves an empty array out
        return ()
    if not isinstance(value, list):
        raise FormatError(f"trusted root: {name} is no array")
    return objects(value, f"trusted root: {name}")


def read_period(value: object, what: str) -> Period:
    """Return the period of a ``validFor``, without ends where there is none.

    A period that is there has a start (sigstore_common.proto, ``TimeRange``): one that lost it must not count
    for ever. Raises :class:`FormatError`.
    """
    if value is None:
        return Period(None, None)
    if not isinstance(value, dict):
        raise FormatError(f"{what}: validFor is no object")
    if value.get("start") is None:
        raise FormatError(f"{what}: validFor has no start")
    return Period(_moment(value.get("start"), what), _moment(value.get("end"), what))


def _moment(value: object, what: str) -> datetime | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY301, TRY004 - one way to say that it is none
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise FormatError(f"{what}: {str(value)[:40]!r} is no time") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)

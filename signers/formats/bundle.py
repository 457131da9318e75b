"""Sigstore bundles: an envelope with what a verifier needs besides its key.

Source: sigstore/protobuf-specs ``sigstore_bundle.proto`` in its JSON form. Written are v0.3 bundles, read are
v0.1 to v0.3 in both spellings of the media type. Log entries and timestamps pass as the JSON they are; who
checks them reads them.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from signers.errors import FormatError
from signers.formats.dsse import MAX_ENVELOPE_BYTES, Envelope
from signers.shapes import MATERIAL
from signers.strict_json import check_names, check_shape, decode_base64, member, objects, parse_object

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""The media type of every bundle written here, of its layer and of its artifact."""
MEDIA_TYPES = frozenset(
    spelling.format(version)
    for version in ("0.1", "0.2", "0.3")
    for spelling in (
        "application/vnd.dev.sigstore.bundle.v{}+json",
        "application/vnd.dev.sigstore.bundle+json;version={}",
    )
)
"""The media types that are read."""
MAX_BUNDLE_BYTES = MAX_ENVELOPE_BYTES + 4 * 1024 * 1024

_BUNDLE_FIELDS = frozenset({"mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"})
_KEY_FIELDS = frozenset({"publicKey", "x509CertificateChain", "certificate"})
_MATERIAL_FIELDS = _KEY_FIELDS | {"tlogEntries", "timestampVerificationData"}
_MATERIAL = "bundle: verificationMaterial"


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """A signature over an artifact itself, as ``cosign sign-blob`` makes; the digest is only a hint."""

    signature: bytes
    digest_algorithm: str
    """``SHA2_256`` and the like; empty when the bundle tells none."""
    digest: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle holds, well-formed but not verified: keys and certificates in it prove nothing."""

    media_type: str
    content: Envelope | MessageSignature
    key_hint: str | None
    """The name of the signing key, maybe empty; ``None`` when certificates stand in its place."""
    certificates: tuple[bytes, ...]
    """DER, the signer's own first; empty when a key hint stands in their place."""
    log_entries: tuple[Mapping[str, object], ...]
    """``tlogEntries`` as JSON objects."""
    timestamps: tuple[Mapping[str, object], ...]
    """``rfc3161Timestamps`` as JSON objects, each with ``signedTimestamp`` in base64."""

    @property
    def envelope(self) -> Envelope:
        """The DSSE envelope. Raises :class:`FormatError` when the bundle signs a message instead."""
        if not isinstance(self.content, Envelope):
            raise FormatError("bundle holds a message signature: expected a DSSE envelope")
        return self.content

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Read one bundle of at most :data:`MAX_BUNDLE_BYTES`.

        As protobuf's JSON form wants, a member that is ``null`` is not there. Raises :class:`FormatError`,
        saying which member is wrong, for everything that is not one bundle with one reading: exactly one of
        the two contents, exactly one kind of key, exactly one signature in the envelope.
        """
        bundle = _message(parse_object(data, "bundle", MAX_BUNDLE_BYTES), _BUNDLE_FIELDS, "bundle")
        media_type = member(bundle, "mediaType", str, "bundle")
        if media_type not in MEDIA_TYPES:
            raise FormatError(f"bundle: unknown mediaType {media_type[:96]!r}: expected such as {MEDIA_TYPE}")
        material = _message(
            member(bundle, "verificationMaterial", dict, "bundle"), _MATERIAL_FIELDS, _MATERIAL
        )
        check_shape(material, MATERIAL, _MATERIAL)
        key_hint, certificates = _read_key(material)
        return cls(
            media_type=media_type,
            content=_read_content(bundle),
            key_hint=key_hint,
            certificates=certificates,
            log_entries=_array(material, "tlogEntries", _MATERIAL),
            timestamps=_read_timestamps(material),
        )


def build_bundle(
    envelope: Envelope,
    keyid: str,
    *,
    certificate: bytes | None = None,
    log_entries: Sequence[Mapping[str, object]] = (),
    timestamps: Sequence[Mapping[str, object]] = (),
) -> bytes:
    """Return the v0.3 bundle of ``envelope`` as JSON without spaces, in a fixed order of members.

    The envelope lies in it byte for byte as ``envelope.to_bytes()``. ``keyid`` is the envelope's own, which
    becomes the key hint (sigstore_bundle.proto: the two "MUST be identical"); a ``certificate`` (DER, the
    leaf) takes the hint's place. ``log_entries`` and ``timestamps`` have the forms that :class:`Bundle`
    gives. Equal arguments give equal bytes. Raises :class:`FormatError` for an envelope that no bundle may
    carry.
    """
    if len(envelope.signatures) != 1:
        raise FormatError(
            f"a bundle carries exactly one signature, the envelope has {len(envelope.signatures)}"
        )
    if envelope.signatures[0].keyid != keyid:
        raise FormatError(
            f"the bundle's key {keyid!r} is not the envelope's {envelope.signatures[0].keyid!r}: "
            "sign the envelope with that key"
        )
    if certificate is None:
        key = b'"publicKey":{"hint":%b}' % orjson.dumps(keyid)
    else:
        key = b'"certificate":{"rawBytes":"%b"}' % b2a_base64(certificate, newline=False)
    times = b""
    if timestamps:
        times = b',"timestampVerificationData":{"rfc3161Timestamps":%b}' % orjson.dumps(list(timestamps))
    return b'{"mediaType":"%b","verificationMaterial":{%b,"tlogEntries":%b%b},"dsseEnvelope":%b}' % (
        MEDIA_TYPE.encode(),
        key,
        orjson.dumps(list(log_entries)),
        times,
        envelope.to_bytes(),
    )


def _message(members: Mapping[str, object], known: frozenset[str], what: str) -> dict[str, object]:
    check_names(members, known, what)
    return {name: value for name, value in members.items() if value is not None}


def _one_of(members: Mapping[str, object], names: frozenset[str], what: str) -> str:
    found = sorted(names & members.keys())
    if len(found) != 1:
        raise FormatError(
            f"{what}: expected exactly one of {', '.join(sorted(names))}, got {', '.join(found) or 'none'}"
        )
    return found[0]


def _array(members: Mapping[str, object], name: str, what: str) -> tuple[dict[str, object], ...]:
    if name not in members:  # protobuf's JSON form leaves an empty array out
        return ()
    return objects(member(members, name, list, what), f"{what}: {name}")


def _bytes(members: Mapping[str, object], name: str, what: str) -> bytes:
    return decode_base64(member(members, name, str, what), f"{what}: {name}")


def _read_content(bundle: Mapping[str, object]) -> Envelope | MessageSignature:
    kind = _one_of(bundle, frozenset({"dsseEnvelope", "messageSignature"}), "bundle")
    if kind == "dsseEnvelope":
        envelope = Envelope.from_object(member(bundle, kind, dict, "bundle"))
        if len(envelope.signatures) != 1:
            raise FormatError(f"bundle: expected exactly one signature, got {len(envelope.signatures)}")
        return envelope
    what = f"bundle: {kind}"
    content = _message(member(bundle, kind, dict, "bundle"), frozenset({"messageDigest", "signature"}), what)
    algorithm, digest = "", b""
    if "messageDigest" in content:
        parts = _message(
            member(content, "messageDigest", dict, what), frozenset({"algorithm", "digest"}), what
        )
        if parts:  # cosign leaves both out for Ed25519
            algorithm, digest = member(parts, "algorithm", str, what), _bytes(parts, "digest", what)
    return MessageSignature(_bytes(content, "signature", what), algorithm, digest)


def _read_key(material: Mapping[str, object]) -> tuple[str | None, tuple[bytes, ...]]:
    kind = _one_of(material, _KEY_FIELDS, _MATERIAL)
    what = f"{_MATERIAL}: {kind}"
    value = member(material, kind, dict, _MATERIAL)
    if kind == "publicKey":
        hint = _message(value, frozenset({"hint"}), what)
        return (member(hint, "hint", str, what) if "hint" in hint else ""), ()
    if kind == "certificate":
        return None, (_certificate(value, what),)
    chain = _message(value, frozenset({"certificates"}), what)
    certificates = tuple(_certificate(one, what) for one in _array(chain, "certificates", what))
    if not certificates:
        raise FormatError(f"{what} is empty: expected the signer's certificate")
    return None, certificates


def _certificate(members: Mapping[str, object], what: str) -> bytes:
    der = _bytes(_message(members, frozenset({"rawBytes"}), what), "rawBytes", what)
    if not der:
        raise FormatError(f"{what}: rawBytes is empty: expected a DER certificate")
    return der


def _read_timestamps(material: Mapping[str, object]) -> tuple[dict[str, object], ...]:
    name = "timestampVerificationData"
    if name not in material:
        return ()
    data = _message(member(material, name, dict, _MATERIAL), frozenset({"rfc3161Timestamps"}), name)
    return _array(data, "rfc3161Timestamps", f"{_MATERIAL}: {name}")

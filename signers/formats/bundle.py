"""Sigstore bundles: an envelope together with its verification material.

Source: sigstore/protobuf-specs ``sigstore_bundle.proto``, JSON form. This module writes v0.3 bundles and
reads v0.1 to v0.3, in both spellings of the media type. Log entries and timestamps stay JSON objects here;
:mod:`signers.sigstore` verifies them.
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
"""The media type of every bundle that is written here, of the layer that holds it and of its artifact."""
MEDIA_TYPES = frozenset(
    spelling.format(version)
    for version in ("0.1", "0.2", "0.3")
    for spelling in (
        "application/vnd.dev.sigstore.bundle.v{}+json",
        "application/vnd.dev.sigstore.bundle+json;version={}",
    )
)
"""The media types that :meth:`Bundle.from_bytes` accepts."""
MAX_BUNDLE_BYTES = MAX_ENVELOPE_BYTES + 4 * 1024 * 1024
"""The largest bundle that is read: the largest envelope, and 4 MiB for its verification material."""

_BUNDLE_FIELDS = frozenset({"mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"})
_KEY_FIELDS = frozenset({"publicKey", "x509CertificateChain", "certificate"})
_MATERIAL_FIELDS = _KEY_FIELDS | {"tlogEntries", "timestampVerificationData"}
_MATERIAL = "bundle: verificationMaterial"


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """A signature over an artifact itself, as ``cosign sign-blob`` makes it.

    The digest is an unverified hint.
    """

    signature: bytes
    digest_algorithm: str
    """The protobuf name, such as ``SHA2_256``; empty when the bundle has no digest."""
    digest: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A well-formed bundle. Nothing in it is verified; its keys and certificates prove nothing."""

    media_type: str
    content: Envelope | MessageSignature
    key_hint: str | None
    """The hint that names the signing key, possibly empty; ``None`` when the bundle has certificates
    instead."""
    certificates: tuple[bytes, ...]
    """DER certificates, the signer's first; empty when the bundle has a key hint instead."""
    log_entries: tuple[Mapping[str, object], ...]
    """The elements of ``tlogEntries`` as JSON objects."""
    timestamps: tuple[Mapping[str, object], ...]
    """The elements of ``rfc3161Timestamps`` as JSON objects; each has ``signedTimestamp`` in base64."""

    @property
    def envelope(self) -> Envelope:
        """The DSSE envelope. Raises :class:`FormatError` when the bundle signs a message instead."""
        if not isinstance(self.content, Envelope):
            raise FormatError("bundle holds a message signature: expected a DSSE envelope")
        return self.content

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Read one bundle of at most :data:`MAX_BUNDLE_BYTES`.

        A bundle has exactly one content (envelope or message signature), exactly one kind of key and exactly
        one signature. A member that is ``null`` counts as absent, as in protobuf's JSON form. Raises
        :class:`FormatError`, which names the member, for everything else, and for a document that two readers
        could read differently.
        """
        bundle = _message(parse_object(data, "bundle", MAX_BUNDLE_BYTES), _BUNDLE_FIELDS, "bundle")
        media_type = member(bundle, "mediaType", str, "bundle")
        if media_type not in MEDIA_TYPES:
            raise FormatError(f"bundle: unknown mediaType {media_type[:96]!r}: expected such as {MEDIA_TYPE}")
        material = _message(
            member(bundle, "verificationMaterial", dict, "bundle"), _MATERIAL_FIELDS, _MATERIAL
        )
        check_shape(material, MATERIAL, _MATERIAL)
        # Material is a oneof: either a hint for a key that the verifier has, or certificates.
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
    """Return the v0.3 bundle of ``envelope`` as compact JSON with a fixed order of members.

    The bundle contains ``envelope.to_bytes()`` unchanged. ``keyid`` must be the keyid of the envelope's
    signature; it becomes the key hint (sigstore_bundle.proto: the two "MUST be identical"). If
    ``certificate`` is given (DER, the leaf), the bundle has it instead of the hint. ``log_entries`` and
    ``timestamps`` have the form of the fields of :class:`Bundle`. Equal arguments give equal bytes. Raises
    :class:`FormatError` unless the envelope has exactly one signature, made by ``keyid``.
    """
    if len(envelope.signatures) != 1:
        raise FormatError(
            f"a bundle carries exactly one signature, the envelope has {len(envelope.signatures)}"
        )
    # The protobuf requires the hint and the keyid to be identical; a verifier may select the key by either.
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
    # Assembled as bytes and not with a JSON encoder: the envelope must stay byte for byte as it was signed,
    # and the order of members must not change.
    return b'{"mediaType":"%b","verificationMaterial":{%b,"tlogEntries":%b%b},"dsseEnvelope":%b}' % (
        MEDIA_TYPE.encode(),
        key,
        orjson.dumps(list(log_entries)),
        times,
        envelope.to_bytes(),
    )


def _message(members: Mapping[str, object], known: frozenset[str], what: str) -> dict[str, object]:
    """Return the members of a protobuf message without those that are ``null``.

    Raises :class:`FormatError`.
    """
    check_names(members, known, what)
    return {name: value for name, value in members.items() if value is not None}


def _one_of(members: Mapping[str, object], names: frozenset[str], what: str) -> str:
    """Return the one member of ``names`` that is set (a protobuf ``oneof``). Raises :class:`FormatError`."""
    present = sorted(names & members.keys())
    if len(present) != 1:
        raise FormatError(
            f"{what}: expected exactly one of {', '.join(sorted(names))}, got {', '.join(present) or 'none'}"
        )
    return present[0]


def _array(members: Mapping[str, object], name: str, what: str) -> tuple[dict[str, object], ...]:
    if name not in members:  # protobuf's JSON form leaves an empty array out
        return ()
    return objects(member(members, name, list, what), f"{what}: {name}")


def _bytes(members: Mapping[str, object], name: str, what: str) -> bytes:
    return decode_base64(member(members, name, str, what), f"{what}: {name}")


def _read_content(bundle: Mapping[str, object]) -> Envelope | MessageSignature:
    # The content is a oneof: an envelope, or a signature over an artifact itself.
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
        if parts:  # for Ed25519 cosign writes an empty messageDigest
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
    certificates = tuple(_certificate(entry, what) for entry in _array(chain, "certificates", what))
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

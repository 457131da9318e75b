"""DSSE v1.0.2 envelopes: what a signature covers, and how it travels.

Sources: secure-systems-lab/dsse ``protocol.md`` (PAE, verification) and ``envelope.md`` (JSON, parsing).
The payload is bytes from the statement to the verifier; nothing here ever looks into it.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import orjson

from signers.base import Signer
from signers.errors import FormatError, VerificationError
from signers.keys.public_key import PublicKey, find_key
from signers.strict_json import check_names, decode_base64, expect_few, member, objects, parse_object

MAX_PAYLOAD_BYTES = 20 * 1024 * 1024
"""The largest payload that is signed: its envelope and its bundle can be read back here."""
MAX_ENVELOPE_BYTES = 32 * 1024 * 1024
MAX_PAYLOAD_VALUES = 1_000_000
"""The most JSON values that a payload which is signed has: 15 MB of an ordinary statement."""
MAX_SIGNATURES = 64
"""Each signature costs one public key operation for each key given, so a stranger's envelope has few."""
MAX_SIGNED_BYTES = 256 * 1024 * 1024
"""Each signature is over the whole payload, so a large one has fewer still."""

_ENVELOPE_FIELDS = frozenset({"payload", "payloadType", "signatures"})
_SIGNATURE_FIELDS = frozenset({"keyid", "sig"})


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed (protocol.md, "PAE"); lengths count bytes of UTF-8, not characters."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature and the name of its key, which is an unauthenticated hint and may be empty."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type and at least one signature, not yet verified."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """Return the JSON envelope without spaces, in the order of the specification, standard base64.

        Equal envelopes have equal bytes.
        """
        signatures = b",".join(
            b'{"keyid":%b,"sig":"%b"}' % (orjson.dumps(one.keyid), b2a_base64(one.sig, newline=False))
            for one in self.signatures
        )
        return b'{"payload":"%b","payloadType":%b,"signatures":[%b]}' % (
            b2a_base64(self.payload, newline=False),
            orjson.dumps(self.payload_type),
            signatures,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read a JSON envelope (envelope.md, "Parsing rules").

        Fields that the specification does not know are ignored, unless another reader could take one for a
        field it knows. Raises :class:`FormatError` for everything else that is not one envelope with one
        reading, above :data:`MAX_ENVELOPE_BYTES` and :data:`MAX_SIGNATURES` too.
        """
        return cls.from_object(parse_object(data, "envelope", MAX_ENVELOPE_BYTES))

    @classmethod
    def from_object(cls, members: Mapping[str, object]) -> Envelope:
        """Read an envelope that ``parse_object`` of ``strict_json`` parsed. Raises :class:`FormatError`."""
        check_names(members, _ENVELOPE_FIELDS, "envelope")
        payload = decode_base64(member(members, "payload", str, "envelope"), "envelope: payload")
        payload_type = member(members, "payloadType", str, "envelope")
        signatures = objects(member(members, "signatures", list, "envelope"), "envelope: signature")
        if not 1 <= len(signatures) <= MAX_SIGNATURES:
            raise FormatError(f"envelope: expected 1 to {MAX_SIGNATURES} signatures, got {len(signatures)}")
        if len(signatures) > 1 and len(signatures) * len(payload) > MAX_SIGNED_BYTES:
            raise FormatError(
                f"envelope: {len(signatures)} signatures over {len(payload)} bytes are too much to verify"
            )
        return cls(payload, payload_type, tuple(map(_read_signature, signatures, count(1))))


def sign_payload(signer: Signer, payload: bytes, payload_type: str) -> Envelope:
    """Return an envelope with one signature, whose keyid is the signer's.

    Raises :class:`FormatError` above :data:`MAX_PAYLOAD_BYTES` and :data:`MAX_PAYLOAD_VALUES`, and what the
    signer raises.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise FormatError(f"payload has {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} are signed")
    expect_few(payload, "payload", MAX_PAYLOAD_VALUES)
    sig = signer.sign(pae(payload_type, payload))
    return Envelope(payload, payload_type, (Signature(signer.keyid, sig),))


def verify_envelope(envelope: Envelope, keys: Sequence[PublicKey]) -> PublicKey:
    """Return the first of ``keys`` that made one of the envelope's signatures.

    A keyid only decides which key is tried first (protocol.md: it "MUST NOT be used for security decisions").
    The caller goes on with ``envelope.payload``, the bytes verified, and checks ``payload_type``, which is
    verified with them. Raises :class:`VerificationError`: ``key_unknown`` when every signature names a key
    that is not among ``keys``, or none were given, ``signature_invalid`` otherwise.
    """
    signed = pae(envelope.payload_type, envelope.payload)
    unknown = envelope.signatures != ()
    for one in envelope.signatures:
        named = find_key(keys, one.keyid) if one.keyid else None
        unknown = unknown and named is None and one.keyid != ""
        for key in sorted(keys, key=lambda key: key is not named):
            if _made_by(key, one.sig, signed):
                return key
    names = ", ".join(repr(one.keyid[:64]) for one in envelope.signatures[:4])
    if not keys:
        raise VerificationError("no public key was given: name the keys that are trusted", "key_unknown")
    if unknown:
        raise VerificationError(
            f"signed by {names}, which none of the {len(keys)} given public keys is: add that key, "
            "if you trust it",
            "key_unknown",
        )
    raise VerificationError(
        f"no given key made a signature of this envelope (keyids {names}): its content, its payload type or "
        "the signature was changed, or another key made it",
        "signature_invalid",
    )


def _made_by(key: PublicKey, sig: bytes, signed: bytes) -> bool:
    try:
        key.verify(sig, signed)
    except VerificationError:
        return False
    return True


def _read_signature(members: Mapping[str, object], number: int) -> Signature:
    what = f"envelope: signature {number}"
    check_names(members, _SIGNATURE_FIELDS, what)
    unset = members.get("keyid") is None  # "MUST be treated the same as set-but-empty"
    keyid = "" if unset else member(members, "keyid", str, what)
    return Signature(keyid, decode_base64(member(members, "sig", str, what), f"{what}: sig"))

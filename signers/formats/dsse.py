"""DSSE v1.0.2 envelopes: the bytes that are signed, and the JSON that carries them.

Sources: secure-systems-lab/dsse ``protocol.md`` (PAE, verification) and ``envelope.md`` (JSON, parsing). The
payload stays bytes; nothing here interprets it.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import orjson

from signers.base import Signer
from signers.errors import FormatError, VerificationError
from signers.keys.known_signatures import MadeBy, made_by
from signers.keys.public_key import PublicKey, find_key
from signers.strict_json import check_names, decode_base64, expect_few, member, objects, parse_object

MAX_PAYLOAD_BYTES = 20 * 1024 * 1024
"""The largest payload that is signed. Its envelope and its bundle then stay below the limits for reading."""
MAX_ENVELOPE_BYTES = 32 * 1024 * 1024
"""The largest envelope that is read. Base64 makes the largest payload a third larger."""
MAX_PAYLOAD_VALUES = 1_000_000
"""The most JSON values in a payload that is signed; about 15 MB of an ordinary statement."""
MAX_SIGNATURES = 64
"""The most signatures in an envelope. Verification costs one public key operation for each pair of signature
and given key, so the number in an untrusted envelope must be small."""
MAX_SIGNED_BYTES = 256 * 1024 * 1024
"""The limit of signatures times payload bytes. Every signature is verified over the whole payload, so an
envelope with a large payload may have fewer signatures."""

_ENVELOPE_FIELDS = frozenset({"payload", "payloadType", "signatures"})
_SIGNATURE_FIELDS = frozenset({"keyid", "sig"})


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding, which is what is signed (protocol.md, "PAE").

    Lengths count bytes of UTF-8, not characters.
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature and the keyid of its key. The keyid is an unauthenticated hint and may be empty."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type and at least one signature, not yet verified."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """Return the envelope as compact JSON, members in the order of the specification, standard base64.

        Equal envelopes give equal bytes.
        """
        signatures = b",".join(
            b'{"keyid":%b,"sig":"%b"}'
            % (orjson.dumps(signature.keyid), b2a_base64(signature.sig, newline=False))
            for signature in self.signatures
        )
        return b'{"payload":"%b","payloadType":%b,"signatures":[%b]}' % (
            b2a_base64(self.payload, newline=False),
            orjson.dumps(self.payload_type),
            signatures,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read a JSON envelope (envelope.md, "Parsing rules").

        Unknown members are ignored, unless another reader could take one for a known member. Raises
        :class:`FormatError` for everything else that is not one valid envelope, and above
        :data:`MAX_ENVELOPE_BYTES` or :data:`MAX_SIGNATURES`.
        """
        return cls.from_object(parse_object(data, "envelope", MAX_ENVELOPE_BYTES))

    @classmethod
    def from_object(cls, members: Mapping[str, object]) -> Envelope:
        """Read an envelope from JSON that :func:`signers.strict_json.parse_object` parsed.

        Raises :class:`FormatError`.
        """
        check_names(members, _ENVELOPE_FIELDS, "envelope")
        payload = decode_base64(member(members, "payload", str, "envelope"), "envelope: payload")
        payload_type = member(members, "payloadType", str, "envelope")
        signatures = objects(member(members, "signatures", list, "envelope"), "envelope: signature")
        if not 1 <= len(signatures) <= MAX_SIGNATURES:
            raise FormatError(f"envelope: expected 1 to {MAX_SIGNATURES} signatures, got {len(signatures)}")
        # Every signature is verified over the whole payload, so their product bounds the work.
        if len(signatures) > 1 and len(signatures) * len(payload) > MAX_SIGNED_BYTES:
            raise FormatError(
                f"envelope: {len(signatures)} signatures over {len(payload)} bytes are too much to verify"
            )
        return cls(payload, payload_type, tuple(map(_read_signature, signatures, count(1))))


def sign_payload(signer: Signer, payload: bytes, payload_type: str) -> Envelope:
    """Return an envelope with one signature by ``signer``, whose keyid it has.

    Raises :class:`FormatError` above :data:`MAX_PAYLOAD_BYTES` or :data:`MAX_PAYLOAD_VALUES`, and
    :class:`SignerUnavailable` or :class:`SignerRejected` from the signer.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise FormatError(f"payload has {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} are signed")
    expect_few(payload, "payload", MAX_PAYLOAD_VALUES)
    sig = signer.sign(pae(payload_type, payload))
    return Envelope(payload, payload_type, (Signature(signer.keyid, sig),))


def verify_envelope(envelope: Envelope, keys: Sequence[PublicKey]) -> PublicKey:
    """Return the first of ``keys`` that made one of the envelope's signatures.

    The caller then uses ``envelope.payload``, which are the verified bytes, and checks
    ``envelope.payload_type``, which the signature covers too. Raises as :func:`find_signature`.
    """
    return find_signature(envelope, keys)[0]


def find_signature(
    envelope: Envelope, keys: Sequence[PublicKey], is_by: MadeBy = made_by
) -> tuple[PublicKey, Signature]:
    """Return the first signature of the envelope that one of ``keys`` made, and that key.

    ``is_by`` says whether a key made a signature over some bytes;
    :func:`signers.keys.known_signatures.known_made_by` remembers its answers.

    The keyid only decides which key is tried first (protocol.md: it "MUST NOT be used for security
    decisions"). Raises :class:`VerificationError`: ``key_unknown`` when no keys were given or every signature
    names a key that is not among them, else ``signature_invalid``.
    """
    signed = pae(envelope.payload_type, envelope.payload)
    # "unknown" stays true only if every signature names a key and none of these keys was given.
    unknown = envelope.signatures != ()
    for signature in envelope.signatures:
        named = find_key(keys, signature.keyid) if signature.keyid else None
        unknown = unknown and named is None and signature.keyid != ""
        # False sorts before True: the key that the keyid names is tried first.
        for key in sorted(keys, key=lambda key: key is not named):
            if is_by(key, signature.sig, signed):
                return key, signature
    names = ", ".join(repr(signature.keyid[:64]) for signature in envelope.signatures[:4])
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


def _read_signature(members: Mapping[str, object], number: int) -> Signature:
    what = f"envelope: signature {number}"
    check_names(members, _SIGNATURE_FIELDS, what)
    # protocol.md allows the member to be absent or null.
    unset = members.get("keyid") is None  # "MUST be treated the same as set-but-empty"
    keyid = "" if unset else member(members, "keyid", str, what)
    return Signature(keyid, decode_base64(member(members, "sig", str, what), f"{what}: sig"))

"""Reads public keys from any common form: PEM, certificates, key sets, JSON web keys.

Sources: RFC 7468 (PEM), RFC 7517 and RFC 8037 (JSON web keys), :mod:`signers.keys.keyset`.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from signers.errors import FormatError, SignerRejected
from signers.keys.keyset import MAX_BYTES, ListedKey, parse_keyset
from signers.keys.pem import Block, split_pem
from signers.keys.public_key import PublicKey, load_public_keys
from signers.strict_json import member, objects, parse_object

_CURVES: Mapping[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})
# A tuple and not a set: "use" in a foreign document may be of any type, also one that has no hash.
_SIGNING = ("sig", None)


def read_keys(data: bytes, source: str) -> tuple[ListedKey, ...]:
    """Return the public keys of a document, at least one; ``source`` names it in errors.

    A certificate gives its key, limited to the certificate's validity. Its issuer is not verified, because
    the user gave the certificate as trusted. Raises :class:`SignerRejected` for a private key, and
    :class:`FormatError` for a document without a usable key.
    """
    if data.lstrip().startswith(b"{"):
        members = parse_object(data, source, MAX_BYTES)
        # A JSON document is our key set (it has a mediaType), a JWK set ("keys") or a single JWK.
        if "mediaType" in members:
            return parse_keyset(data, source)
        listed = objects(member(members, "keys", list, source), source) if "keys" in members else (members,)
        keys = tuple(_from_jwk(jwk, f"{source}: key {number}") for number, jwk in enumerate(listed, 1))
        usable = tuple(ListedKey(key) for key in dict.fromkeys(keys) if key is not None)
        if not usable:
            raise FormatError(f"{source}: has no key for signatures")
        return usable
    blocks = split_pem(data, source)
    return tuple(dict.fromkeys(_from_block(block, source) for block in blocks))


def _from_block(block: Block, source: str) -> ListedKey:
    if block.label != "CERTIFICATE":
        (key,) = load_public_keys(block.data) if not block.is_private else _private(source)
        return ListedKey(key)
    from cryptography import x509  # noqa: PLC0415 - half of the time that reading a key takes, and few are certificates

    try:
        certificate = x509.load_pem_x509_certificate(block.data)
        key = PublicKey.from_key(certificate.public_key(), source)
    except ValueError as error:
        raise FormatError(f"{source}: its certificate cannot be read") from error
    return ListedKey(key, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _private(source: str) -> tuple[PublicKey, ...]:
    """Raise the error about a private key; the return type lets callers use it as an expression."""
    raise SignerRejected(f"{source} holds a private key: give the public one and keep the private one away")


def _from_jwk(jwk: Mapping[str, object], source: str) -> PublicKey | None:
    """Return the public key of a JSON web key; None if its ``use`` is not signatures."""
    if _PRIVATE & jwk.keys():
        return _private(source)[0]
    # RFC 7517, section 4.2: a key for encryption must not verify signatures.
    if jwk.get("use") not in _SIGNING:
        return None
    try:
        kind = member(dict(jwk), "kty", str, source)
        if kind == "EC":
            curve = _CURVES[member(dict(jwk), "crv", str, source)]()
            numbers = ec.EllipticCurvePublicNumbers(
                _number(jwk, "x", source), _number(jwk, "y", source), curve
            )
            return PublicKey.from_key(numbers.public_key(), source)
        if kind == "RSA":
            rsa_numbers = rsa.RSAPublicNumbers(_number(jwk, "e", source), _number(jwk, "n", source))
            return PublicKey.from_key(rsa_numbers.public_key(), source)
        if kind == "OKP" and jwk.get("crv") == "Ed25519":
            key = ed25519.Ed25519PublicKey.from_public_bytes(_bytes(jwk, "x", source))
            return PublicKey.from_key(key, source)
    except (ValueError, KeyError) as error:
        raise FormatError(f"{source}: is not a usable JSON web key") from error
    raise FormatError(f"{source}: kty {kind[:32]!r} is not supported")


def _number(jwk: Mapping[str, object], name: str, source: str) -> int:
    return int.from_bytes(_bytes(jwk, name, source))


def _bytes(jwk: Mapping[str, object], name: str, source: str) -> bytes:
    text = member(dict(jwk), name, str, source)
    # JWKs use base64url without padding (RFC 7518, section 2), but Python's decoder requires the padding.
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""The signed revocation list: a DSSE envelope whose payload is the document, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from chains.revocation.document import MOST_VALUES, RevocationList, parse_list
from chains.revocation.errors import RevocationError
from signers.base import Signer
from signers.errors import FormatError, VerificationError
from signers.formats.dsse import MAX_ENVELOPE_BYTES, Envelope, Signature, pae, verify_envelope
from signers.keys.keyset import ListedKey
from signers.strict_json import parse_object

_parsed = lru_cache(maxsize=4)(parse_list)
"""Reads a document, which several policies of a process share: the largest takes a second and 30 MB."""
PAYLOAD_TYPE = "application/vnd.provenance-chains.revocations.v1+json"


def sign_list(document: bytes, signer: Signer) -> bytes:
    """Return the envelope of a document.

    Raises :class:`FormatError` for what is no revocation list, and what the signer raises.
    """
    parse_list(document)
    signature = signer.sign(pae(PAYLOAD_TYPE, document))
    return Envelope(document, PAYLOAD_TYPE, (Signature(signer.keyid, signature),)).to_bytes() + b"\n"


def is_signed(data: bytes) -> bool:
    """Whether bytes are an envelope rather than a document. Raises :class:`FormatError` for neither."""
    return "payload" in parse_object(data, "revocation list", MAX_ENVELOPE_BYTES, MOST_VALUES)


def read_envelope(data: bytes) -> Envelope:
    """Return the envelope of a list, not verified. Raises :class:`RevocationError` for anything else."""
    try:
        members = parse_object(data, "revocation list", MAX_ENVELOPE_BYTES, MOST_VALUES)
        if "payload" not in members and "entries" in members:
            raise RevocationError("the list is not signed: chains revoke sign FILE --key KEY")
        envelope = Envelope.from_object(members)
    except FormatError as error:
        raise RevocationError(f"not a signed revocation list: {error}") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise RevocationError(
            f"not a revocation list: its payload type is {envelope.payload_type[:96]!r}, "
            f"expected {PAYLOAD_TYPE}"
        )
    return envelope


def verify_list(data: bytes, keys: Sequence[ListedKey], now: datetime) -> tuple[RevocationList, str]:
    """Return the list that one of the keys signed, and the id of that key.

    A key counts by its window and status now: nothing proves the time of this signature. Raises
    :class:`RevocationError`.
    """
    envelope = read_envelope(data)
    problems = {one.key.keyid: one.problem(now) for one in keys}
    counting = [one.key for one in keys if not problems[one.key.keyid]]
    if keys and not counting:
        keyid, problem = next(iter(problems.items()))
        raise RevocationError(f"no key counts that may sign the list: {keyid}: {problem}")
    try:
        key = verify_envelope(envelope, counting)
    except VerificationError as error:
        raise RevocationError(f"no key that may sign the list has signed it: {error}") from error
    try:
        return _parsed(envelope.payload), key.keyid
    except FormatError as error:
        raise RevocationError(str(error)) from error

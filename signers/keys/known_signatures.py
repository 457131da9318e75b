"""Whether a key made a signature, remembered: an envelope lies in two forms, and many policies judge it.

The answer depends on the key, the signature and the signed bytes, and on nothing else: no time, no criteria
and no place. All three are in the key of the memory, the signed bytes by their SHA-256.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from signers.errors import VerificationError
from signers.keys.public_key import PublicKey

MadeBy = Callable[[PublicKey, bytes, bytes], bool]
"""Says whether a key made a signature over some bytes."""
MOST = 4096
"""Answers that are remembered, at most 1,500 bytes each. The oldest is forgotten first."""
_LONGEST = 1024
"""Bytes of a signature whose answer is remembered. One by RSA with 8192 bits has as many."""

_known: dict[tuple[bytes, bytes, bytes], bool] = {}
_lock = threading.Lock()


def made_by(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``key`` made ``signature`` over ``data``. A malformed signature is made by nobody."""
    try:
        key.verify(signature, data)
    except VerificationError:
        return False
    return True


def known_made_by(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """Return what :func:`made_by` returns, from memory where it was asked before."""
    if len(signature) > _LONGEST:
        return made_by(key, signature, data)
    question = (key.pem, signature, hashlib.sha256(data).digest())
    known = _known.get(question)
    if known is None:
        known = made_by(key, signature, data)
        with _lock:
            while len(_known) >= MOST:
                del _known[next(iter(_known))]
            _known[question] = known
    return known

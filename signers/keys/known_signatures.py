"""Whether a key made a signature, remembered: an envelope is stored in two forms, and judged by many policies.

The answer depends on the key, the signature and the signed bytes, and on nothing else: no time, no criteria
and no place. All three are in the key of the memory, the signed bytes by their SHA-256.
"""

from __future__ import annotations

import hashlib
import threading

from signers.errors import VerificationError
from signers.keys.public_key import PublicKey

MOST = 4096
"""Answers that are remembered, at most 1,500 bytes each. The oldest is forgotten first."""
_LONGEST = 1024
"""Bytes of a signature whose answer is remembered. One by RSA with 8192 bits has as many."""

_known: dict[tuple[bytes, bytes, bytes], bool] = {}
_lock = threading.Lock()


def made_by(key: PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``key`` made ``signature`` over ``data``. A malformed signature is made by nobody."""
    if len(signature) > _LONGEST:
        return _made_by(key, signature, data)
    question = (key.pem, signature, hashlib.sha256(data).digest())
    known = _known.get(question)
    if known is None:
        known = _made_by(key, signature, data)
        with _lock:
            while len(_known) >= MOST:
                del _known[next(iter(_known))]
            _known[question] = known
    return known


def _made_by(key: PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except VerificationError:
        return False
    return True

"""The errors of this package.

:class:`SignerError`
 ├─ :class:`SignerUnavailable`  a key service is down or throttles: trying again can help
 ├─ :class:`SignerRejected`     bad key, wrong password, no permission, unknown scheme: it cannot
 ├─ :class:`FormatError`        bytes that are no envelope, no bundle, or more than one reading of either
 └─ :class:`VerificationError`  well-formed, but no given key made it; ``reason`` says which way
"""

from __future__ import annotations

from typing import Literal


class SignerError(Exception):
    """Base of everything this room raises. The text is for the user and never holds key material."""


class SignerUnavailable(SignerError):  # noqa: N818 - "unavailable" and "rejected" are the two words of every port here
    """The key could not be reached; the same call may succeed later."""


class SignerRejected(SignerError):  # noqa: N818
    """The key or its reference is wrong; the same call will not succeed later."""


class FormatError(SignerError):
    """The bytes are not what they should be; they never will be."""


Problem = Literal[
    "key_unknown",
    "signature_invalid",
    "certificate_unknown",
    "certificate_invalid",
    "sct_missing",
    "sct_invalid",
    "timestamp_outside_cert",
    "expired",
]


class VerificationError(SignerError):
    """No given key made the signature, or what stands beside it does not hold.

    ``reason`` is ``"key_unknown"`` when the evidence names a key that was not given, so that asking for the
    right one can help. Of certificates, ``"certificate_unknown"`` is one that no trusted authority issued,
    ``"certificate_invalid"`` is about what it says, ``"sct_missing"`` and ``"sct_invalid"`` about its
    certificate timestamp, ``"timestamp_outside_cert"`` and ``"expired"`` about its own and its authority's
    time. All else is ``"signature_invalid"``.
    """

    def __init__(self, message: str, reason: Problem) -> None:
        super().__init__(message)
        self.reason = reason

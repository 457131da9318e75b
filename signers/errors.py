"""The exceptions of this package.

:class:`SignerError`
 ├─ :class:`SignerUnavailable`  a key service is down or throttles; a later call may succeed
 ├─ :class:`SignerRejected`     bad key, wrong password, no permission, unknown scheme; retrying does not help
 ├─ :class:`FormatError`        the bytes are not a valid envelope or bundle, or can be read in two ways
 └─ :class:`VerificationError`  well-formed, but verification failed; ``reason`` is the code
"""

from __future__ import annotations

from typing import Literal


class SignerError(Exception):
    """Base class of every exception of this package.

    The text is shown to users and never holds key material.
    """


class SignerUnavailable(SignerError):  # noqa: N818 - the two names are the same in every port of this project
    """The key or service could not be reached. The same call may succeed later."""


class SignerRejected(SignerError):  # noqa: N818
    """The key, its reference or the request is wrong. The same call will not succeed later."""


class FormatError(SignerError):
    """The bytes do not have the expected format. Retrying does not help."""


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
    """No given key made the signature, or its verification material is not valid.

    ``reason`` is a stable code:

    - ``key_unknown``: the evidence names a key that was not given. Giving that key can help.
    - ``certificate_unknown``: no authority of the trusted root issued the certificate.
    - ``certificate_invalid``: the content of the certificate is not acceptable.
    - ``sct_missing``, ``sct_invalid``: the signed certificate timestamp is absent or does not verify.
    - ``timestamp_outside_cert``: the signing time is outside the certificate's validity.
    - ``expired``: the authority was not trusted at the signing time.
    - ``signature_invalid``: everything else.
    """

    def __init__(self, message: str, reason: Problem) -> None:
        super().__init__(message)
        self.reason = reason

"""The exceptions of OpenID Connect."""

from __future__ import annotations

from chains.errors import ChainsError


class LoginRefused(ChainsError):  # noqa: N818 - named after the outcome
    """A login or a token does not count. The text says why, for the log; it has nothing of a token."""


class IssuerUnavailable(ChainsError):  # noqa: N818 - named after the outcome
    """The issuer does not answer now, or not as it must."""

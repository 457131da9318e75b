"""Who may sign, and who did: given keys, and certificates of an identity from an issuer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chains.errors import UsageError

if TYPE_CHECKING:
    from signers.verification_material import VerifiedEntry, VerifiedTime

LONGEST_NAME = 2048
"""Characters of a certificate's identity or issuer that are compared with a regular expression."""


@dataclass(frozen=True, slots=True)
class NameWanted:
    """An identity or an issuer: exactly ``value``, or all of it matching that regular expression."""

    value: str
    is_regexp: bool = False

    def __post_init__(self) -> None:
        if not self.value:
            raise UsageError("an identity or issuer to demand must not be empty")
        if self.is_regexp:
            try:
                re.compile(self.value)
            except re.error as error:
                raise UsageError(f"{self.value!r} is no regular expression: {error}") from error

    def matches(self, name: str) -> bool:
        """Whether it is the name. A part that matches is not enough: ``a.example`` is no ``a.example.x``."""
        if not name or not self.is_regexp:
            return name == self.value
        return len(name) <= LONGEST_NAME and re.fullmatch(self.value, name) is not None

    def __str__(self) -> str:
        return f"matching {self.value}" if self.is_regexp else self.value


@dataclass(frozen=True, slots=True)
class CertificateWanted:
    """Certificates that are trusted: those of this identity that this issuer vouched for, both together."""

    identity: NameWanted
    issuer: NameWanted

    @classmethod
    def from_options(
        cls, identity: str = "", identity_regexp: str = "", issuer: str = "", issuer_regexp: str = ""
    ) -> CertificateWanted | None:
        """Return what options ask for, ``None`` when nothing. Raises :class:`UsageError` for half of it."""
        if not (identity or identity_regexp or issuer or issuer_regexp):
            return None
        if (identity and identity_regexp) or (issuer and issuer_regexp):
            raise UsageError("give an identity and an issuer each either exactly or as a regular expression")
        if not ((identity or identity_regexp) and (issuer or issuer_regexp)):
            raise UsageError(
                "an identity counts together with its issuer alone: pass --certificate-identity or "
                "--certificate-identity-regexp with --certificate-oidc-issuer or "
                "--certificate-oidc-issuer-regexp"
            )
        return cls(
            NameWanted(identity or identity_regexp, bool(identity_regexp)),
            NameWanted(issuer or issuer_regexp, bool(issuer_regexp)),
        )

    def to_json(self) -> dict[str, str]:
        """Return it as printed."""
        return {
            "identityRegexp" if self.identity.is_regexp else "identity": self.identity.value,
            "issuerRegexp" if self.issuer.is_regexp else "issuer": self.issuer.value,
        }

    def __str__(self) -> str:
        return f"{self.identity} (issuer {self.issuer})"


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Who made a signature, verified: a given key, or a certificate's identity; and what vouches for when."""

    keyid: str = ""
    identity: str = ""
    issuer: str = ""
    authority: str = ""
    """The name of the certificate's issuer."""
    entries: tuple[VerifiedEntry, ...] = ()
    times: tuple[VerifiedTime, ...] = ()

    @property
    def name(self) -> str:
        """The key's fingerprint, or the identity with its issuer."""
        return self.keyid or f"{self.identity} (issuer {self.issuer})"

    @property
    def where_and_when(self) -> str:
        """The log entries and the times, empty where there are none."""
        told = [f", log index {one.index} of {one.url}" for one in self.entries]
        moments = sorted(one.moment for one in self.times)
        told += [f", at {moments[0].strftime('%Y-%m-%dT%H:%M:%SZ')}"] if moments else []
        return "".join(told)

    def __str__(self) -> str:
        return self.name + self.where_and_when

    def to_json(self) -> dict[str, str]:
        """Return the signer as printed."""
        return {"keyid": self.keyid} if self.keyid else {"identity": self.identity, "issuer": self.issuer}

    def signature_to_json(self) -> dict[str, Any]:
        """Return it in sigstore-go's keys."""
        if self.keyid:
            return {"publicKeyId": self.keyid}
        return {
            "certificate": {
                "certificateIssuer": self.authority,
                "subjectAlternativeName": self.identity,
                "issuer": self.issuer,
            }
        }

    def entries_to_json(self) -> list[dict[str, Any]]:
        """Return the log entries as printed."""
        return [{"log": one.url, "logIndex": one.index} for one in self.entries]

    def times_to_json(self) -> list[dict[str, str]]:
        """Return the times in sigstore-go's keys."""
        return [
            {"type": one.source, "timestamp": one.moment.strftime("%Y-%m-%dT%H:%M:%SZ")} for one in self.times
        ]

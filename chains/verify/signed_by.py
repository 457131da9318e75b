"""Who made a signature, and what proves the time. Both are verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signers.sigstore.log_entry import Logged
    from signers.sigstore.verification_material import VerifiedTime


@dataclass(frozen=True, slots=True)
class SignedBy:
    """The verified signer, a trusted key or a certificate's identity, and the proofs of the time."""

    keyid: str = ""
    identity: str = ""
    issuer: str = ""
    authority: str = ""
    """The name of the certificate's issuer."""
    entries: tuple[Logged, ...] = ()
    times: tuple[VerifiedTime, ...] = ()
    certified_keyid: str = ""
    """The fingerprint of the certificate's key."""

    @property
    def name(self) -> str:
        """The key's fingerprint, or the identity with its issuer."""
        return self.keyid or f"{self.identity} (issuer {self.issuer})"

    @property
    def where_and_when(self) -> str:
        """The log entries and the times; empty if there are none."""
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

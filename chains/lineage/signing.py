"""Who signed a piece of evidence, as far as it can be checked: by whom we trust, and by whom we look for.

A keyid, a hint or a certificate that nobody verified is a claim, and is told as such. If the key itself is
given, its signature is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from chains.verify.criteria import CertificateWanted, Criteria
from chains.verify.material import Signing
from chains.verify.reasons import Result
from chains.verify.signature import judge
from signers.errors import FormatError
from signers.formats.bundle import Bundle
from signers.formats.dsse import Envelope, Signature, pae
from signers.formats.layer_annotations import CERTIFICATE_ANNOTATION
from signers.keys.known_signatures import known_made_by
from signers.keys.public_key import PublicKey, find_key
from storage.record import DSSE_FORMAT, SIMPLE_SIGNING_FORMAT, Evidence

if TYPE_CHECKING:
    from signers.sigstore.trusted_root import TrustedRoot


_WRONG = frozenset({Result.FAIL, Result.ERROR})


@dataclass(frozen=True, slots=True)
class Trust:
    """Who is trusted to sign, and the root for certificates, log entries and timestamps."""

    keys: Sequence[PublicKey] = ()
    certificate: CertificateWanted | None = None
    root: TrustedRoot | None = None

    @property
    def is_given(self) -> bool:
        """Whether anybody is trusted."""
        return bool(self.keys) or self.certificate is not None


@dataclass(frozen=True, slots=True)
class Searched:
    """Signers that are looked for: keys, key ids without their key, and identities of certificates."""

    keys: Sequence[PublicKey] = ()
    keyids: Sequence[str] = ()
    identities: Sequence[CertificateWanted] = ()


class Match(NamedTuple):
    """What was found of something that is looked for; ``is_claimed`` if it could not be checked."""

    text: str
    is_claimed: bool = False


@dataclass(slots=True)
class Signed:
    """What is known about the signatures of one piece of evidence.

    ``signer`` is who made one of them, if that was verified. ``moment`` is the earliest verified time.
    ``key`` and ``identity`` say which of the signers that are looked for it is. ``is_forged``: it names a key
    that is looked for, and that key did not sign it.
    """

    signer: str = ""
    moment: datetime | None = None
    key: Match | None = None
    identity: Match | None = None
    is_forged: bool = False

    @property
    def is_verified(self) -> bool:
        """Whether one of its signatures was verified."""
        return bool(self.signer)


@dataclass(frozen=True, slots=True)
class SignedBytes:
    """A piece of evidence, read: its ``envelope``, or None for the raw signature of an image."""

    signing: Signing
    envelope: Envelope | None
    names: tuple[str, ...] = field(default=())
    """Key ids and hints that it has."""


def read_signed(evidence: Evidence) -> SignedBytes | None:
    """Read a piece of evidence; None for a signature over a file, which is about no artifact by digest.

    Raises :class:`FormatError`.
    """
    if evidence.format == SIMPLE_SIGNING_FORMAT:
        one = (Signature("", evidence.signature),)
        return SignedBytes(Signing(evidence.data, one, None, None, evidence.data, evidence.annotations), None)
    bundle = Bundle.from_bytes(evidence.data) if evidence.is_bundle else None
    if bundle is None and evidence.format != DSSE_FORMAT:
        raise FormatError(f"unknown format {evidence.format[:40]!r}")
    content = bundle.content if bundle else Envelope.from_bytes(evidence.data)
    if not isinstance(content, Envelope):
        return None
    data = pae(content.payload_type, content.payload)
    signing = Signing(data, content.signatures, content, bundle, evidence.data, evidence.annotations)
    hints = (bundle.key_hint,) if bundle and bundle.key_hint else ()
    names = tuple(filter(None, (*(one.keyid for one in content.signatures), *hints)))
    return SignedBytes(signing, content, names)


def read_message(evidence: Evidence) -> Signing:
    """Read a bundle with a signature over a file, whose bytes are not there. Raises :class:`FormatError`."""
    return Signing(b"", (), None, Bundle.from_bytes(evidence.data), evidence.data, evidence.annotations)


class Judge:
    """Verifies signatures. ``now`` is the time of the question."""

    def __init__(self, trust: Trust, searched: Searched, now: datetime) -> None:
        self._root = trust.root
        self._now = now
        # a trusted key whose id is looked for is checked like a key that is looked for
        named = [key for key in trust.keys if key.keyid in searched.keyids]
        self._keys = tuple(dict.fromkeys((*searched.keys, *named)))
        self._keyids = frozenset(searched.keyids) - {key.keyid for key in self._keys}
        self._identities = tuple(searched.identities)
        self._trusted = (
            Criteria(keys=trust.keys, certificate=trust.certificate, trusted_root=trust.root)
            if trust.is_given
            else None
        )

    def judge(self, found: SignedBytes) -> Signed:
        """Return what is known about the signatures. Never raises because of evidence."""
        signed = Signed()
        if self._trusted is not None:
            self._verify(found.signing, self._trusted, signed)
        self._search_keys(found, signed)
        self._search_identities(found.signing, signed)
        return signed

    def claimed(self, message: Signing) -> str:
        """Return who made a signature over a file by its own claim, if it may be who is looked for."""
        hint = message.bundle.key_hint if message.bundle else None
        if hint == "" and (self._keys or self._keyids):
            return "a key that it does not name"
        if hint and (hint in self._keyids or find_key(self._keys, hint)):
            return hint
        return next(filter(None, (_stated(message, wanted) for wanted in self._identities)), "")

    def _verify(self, signing: Signing, criteria: Criteria, signed: Signed) -> bool:
        """Add signer and time if the criteria are met, and return whether they are."""
        judged = judge(signing, criteria, self._now)
        signed_by = judged.signed_by
        if signed_by is None or any(check.result in _WRONG for check in judged.checks):
            return False
        signed.signer = signed.signer or signed_by.name
        moments = [one.moment.astimezone(UTC) for one in signed_by.times]
        if signed.moment is not None:
            moments.append(signed.moment)
        signed.moment = min(moments, default=None)
        return True

    def _search_keys(self, found: SignedBytes, signed: Signed) -> None:
        for key in self._keys:
            if any(known_made_by(key, one.sig, found.signing.data) for one in found.signing.signatures):
                signed.key = Match(key.keyid)
                if self._root is not None:
                    # a log entry or timestamp that is wrong takes the time away, not the signature
                    criteria = Criteria(keys=[key], trusted_root=self._root)
                    self._verify(found.signing, criteria, signed)
                signed.signer = signed.signer or key.keyid
                return
        if any(find_key(self._keys, name) for name in found.names):
            signed.is_forged = True
        claimed = next((name for name in found.names if name in self._keyids), "")
        signed.key = Match(claimed, is_claimed=True) if claimed else None

    def _search_identities(self, signing: Signing, signed: Signed) -> None:
        for wanted in self._identities:
            if self._root is not None:
                criteria = Criteria(certificate=wanted, trusted_root=self._root)
                own = Signed()
                if self._verify(signing, criteria, own):
                    signed.identity = Match(own.signer)
                    signed.signer = signed.signer or own.signer
                    moments = [one for one in (signed.moment, own.moment) if one is not None]
                    signed.moment = min(moments, default=None)
                    return
            claimed = _stated(signing, wanted)
            if claimed:
                signed.identity = Match(claimed, is_claimed=True)
                return


def _stated(signing: Signing, wanted: CertificateWanted) -> str:
    """Return the identity that a certificate states, if it is the wanted one. Nothing is verified."""
    from cryptography import x509  # noqa: PLC0415 - keys alone need no certificates

    from signers.sigstore.certificate import UNREADABLE, stated_names  # noqa: PLC0415

    try:
        if signing.bundle is not None:
            leaves = [x509.load_der_x509_certificate(der) for der in signing.bundle.certificates[:1]]
        else:
            pem = signing.annotations.get(CERTIFICATE_ANNOTATION, "").encode()
            leaves = x509.load_pem_x509_certificates(pem)[:1] if pem else []
    except UNREADABLE:
        return ""
    for leaf in leaves:
        names, issuer = stated_names(leaf)
        for name in names:
            if wanted.identity.matches(name) and wanted.issuer.matches(issuer):
                return f"{name} (issuer {issuer})"
    return ""

"""Keys and identities: whom the index trusts, and what each of them signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chains.index.database import Place
from chains.index.query.answer import Answer, answered
from chains.index.query.detail.counts import SignerUse, signers
from chains.index.query.detail.trust import Trusted, TrustedKey, trusted_of
from chains.index.query.scope import View
from chains.index.query.state import IndexState, state_of
from chains.index.query.terms import Key, Query, Term, Word
from signers.errors import SignerError
from signers.keys.public_key import load_public_keys


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A trusted key by its fingerprint, with its use; ``use`` is None if it has signed nothing here."""

    keyid: str
    key: TrustedKey
    algorithm: str
    use: SignerUse | None


@dataclass(frozen=True, slots=True)
class Signers:
    """Everybody whose signatures verified, the last used first, and the keys that are trusted."""

    used: Sequence[SignerUse]
    keys: Sequence[KnownKey]
    trusted: Trusted
    state: IndexState


@dataclass(frozen=True, slots=True)
class Signer:
    """One signer; ``key`` is None for an identity, and for a key that is no longer trusted."""

    text: str
    key: KnownKey | None
    use: SignerUse | None
    answer: Answer


def signers_of(view: View) -> Signers:
    """Return the signers of an index."""
    used = signers(view)
    trusted = trusted_of(view)
    return Signers(used, _known(trusted, used), trusted, state_of(view))


def signer_of(
    view: View, place: Place, text: str, now: datetime, namespaces: Sequence[str] | None, cursor: str
) -> Signer:
    """Return one signer with the newest of what it signed."""
    found = signers_of(view)
    query = Query((Term(Key.SIGNER, Word(text)),))
    return Signer(
        text,
        next((one for one in found.keys if one.keyid == text), None),
        next((one for one in found.used if one.text == text), None),
        answered(place, view, query, now, cursor=cursor, namespaces=namespaces),
    )


def _known(trusted: Trusted, used: Sequence[SignerUse]) -> list[KnownKey]:
    by_text = {one.text: one for one in used}
    found = []
    for one in trusted.keys:
        try:
            keys = load_public_keys(one.pem.encode())
        except SignerError:
            continue
        found += [KnownKey(key.keyid, one, key.algorithm, by_text.get(key.keyid)) for key in keys]
    return found

"""Commands with which a reader checks evidence without this browser. Every value is quoted for a shell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final

from chains.index.query.detail.trust import Trusted
from chains.index.query.rows import Hit
from chains.statements.statement import SLSA_V02, SLSA_V1
from chains.text import plain
from chains.web.render.words import signer_words
from storage.redacted_url import shown

_COSIGN_TYPES: Final = {SLSA_V1: "slsaprovenance1", SLSA_V02: "slsaprovenance02"}
_IMAGE: Final = re.compile(r"[a-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9._-]+)+", re.ASCII)
KEY_FILE: Final = "signer.pub"


@dataclass(frozen=True, slots=True)
class Command:
    """A command and what it does."""

    label: str
    text: str


def commands_for(name: str, digest: str, hit: Hit, trusted: Trusted, stores: Sequence[str]) -> list[Command]:
    """Return the commands that check an artifact, with the key or identity that confirmed it."""
    who = _trust(hit.signer)
    is_image = bool(_IMAGE.fullmatch(name))
    target = f"{name}@{digest}" if is_image else digest
    places = "".join(f" --store {_word(shown(url))}" for url in stores)
    root = " --trusted-root trusted_root.json" if trusted.rest.get("trustedRoot") or "identity" in who else ""
    found = [Command("Verify with chains", f"chains verify {_word(target)}{who}{root}{places}")]
    if is_image:
        log = "" if root else " --insecure-ignore-tlog=true"
        kind = _COSIGN_TYPES.get(hit.predicate, hit.predicate)
        found.append(
            Command(
                "Verify with cosign, from the registry",
                f"cosign verify-attestation{who}{root}{log} --type {_word(kind)} {_word(target)}",
            )
        )
    found.append(
        Command("Keep evidence and keys to verify offline", f"chains export pack {_word(target)}{places}")
    )
    return found


def _trust(signer: str) -> str:
    if not signer:
        return f" --key {KEY_FILE}"
    kind, who, issuer = signer_words(signer)
    if kind == "key":
        return f" --key {KEY_FILE}"
    return f" --certificate-identity {_word(who)} --certificate-oidc-issuer {_word(issuer)}"


def _word(text: str) -> str:
    """Return a word of a command, with invisible characters escaped so that they hide nothing."""
    return quote(plain(text))

"""Whom ``verify`` trusts and where it looks: what its options say, never what lies in the folder it runs in.

The key and the layout of ``.chains/`` count for run files in the working folder alone: whoever made the
folder could have put them there. An image or a digest is looked for where the options or its own name say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chains.assembly.workspace import LAYOUT, own_layout, own_public_key
from chains.cli.arguments import Options
from chains.errors import UsageError
from chains.terminal import say
from chains.verify.criteria import CertificateWanted, Missing
from chains.verify.targets import DigestTarget, FileTarget, ParsedTarget, TagTarget

_REGISTRY = "oci:"
_SIGNER = (
    "pass --key PUB, or --certificate-identity with --certificate-oidc-issuer and --trusted-root; the key of "
    ".chains/ counts for run files in this folder alone"
)
_IDENTITY = (
    "certificate_identity",
    "certificate_identity_regexp",
    "certificate_oidc_issuer",
    "certificate_oidc_issuer_regexp",
)


OPTIONS = {
    Missing.SIGNER: "pass --key PUB, or --certificate-identity with --certificate-oidc-issuer",
    Missing.ISSUER: (
        "pass --certificate-identity or --certificate-identity-regexp with --certificate-oidc-issuer or "
        "--certificate-oidc-issuer-regexp"
    ),
    Missing.TRUSTED_ROOT: "pass --trusted-root FILE",
    Missing.STORE: "pass --store URL",
    Missing.BUNDLE: "--blob names the file that a bundle is about",
    Missing.WHOSE_RUN: (
        "add --namespace NAME, --task-ref or --pipeline-ref RESOLVER@DIGEST, --source URI or --builder-id URI"
    ),
}
"""The options that give what a question lacks."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whom to trust: references of keys, certificates, or both."""

    keys: Sequence[str] = ()
    certificate: CertificateWanted | None = None


def whom_to_trust(options: Options, targets: Sequence[ParsedTarget]) -> Trusted:
    """Return whom the options name, or this folder's key where they name nobody and all targets are its own.

    Keys and identities answer one question. Where an option answers it, the environment adds nobody. Raises
    :class:`UsageError` when nobody is named, before anything is opened.
    """
    named = _named(options)
    if named.keys or named.certificate:
        return named
    for target in targets:
        if not _is_own(target):
            raise UsageError(f"{_what(target)}: nobody to trust: {_SIGNER}")
    return Trusted([trust_own_key()])


def trust_own_key() -> str:
    """Return the path of this folder's public key, and tell that it counts.

    Raises :class:`UsageError` where there is none.
    """
    path = own_public_key()
    say(f"trusting {path}")
    return path


def _named(options: Options) -> Trusted:
    by_option = options.given
    values = {name: getattr(options, name) for name in _IDENTITY}
    keys = options.key or []
    has_identity = not by_option.isdisjoint(_IDENTITY)
    if "key" in by_option and not has_identity:
        values = dict.fromkeys(values)
    elif has_identity and "key" not in by_option:
        keys = []
    for exact, regexp in (_IDENTITY[:2], _IDENTITY[2:]):
        # the spelling of the command line takes the place of the environment's
        for this, other in ((exact, regexp), (regexp, exact)):
            if this in by_option and other not in by_option:
                values[other] = None
        if values[exact] is not None and values[regexp] is not None:
            words = [f"--{name.replace('_', '-')}" for name in (exact, regexp)]
            raise UsageError(f"pass one of {words[0]} and {words[1]}, not both")
    return Trusted(keys, CertificateWanted.from_options(*values.values()))


def where_to_look(options: Options, target: ParsedTarget) -> list[str]:
    """Return the URLs of the stores to look in for one target, none for a file of evidence.

    Without ``--store`` an image is looked for in its registry, a run file of this folder in its layout.
    Raises :class:`UsageError` where nothing says where to look.
    """
    if isinstance(target, FileTarget) and target.kind != "run":
        return list(options.store or ())
    if options.store:
        return list(options.store)
    if isinstance(target, TagTarget) or (isinstance(target, DigestTarget) and target.reference):
        return [_REGISTRY]
    if _is_own(target) and own_layout():
        return [LAYOUT]
    raise UsageError(f"{_what(target)}: no store to look for evidence in: pass --store URL")


def _is_own(target: ParsedTarget) -> bool:
    return isinstance(target, FileTarget) and target.kind == "run" and target.is_in(Path())


def _what(target: ParsedTarget) -> str:
    if isinstance(target, FileTarget) and target.kind == "run":
        return target.ref if target.is_in(Path()) else f"{target.ref} is not in this folder"
    return target.ref

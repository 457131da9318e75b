"""The keys that ``verify`` trusts and the stores that it searches.

The options decide, never a file in the working folder. The key and the layout of ``.chains/`` apply only to
run files in the working folder, because the author of the folder can put them there. For an image or a
digest, the options or its own name say where to search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chains.assembly.workspace import LAYOUT, PUBLIC_KEY, own_layout, own_public_key
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
    """The trusted signers: references of keys, a certificate identity, or both."""

    keys: Sequence[str] = ()
    certificate: CertificateWanted | None = None


def whom_to_trust(options: Options, targets: Sequence[ParsedTarget]) -> Trusted:
    """Return the signers that the options name.

    If they name none and all targets are run files of this folder, return the key of this folder. Keys and
    identities answer the same question: if an option gives one of them, the environment variable of the other
    is ignored, so that it cannot widen the trust. Raises :class:`UsageError` if there is no signer, before
    anything is opened.
    """
    named = named_signers(options)
    if named.keys or named.certificate:
        return named
    for target in targets:
        if not _is_own(target):
            raise UsageError(f"{_what(target)}: nobody to trust: {_SIGNER}")
    return Trusted([trust_own_key()])


def names_somebody(options: Options, targets: Sequence[ParsedTarget]) -> bool:
    """Whether :func:`whom_to_trust` finds a signer: by an option, or this folder's key for its run files.

    Raises :class:`UsageError` for options that contradict each other.
    """
    named = named_signers(options)
    if named.keys or named.certificate:
        return True
    return bool(targets) and all(map(_is_own, targets)) and PUBLIC_KEY.is_file()


def trust_own_key() -> str:
    """Return the path of this folder's public key, and write that it is trusted.

    Raises :class:`UsageError` if there is none.
    """
    path = own_public_key()
    say(f"trusting {path}")
    return path


def named_signers(options: Options) -> Trusted:
    """Return the signers that the options name, which may be none. Raises :class:`UsageError`."""
    by_option = options.given
    values = {name: getattr(options, name) for name in _IDENTITY}
    keys = options.key or []
    has_identity = not by_option.isdisjoint(_IDENTITY)
    if "key" in by_option and not has_identity:
        values = dict.fromkeys(values)
    elif has_identity and "key" not in by_option:
        keys = []
    for exact, regexp in (_IDENTITY[:2], _IDENTITY[2:]):
        # an option for one spelling also replaces the environment variable of the other spelling
        for this, other in ((exact, regexp), (regexp, exact)):
            if this in by_option and other not in by_option:
                values[other] = None
        if values[exact] is not None and values[regexp] is not None:
            words = [f"--{name.replace('_', '-')}" for name in (exact, regexp)]
            raise UsageError(f"pass one of {words[0]} and {words[1]}, not both")
    return Trusted(keys, CertificateWanted.from_options(*values.values()))


def where_to_look(options: Options, target: ParsedTarget) -> list[str]:
    """Return the URLs of the stores to search for one target; a bundle file needs none.

    Without ``--store``, that is the registry of an image, or the layout of this folder for its run files.
    Raises :class:`UsageError` if there is no store.
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

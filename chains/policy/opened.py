"""A policy with its keys and trusted root opened: what evidence is verified with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.config.parse import Config
from chains.documents.load import read_bytes
from chains.errors import UsageError
from chains.policy.document.policy import KeyWanted, Policy, SignerWanted
from chains.policy.rules import Rules, compile_rules
from chains.revocation.revocations import Revocations, all_of
from chains.statements.statement import SCAI
from chains.statements.vsa import VSA
from chains.verify.criteria import PROVENANCE_TYPES, Criteria
from signers.errors import SignerError
from signers.keys.keyset import KeyStatus, ListedKey
from signers.keys.public_key import PublicKey


@dataclass(frozen=True, slots=True)
class OpenedSigner:
    """A signer of a policy, and the criteria that its evidence is verified with."""

    wanted: SignerWanted
    criteria: Criteria


_NOTHING_REVOKED = Revocations()


@dataclass(frozen=True, slots=True)
class OpenedPolicy:
    """A policy that can decide. ``trust`` has a signer for each trust entry, in their order."""

    policy: Policy
    trust: tuple[OpenedSigner, ...]
    by_type: dict[str, OpenedSigner]
    """The signers of predicate types that have their own."""
    rules: Rules
    trust_digests: tuple[str, ...]
    """What is trusted, for keys of caches: id, status and times of each key, digest of the trusted root, of
    which signer has which keys if there are several, and of what is revoked."""
    accept: tuple[OpenedSigner, ...] = ()
    """A signer for each accepted verifier, in their order; it signs summaries, and nothing else counts."""
    revocations: Revocations = _NOTHING_REVOKED
    """What no longer counts: by the policy's own list, and by those that were given with it."""

    @property
    def signers(self) -> list[OpenedSigner]:
        """Every signer once."""
        found: list[OpenedSigner] = []
        for signer in (*self.trust, *self.by_type.values()):
            if all(signer is not other for other in found):
                found.append(signer)
        return found


def open_policy(
    policy: Policy,
    config: Config | None = None,
    *,
    revocations: Revocations = _NOTHING_REVOKED,
    state: str | Path = "",
) -> OpenedPolicy:
    """Open the keys and the trusted root of a policy, read its revocation list and compile its rules.

    ``revocations`` count beside the policy's own list. ``state`` is the file that remembers the version of
    that list, as for :func:`chains.assembly.revocations.open_revocations`.
    Raises :class:`UsageError` for a key or root that cannot be read, and
    :class:`chains.policy.document.load.PolicyError` for a rule that does not compile.
    """
    root, root_digest = None, ""
    if policy.trusted_root:
        path = located(policy.trusted_root, policy)
        root = open_trusted_root(path)
        root_digest = "sha256:" + hashlib.sha256(read_bytes(Path(path))).hexdigest()
    types = tuple(dict.fromkeys((*PROVENANCE_TYPES, SCAI, *policy.require.predicates, *policy.signers)))
    opened: list[OpenedSigner] = []

    def signer_of(wanted: SignerWanted, types: tuple[str, ...] = types) -> OpenedSigner:
        for known in opened:
            if known.wanted == wanted and known.criteria.predicate_types == types:
                return known
        keys = _keys(wanted.keys, policy, config)
        criteria = Criteria(
            keys=[one.key for one in keys],
            windows={one.key.keyid: one for one in keys if one != ListedKey(one.key)},
            certificate=wanted.identity,
            trusted_root=root,
            predicate_types=types,
        )
        opened.append(OpenedSigner(wanted, criteria))
        return opened[-1]

    trust = tuple(signer_of(entry.signer) for entry in policy.trust)
    by_type = {name: signer_of(wanted) for name, wanted in policy.signers.items()}
    accept = tuple(signer_of(entry.signer, (VSA,)) for entry in policy.accept)
    trusted = sorted({told for signer in opened for told in _told(signer.criteria)})
    revoked = all_of(revocations, _own_revocations(policy, config, state))
    whose = [_whose(opened)] if len(opened) > 1 else []
    digests = (*trusted, root_digest, *whose, *([revoked.digest] if revoked.is_configured else []))
    return OpenedPolicy(policy, trust, by_type, compile_rules(policy), digests, accept, revoked)


def _own_revocations(policy: Policy, config: Config | None, state: str | Path) -> Revocations:
    wanted = policy.revocations
    if wanted is None:
        return _NOTHING_REVOKED
    from chains.assembly.revocations import read_list  # noqa: PLC0415 - needed with a list alone

    keys = _keys(wanted.keys, policy, config)
    return read_list(located(wanted.path, policy), keys, state=state, minimum=wanted.minimum)


def _whose(signers: Sequence[OpenedSigner]) -> str:
    """Return a digest of which signer has which keys: one may lose a key that another one still has."""
    told = [sorted(_told(one.criteria)) for one in signers]
    return "sha256:" + hashlib.sha256(repr(told).encode()).hexdigest()


def _told(criteria: Criteria) -> list[str]:
    """Return a text for each key, with its status and times: a key set changes while its policy does not."""
    found = []
    for key in criteria.keys:
        listed = criteria.windows.get(key.keyid, ListedKey(key))
        times = (moment.isoformat() if moment else "" for moment in (listed.not_before, listed.not_after))
        found.append(" ".join((key.keyid, listed.status.value, *times)).rstrip())
    return found


def _keys(wanted: Sequence[KeyWanted], policy: Policy, config: Config | None) -> list[ListedKey]:
    found: dict[str, ListedKey] = {}
    for key in wanted:
        for one in _read_key(key, policy, config):
            narrowed = _narrowed(one, key)
            if found.setdefault(narrowed.key.keyid, narrowed) != narrowed:
                raise UsageError(
                    f"policy {policy.name}: key {narrowed.key.keyid} is listed twice for one signer, with "
                    "other times or another status; leave one out"
                )
    return list(found.values())


def _read_key(key: KeyWanted, policy: Policy, config: Config | None) -> list[ListedKey]:
    if key.ref:
        try:
            return open_listed_keys([located(key.ref, policy)], config)
        except UsageError as error:
            raise UsageError(f"policy {policy.name}: {error}") from error
    try:
        return [ListedKey(PublicKey.from_pem(key.pem.encode()))]
    except (SignerError, ValueError) as error:
        raise UsageError(f"policy {policy.name}: a key in pem: {error}") from error


def located(reference: str, policy: Policy) -> str:
    """Return a reference as the program opens it: a relative file lies beside the policy."""
    if "://" in reference or not policy.folder:
        return reference
    return str(Path(policy.folder) / reference)


def _narrowed(one: ListedKey, wanted: KeyWanted) -> ListedKey:
    """Return the key with the narrower of both windows: that of its key set and that of the policy."""
    if one.status is KeyStatus.REVOKED or (wanted.not_before is None and wanted.not_after is None):
        return one
    begins = [moment for moment in (one.not_before, wanted.not_before) if moment is not None]
    ends = [moment for moment in (one.not_after, wanted.not_after) if moment is not None]
    return ListedKey(one.key, max(begins, default=None), min(ends, default=None), one.status)


Opener = Callable[[Policy], OpenedPolicy]
"""Opens a policy: :func:`open_policy` with a configuration, or what a test puts in its place."""

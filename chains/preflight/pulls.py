"""The credentials of pods: what they show where those of the stores are refused or show nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from chains.assembly.pull_secrets import Pulled, PullSecrets
from chains.assembly.registry_secrets import sibling
from chains.errors import UsageError
from chains.policy.reasons import PolicyReason
from chains.policy.verdict import PolicyVerdict
from chains.preflight.answer import reason_of
from chains.tekton.workloads import Puller
from chains.verify.targets import TagResolver
from chains.verify.verdict import Verdict
from storage.base import Store
from storage.errors import StoreError
from storage.formats.reference import Repository
from storage.oci.tokens import Keychain

MOST_PULLERS = 4
"""Pods with different pull secrets whose credentials are tried for one image of a namespace."""


@dataclass(frozen=True, slots=True)
class Pulls:
    """Finds the credentials of pods. ``tags`` returns the resolver of tags that uses some."""

    secrets: PullSecrets
    tags: Callable[[Keychain], TagResolver]

    async def each(self, repository: Repository, pullers: Iterable[Puller]) -> AsyncIterator[Pulled]:
        """Yield the credentials of some pods for a repository, equal ones once."""
        seen: set[str] = set()
        for puller in islice(pullers, MOST_PULLERS):
            found = await self.secrets.find(puller, repository)
            if found is not None and found.identity not in seen:
                seen.add(found.identity)
                yield found

    async def digest(self, reference: str, repository: Repository, pullers: Iterable[Puller]) -> str:
        """Return the digest of a tag, empty if no credentials show it."""
        async for pulled in self.each(repository, pullers):
            with suppress(StoreError, UsageError):
                return await self.tags(pulled.keychain).resolve(reference)
        return ""


def with_credentials(stores: Sequence[Store], pulled: Pulled) -> list[Store]:
    """Return the stores with the credentials of a pod."""
    return [sibling(store, pulled.keychain) for store in stores]


def is_hidden(verdict: PolicyVerdict) -> bool:
    """Whether other credentials may show more: nothing is there, or the registry refuses."""
    is_refused = reason_of(verdict) == PolicyReason.STORE_REJECTED.value
    return verdict.verdict is Verdict.NOT_FOUND or (verdict.verdict is Verdict.INDETERMINATE and is_refused)

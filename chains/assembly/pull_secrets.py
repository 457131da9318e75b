"""Registry credentials of pods: those of their pull secrets, read when they are needed and kept for seconds.

The owner of a namespace chooses the names, writes the Secrets, and can ask as often as it likes. So what is
read, kept and tried is bounded, for each namespace and in all. What cannot be read is left out, and told in
the log. A credential says nothing about the Secret that it is from: answers are shared by all who have the
same credentials.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Any

from cachetools import TTLCache

from chains.assembly.registry_secrets import (
    RegistrySecret,
    names_of,
    own_candidates,
    read_object,
    read_secret,
    unusable,
)
from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError
from chains.tekton.workloads import MOST_PULL_SECRETS, Puller
from chains.text import told
from storage.formats.reference import Repository
from storage.limits.single_flight import InFlight
from storage.oci.docker_config import Credential, matching_entries, registry_of
from storage.oci.tokens import Keychain

SECONDS = 5.0
"""For how long a Secret is kept, or that there is none, and again what was chosen from it."""
MOST_KEPT = 32 << 20
"""Characters of Secrets that are kept."""
MOST_FOUND = 64
"""Pods and repositories of one namespace that credentials are being looked for."""
MOST_READ, MOST_OF_NAMESPACE, AT_ONCE = 256, 32, 16
"""Objects that are read or wait for it, those of one namespace, and those read at the same time."""
MOST_ENTRIES, MOST_GLOBS, _MOST_WILD = 200, 5, 8
"""Entries of one Secret that are read, those with globs among them, and signs of a glob in one."""
MOST_COMPARED, MOST_TRIED = 40, 10
"""Entries of all Secrets that are compared with an image's repository, and credentials that are tried."""
LONGEST = 16 * 1024
"""Characters of a credential. Servers of HTTP refuse longer headers."""
_MOST_MATCHES = 8 << 20
"""Characters of credentials, already chosen for a repository, that are kept."""
_OVERHEAD = 500
_LONGEST_NAME = 253
_OWN = "the docker configuration"
_GRANT = "the account may not read it; the overlay admission-pull-secrets shows how to grant it"
_TELL_SECONDS, _MOST_TOLD = 600.0, 1000
_log = logging.getLogger("chains.pull_secrets")


class Outcome(StrEnum):
    """What became of one look at a Secret or a service account."""

    READ = "read"
    FORBIDDEN = "forbidden"
    UNUSABLE = "unusable"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class Pulled:
    """The credentials of a pod for one repository. Equal ones have the same ``identity``.

    The identity is a keyed hash: whoever sees it cannot try passwords with it.
    """

    identity: str
    keychain: PullKeychain


class PullSecrets:
    """Finds the credentials of pods. Use from one event loop.

    ``own`` are the process' own credentials, which are tried after those of a pod. Processes with the same
    ``key`` give the same credentials the same identity. ``count`` is called with each outcome. ``clock``
    returns seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        own: Keychain,
        *,
        key: bytes = b"",
        count: Callable[[Outcome], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._own, self._count = cluster, own, count
        self._key = key or os.urandom(32)
        self._objects: TTLCache[tuple[str, str, str], _Found] = TTLCache(MOST_KEPT, SECONDS, clock, _size)
        self._matches: TTLCache[tuple[Puller, Repository], Pulled | None] = TTLCache(
            _MOST_MATCHES, SECONDS, clock, lambda found: _OVERHEAD + (found.keychain.length if found else 0)
        )
        self._reads: InFlight[tuple[str, str, str], _Found] = InFlight()
        self._of_namespace: Counter[str] = Counter()
        self._finding: InFlight[tuple[Puller, Repository], Pulled | None] = InFlight()
        self._finders: Counter[str] = Counter()
        self._places, self._comparing = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(1)
        self._told: TTLCache[tuple[str, str], bool] = TTLCache(_MOST_TOLD, _TELL_SECONDS, clock)

    async def find(self, puller: Puller, repository: Repository) -> Pulled | None:
        """Return the credentials of a pod for one repository, None where it has none.

        Never raises for what the cluster holds or answers.
        """
        key = (puller, repository)
        # asked once: an entry may expire between two questions
        kept = self._matches.get(key, _ABSENT)
        if not isinstance(kept, _Absent):
            return kept
        if key not in self._finding:
            if self._finders[puller.namespace] >= MOST_FOUND:
                self._count(Outcome.LEFT_OUT)
                return None
            self._finders[puller.namespace] += 1
        return await self._finding.run(key, lambda: self._found(puller, repository))

    async def _found(self, puller: Puller, repository: Repository) -> Pulled | None:
        try:
            return await self._compared(puller, repository)
        finally:
            _less(self._finders, puller.namespace)

    async def _compared(self, puller: Puller, repository: Repository) -> Pulled | None:
        names = puller.secrets
        seen: list[_Found] = []
        if puller.account:
            account = await self._object(puller.namespace, "serviceaccounts", puller.account)
            names = account if isinstance(account, tuple) else ()
            seen.append(account)
        unique = dict.fromkeys(names[:MOST_PULL_SECRETS])
        found = await asyncio.gather(*(self._object(puller.namespace, "secrets", name) for name in unique))
        async with self._comparing:
            # a pod may name a thousand repositories: what is compared for all of them is no work at one go
            await asyncio.sleep(0)
            chosen = _chosen([one for one in found if isinstance(one, _Entries)], repository)
        credentials = [replace(one, source=f"pull secret {number}") for number, one in enumerate(chosen, 1)]
        pulled = None
        if credentials:
            keychain = PullKeychain(repository, credentials, self._own)
            pulled = Pulled(self._identity(repository, credentials), keychain)
        if not any(isinstance(one, Credential) and one.transient for one in (*seen, *found)):
            self._matches[puller, repository] = pulled
        return pulled

    def _identity(self, repository: Repository, credentials: Sequence[Credential]) -> str:
        made = hmac.new(self._key, digestmod="sha256")
        for part in (str(repository), *(part for one in credentials for part in _content(one))):
            written = part.encode(errors="surrogatepass")
            made.update(len(written).to_bytes(8) + written)
        return made.hexdigest()

    async def _object(self, namespace: str, plural: str, name: str) -> _Found:
        key = (namespace, plural, name)
        kept = self._objects.get(key)
        if kept is not None:
            return kept
        if key not in self._reads:
            if len(self._reads) >= MOST_READ or self._of_namespace[namespace] >= MOST_OF_NAMESPACE:
                late = Credential("", unusable="too many others are being read", transient=True)
                return self._told_about(key, late, Outcome.LEFT_OUT)
            self._of_namespace[namespace] += 1
        return await self._reads.run(key, lambda: self._read(key))

    async def _read(self, key: tuple[str, str, str]) -> _Found:
        namespace, plural, name = key
        try:
            async with self._places:
                found = await self._got(namespace, plural, name)
        finally:
            _less(self._of_namespace, namespace)
        if isinstance(found, _Entries) and found.left_out:
            why = f"{found.left_out} of its entries are left out: too many, or globs of too many signs"
            self._told_about(key, Credential("", unusable=why), Outcome.LEFT_OUT)
        elif isinstance(found, Credential):
            self._told_about(key, found, Outcome.FORBIDDEN if found.unusable == _GRANT else Outcome.UNUSABLE)
        else:
            self._count(Outcome.READ)
        if not (isinstance(found, Credential) and found.transient):
            self._objects[key] = found
        return found

    async def _got(self, namespace: str, plural: str, name: str) -> _Found:
        if plural == "secrets":
            found = await read_secret(self._cluster, namespace, name, "", _GRANT)
            return _Entries.of(found) if isinstance(found, RegistrySecret) else found
        try:
            raw = await read_object(self._cluster, namespace, plural, name)
        except (ClusterError, ValueError) as error:
            return unusable("", error, _GRANT)
        named = [one for one in names_of(raw.get("imagePullSecrets")) if len(one) <= _LONGEST_NAME]
        return tuple(named[:MOST_PULL_SECRETS])

    def _told_about(self, key: tuple[str, str, str], found: Credential, outcome: Outcome) -> Credential:
        """Count what cannot be used, and say why in the log, once in a while."""
        self._count(outcome)
        namespace, plural, name = key
        place = f"{plural}/{name[:253]}"
        if (namespace[:63] + place, found.unusable) not in self._told:
            self._told[namespace[:63] + place, found.unusable] = True
            _log.warning(
                "images are looked at without a pull secret",
                extra={
                    "namespace": told(namespace[:63]),
                    "object": told(place),
                    "reason": told(found.unusable),
                },
            )
        return found


class _Absent:
    """Stands for an entry that is not there, where None is one."""


_ABSENT = _Absent()


class PullKeychain:
    """The credentials of a pod for the repository of its image, then the process' own.

    Other repositories get the process' own alone: an administrator chose where else evidence is kept.
    """

    def __init__(self, repository: Repository, credentials: Sequence[Credential], own: Keychain) -> None:
        self._repository, self._credentials, self._own = repository, credentials, own
        self.length = sum(map(_length, credentials))
        """Characters that it holds."""

    async def candidates(self, repository: Repository, *, again: bool = False) -> Sequence[Credential]:
        """Return the credentials for ``repository`` in the order in which to try them."""
        if repository != self._repository:
            return await self._own.candidates(repository, again=again)
        return [*self._credentials, *await own_candidates(self._own, repository, _OWN, again=again)]


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of a Secret by the registry that they name, and those with globs."""

    by_registry: Mapping[str, Mapping[str, Any]] = field(repr=False)
    globs: Mapping[str, Any] = field(repr=False)
    left_out: int
    size: int

    @classmethod
    def of(cls, secret: RegistrySecret) -> _Entries:
        by_registry: dict[str, dict[str, Any]] = {}
        globs: dict[str, Any] = {}
        taken = 0
        for key, entry in islice(secret.auths.items(), MOST_ENTRIES):
            registry = registry_of(key)
            if registry:
                by_registry.setdefault(registry, {})[key] = entry
            elif len(globs) < MOST_GLOBS and sum(key.count(sign) for sign in "*?[") <= _MOST_WILD:
                globs[key] = entry
            else:
                continue
            taken += 1
        return cls(by_registry, globs, len(secret.auths) - taken, secret.size)


_Found = _Entries | Credential | tuple[str, ...]
"""The entries of a Secret, the names that an account has, or why there is neither."""


def _chosen(secrets: Sequence[_Entries], repository: Repository) -> list[Credential]:
    """Return the usable credentials for a repository, each once, in the order in which to try them."""
    chosen: dict[tuple[str, str, str, str], Credential] = {}
    left = MOST_COMPARED
    for secret in secrets:
        own = secret.by_registry.get(registry_of(repository.registry), {})
        compared = dict(islice({**own, **secret.globs}.items(), left))
        left -= len(compared)
        for one in matching_entries(compared, repository, ""):
            if not one.unusable and _length(one) <= LONGEST and len(chosen) < MOST_TRIED:
                chosen.setdefault(_content(one), one)
    return list(chosen.values())


def _size(found: _Found) -> int:
    return _OVERHEAD + (found.size if isinstance(found, _Entries) else 0)


def _less(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _content(one: Credential) -> tuple[str, str, str, str]:
    return one.username, one.password, one.identity_token, one.registry_token


def _length(one: Credential) -> int:
    return sum(map(len, _content(one)))

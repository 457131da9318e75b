"""Registry credentials of a run: those of its own service account, then the controller's own.

As in Tekton Chains v0.29 (``pkg/chains/storage/oci``, ``k8schain`` with mounted secrets), the run's account
names Secrets of type ``kubernetes.io/dockerconfigjson`` or ``kubernetes.io/dockercfg`` in ``secrets`` and
``imagePullSecrets``. Unlike there, the pull secrets of the run's pod template are added after those, every
matching entry is tried and not only the first, and a Secret that cannot be read or used is reported and
skipped.

Secrets are read when a registry first asks for credentials, or refuses or hides something without asking.
They are then used for the account until they expire.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cachetools import LRUCache

from chains.assembly.registry_secrets import (
    RegistrySecret,
    names_of,
    own_candidates,
    read_object,
    read_secret,
    sibling,
    unusable,
)
from chains.attest.stores import Stores
from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError
from chains.tekton.snapshot import RunSnapshot
from storage.formats.reference import Repository
from storage.limits.single_flight import InFlight
from storage.oci.docker_config import Credential, DockerCredentials, matching_entries
from storage.oci.store import RegistryStore
from storage.oci.tokens import Keychain

LIFE = 300.0
"""Seconds for which the credentials of an account are used. A refusal ends them sooner."""
SHORTEST_LIFE = 0.25
"""Seconds for which they are used in any case, so that several refusals cause one read."""
MOST_SECRETS = 32
"""Secrets that are read for one account, at most."""
MOST_ACCOUNTS = 256
"""Accounts that are remembered, those used last."""
_OWN = "the controller's own docker configuration"
_GRANT = "the controller's account may not read it; the overlay tenant-credentials grants it"


@dataclass(frozen=True, slots=True)
class Account:
    """The service account of a run; ``pull_secrets`` are those of its pod template."""

    namespace: str
    name: str
    pull_secrets: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"service account {self.namespace}/{self.name[:100]}"


@dataclass(frozen=True, slots=True)
class _Reading:
    """The secrets of an account. One that cannot be used is a :class:`Credential` that says why."""

    found: tuple[RegistrySecret | Credential, ...]
    at: float

    @property
    def is_whole(self) -> bool:
        return not any(isinstance(each, Credential) and each.transient for each in self.found)


def account_of(run: RunSnapshot) -> Account:
    """Return the account of a TaskRun, or that of a PipelineRun's ``taskRunTemplate``."""
    spec = run.spec
    if run.kind == "PipelineRun":
        spec = spec.get("taskRunTemplate") or {}
    template = spec.get("podTemplate") or {}
    return Account(
        run.namespace,
        str(spec.get("serviceAccountName") or "default"),
        tuple(names_of(template.get("imagePullSecrets"))),
    )


class AccountKeychain:
    """The credentials for the runs of one account, read when they are first needed."""

    def __init__(self, cluster: Cluster, account: Account, own: Keychain) -> None:
        self._cluster, self._account, self._own = cluster, account, own
        self._reading: _Reading | None = None
        self._reads: InFlight[str, _Reading] = InFlight()

    async def candidates(self, repository: Repository, *, again: bool = False) -> Sequence[Credential]:
        """Return the account's credentials for ``repository`` and then the controller's own."""
        reading, age = self._reading, LIFE
        if reading is not None:
            age = time.monotonic() - reading.at
        if reading is None or age >= (SHORTEST_LIFE if again or not reading.is_whole else LIFE):
            reading = await self._reads.run("", self._read)
            self._reading = reading
        found: list[Credential] = []
        for each in reading.found:
            if isinstance(each, Credential):
                found.append(each)
            else:
                none = Credential(each.where, unusable=f"has no entry for {repository.registry}")
                found += matching_entries(each.auths, repository, each.where) or [none]
        return [*found, *await own_candidates(self._own, repository, _OWN, again=again)]

    async def _read(self) -> _Reading:
        at = time.monotonic()
        account, named, told = self._account, [], []
        try:
            raw = await read_object(self._cluster, account.namespace, "serviceaccounts", account.name)
            named = [*names_of(raw.get("secrets")), *names_of(raw.get("imagePullSecrets"))]
            if not named:
                told.append(Credential(str(account), unusable="names no secrets"))
        except (ClusterError, ValueError) as error:
            told.append(unusable(str(account), error, _GRANT))
        wanted = [(name, str(account)) for name in named]
        wanted += [(name, "the run's pod template") for name in account.pull_secrets]
        unique = dict(reversed(wanted))  # if two places name a secret, the first one is reported
        names = list(dict.fromkeys(name for name, _ in wanted))
        if len(names) > MOST_SECRETS:
            told.append(
                Credential(str(account), unusable=f"only {MOST_SECRETS} of {len(names)} secrets are read")
            )
        read = [self._secret(name, unique[name]) for name in names[:MOST_SECRETS]]
        return _Reading((*told, *await asyncio.gather(*read)), at)

    async def _secret(self, name: str, of: str) -> RegistrySecret | Credential:
        where = f"secret {name[:100]} of {of}"
        return await read_secret(self._cluster, self._account.namespace, name, where, _GRANT)


class AccountStores:
    """The stores of a configuration with the credentials of each account, opened when first used.

    They share the connections of ``stores``, which closes them. If none of those is a registry, all accounts
    have the same stores.
    """

    def __init__(self, cluster: Cluster, stores: Stores, own: Keychain | None = None) -> None:
        self._cluster, self._stores = cluster, stores
        self._own = own or DockerCredentials()
        self._opened: LRUCache[Account, Stores] = LRUCache(MOST_ACCOUNTS)  # a run in work keeps its own
        self._needed = any(isinstance(store, RegistryStore) for store in stores.all)

    def stores_for(self, run: RunSnapshot) -> Stores:
        """Return the stores to put a run's evidence into."""
        if not self._needed:
            return self._stores
        account = account_of(run)
        stores = self._opened.get(account)
        if stores is None:
            keychain = AccountKeychain(self._cluster, account, self._own)
            stores = self._stores.exchanged(lambda store: sibling(store, keychain))
            self._opened[account] = stores
        return stores

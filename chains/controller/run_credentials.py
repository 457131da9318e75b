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
import base64
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cachetools import LRUCache

from chains.attest.stores import Stores
from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ClusterForbidden, ClusterUnavailable, ObjectGone
from chains.tekton.snapshot import RunSnapshot
from storage import lean_json
from storage.base import Store
from storage.errors import StoreError, StoreUnavailable
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
_GRANT = "the overlay tenant-credentials grants it"
_KEYS = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}
# a name becomes part of a path of the API, and a tenant chooses the names in a run's spec
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Account:
    """The service account of a run; ``pull_secrets`` are those of its pod template."""

    namespace: str
    name: str
    pull_secrets: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"service account {self.namespace}/{self.name[:100]}"


@dataclass(frozen=True, slots=True)
class _Secret:
    where: str
    auths: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The secrets of an account. One that cannot be used is a :class:`Credential` that says why."""

    found: tuple[_Secret | Credential, ...]
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
        tuple(_names(template.get("imagePullSecrets"))),
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
        try:
            own = await self._own.candidates(repository, again=again)
        except StoreError as error:
            passes = isinstance(error, StoreUnavailable)
            return [*found, Credential(_OWN, unusable=str(error), transient=passes)]
        return [*found, *(replace(each, source=f"{_OWN}: {each.source}") for each in own)]

    async def _read(self) -> _Reading:
        at = time.monotonic()
        account, named, told = self._account, [], []
        try:
            raw = await self._get("serviceaccounts", account.name)
            named = [*_names(raw.get("secrets")), *_names(raw.get("imagePullSecrets"))]
            if not named:
                told.append(Credential(str(account), unusable="names no secrets"))
        except (ClusterError, ValueError) as error:
            told.append(_unusable(str(account), error))
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

    async def _secret(self, name: str, of: str) -> _Secret | Credential:
        where = f"secret {name[:100]} of {of}"
        try:
            return _Secret(where, _auths(await self._get("secrets", name)))
        except (ClusterError, ValueError) as error:
            return _unusable(where, error)

    async def _get(self, plural: str, name: str) -> dict[str, Any]:
        if not _NAME.fullmatch(name):
            raise ValueError("is no name of an object")
        return await self._cluster.get(f"/api/v1/namespaces/{self._account.namespace}/{plural}/{name}")


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
            stores = self._stores.exchanged(lambda store: _sibling(store, keychain))
            self._opened[account] = stores
        return stores


def _sibling(store: Store, keychain: Keychain) -> Store:
    return store.sibling(keychain) if isinstance(store, RegistryStore) else store


def _names(references: object) -> Iterable[str]:
    """Yield the names of a list of references."""
    for each in references if isinstance(references, (list, tuple)) else ():
        if isinstance(each, Mapping) and each.get("name"):
            yield str(each["name"])


def _auths(secret: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the registries of a Secret with their entries. Raises :class:`ValueError` that says what is
    wrong."""
    kind = str(secret.get("type"))
    key = _KEYS.get(kind)
    if key is None:
        raise ValueError(f"is of type {kind}; expected {' or '.join(_KEYS)}")
    try:
        table = lean_json.loads(base64.b64decode(secret["data"][key], validate=True), lean_json.FEW_VALUES)
        auths = table["auths"] if key == ".dockerconfigjson" else table
    except (ValueError, KeyError, TypeError):
        # the cause is dropped because its text may quote a password
        raise ValueError(f"has no {key} of registries and credentials") from None
    if not isinstance(auths, dict):
        raise ValueError(f"has no {key} of registries and credentials")  # noqa: TRY004 - the content, no type of ours
    return auths


def _unusable(where: str, error: ClusterError | ValueError) -> Credential:
    if isinstance(error, ClusterForbidden):
        return Credential(where, unusable=f"the controller's account may not read it; {_GRANT}")
    if isinstance(error, ObjectGone):
        return Credential(where, unusable="does not exist")
    if isinstance(error, ClusterError):
        text = f"cannot be read: {error}"
        return Credential(where, unusable=text, transient=isinstance(error, ClusterUnavailable))
    return Credential(where, unusable=str(error))

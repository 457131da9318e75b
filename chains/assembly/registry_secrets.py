"""Registry credentials in Secrets of a cluster: how one is read, and what is told where it cannot be.

The types are ``kubernetes.io/dockerconfigjson`` and ``kubernetes.io/dockercfg``. The owner of a namespace
writes Secrets and names, so both are foreign.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ClusterForbidden, ClusterUnavailable, ObjectGone
from storage import lean_json
from storage.base import Store
from storage.errors import StoreError, StoreUnavailable
from storage.formats.reference import Repository
from storage.oci.docker_config import Credential
from storage.oci.store import RegistryStore
from storage.oci.tokens import Keychain

LARGEST = 256 * 1024
"""Characters of a Secret's credentials in base64. One registry takes a few thousand."""
_KEYS = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}
# a name becomes part of a path of the API
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class RegistrySecret:
    """The registries of a Secret with their entries. ``where`` names the Secret in errors."""

    where: str
    auths: Mapping[str, Any] = field(repr=False)
    size: int = 0
    """The length of what was read."""


async def read_object(cluster: Cluster, namespace: str, plural: str, name: str) -> dict[str, Any]:
    """Return an object of the core API. Raises :class:`ClusterError`, and ValueError for an odd name."""
    if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
        raise ValueError("is no name of an object")
    return await cluster.get(f"/api/v1/namespaces/{namespace}/{plural}/{name}")


async def read_secret(
    cluster: Cluster, namespace: str, name: str, where: str, grant: str
) -> RegistrySecret | Credential:
    """Return a Secret, or a credential that says why it cannot be used. ``grant`` says who allows it."""
    try:
        auths, size = _auths(await read_object(cluster, namespace, "secrets", name))
    except (ClusterError, ValueError) as error:
        return unusable(where, error, grant)
    return RegistrySecret(where, auths, size)


def names_of(references: object) -> Iterable[str]:
    """Yield the names of a list of references, such as ``imagePullSecrets``."""
    for each in references if isinstance(references, (list, tuple)) else ():
        if isinstance(each, Mapping) and each.get("name"):
            yield str(each["name"])


def unusable(where: str, error: ClusterError | ValueError, grant: str) -> Credential:
    """Return the credential that stands for what cannot be read, with the reason."""
    if isinstance(error, ClusterForbidden):
        return Credential(where, unusable=grant)
    if isinstance(error, ObjectGone):
        return Credential(where, unusable="does not exist")
    if isinstance(error, ClusterError):
        text = f"cannot be read: {error}"
        return Credential(where, unusable=text, transient=isinstance(error, ClusterUnavailable))
    return Credential(where, unusable=str(error))


async def own_candidates(
    own: Keychain, repository: Repository, name: str, *, again: bool = False
) -> Sequence[Credential]:
    """Return a process' own credentials after ``name``; one that is unusable if they cannot be read."""
    try:
        found = await own.candidates(repository, again=again)
    except StoreError as error:
        passes = isinstance(error, StoreUnavailable)
        return [Credential(name, unusable=str(error), transient=passes)]
    return [replace(each, source=f"{name}: {each.source}") for each in found]


def sibling(store: Store, keychain: Keychain) -> Store:
    """Return a store with other credentials, on the same connections; another kind of store as it is."""
    return store.sibling(keychain) if isinstance(store, RegistryStore) else store


def takes_credentials(stores: Sequence[Store]) -> bool:
    """Whether other credentials make a difference for one of the stores."""
    return any(isinstance(store, RegistryStore) for store in stores)


def _auths(secret: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    """Return the registries of a Secret with their entries, and the length of what was read.

    Raises :class:`ValueError` that says what is wrong.
    """
    kind = str(secret.get("type"))
    key = _KEYS.get(kind)
    if key is None:
        raise ValueError(f"is of type {kind[:100]}; expected {' or '.join(_KEYS)}")
    held = secret.get("data")
    data = held.get(key) if isinstance(held, Mapping) else None
    if isinstance(data, str) and len(data) > LARGEST:
        raise ValueError(f"has {len(data)} characters of {key}, expected at most {LARGEST}")
    try:
        table = lean_json.loads(base64.b64decode(data or "", validate=True), lean_json.FEW_VALUES)
        auths = table["auths"] if key == ".dockerconfigjson" else table
    except (ValueError, KeyError, TypeError):
        # the cause is dropped because its text may quote a password
        raise ValueError(f"has no {key} of registries and credentials") from None
    if not isinstance(auths, dict):
        raise ValueError(f"has no {key} of registries and credentials")  # noqa: TRY004 - the content, no type of ours
    return auths, len(data or "")

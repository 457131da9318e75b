"""The sources of public keys for ``--key``, apart from key services: files, variables, URLs, a cluster."""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chains.errors import UsageError
from signers.keys.key_document import read_keys
from signers.keys.keyset import MAX_BYTES, ListedKey, is_keyset
from signers.keys.pem import read_pem
from signers.keys.public_key import load_public_keys
from storage.files import read_file

SCHEMES = ("env", "https", "http", "k8s")
_PINNED = re.compile(r"(?P<url>https://[^#]+)#sha256:(?P<digest>[0-9a-f]{64})")
_OBJECT = re.compile(
    r"k8s://(?P<namespace>[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)/(?P<name>[a-z0-9][-a-z0-9.]{0,252})"
)
_SECONDS = 30
_SECRET_KEY = "cosign.pub"  # noqa: S105 - the name of a public key
_CONFIG_KEYS = ("keyset.json", "chains.pub", _SECRET_KEY)
"""The entries that ``chains keys export --format configmap`` writes. A key set says more than a key."""


def read_source(word: str) -> tuple[ListedKey, ...]:
    """Return the public keys of a reference with a scheme of :data:`SCHEMES`, or of a file path.

    Raises :class:`UsageError`, and what :func:`signers.keys.key_document.read_keys` raises.
    """
    scheme = word.partition("://")[0] if "://" in word else "file"
    if scheme == "env":
        return read_keys(_variable(word.removeprefix("env://")), word)
    if scheme in {"https", "http"}:
        return read_keys(_fetched(word), word.partition("#")[0])
    if scheme == "k8s":
        return read_keys(_in_cluster(word), word)
    path = word.removeprefix("file://")
    if is_keyset(path):
        return read_keys(read_file(path, MAX_BYTES), f"key set {path}")
    if "-----BEGIN" not in path:
        data = read_pem(Path(path), "public key file", secret=False)
        if b"-----BEGIN CERTIFICATE-----" in data:
            return read_keys(data, f"public key file {path}")
    return tuple(ListedKey(key) for key in load_public_keys(path))


def _variable(name: str) -> bytes:
    if name not in os.environ:
        raise UsageError(f"env://{name}: there is no environment variable {name}")
    return os.environb[name.encode()]


def _fetched(word: str) -> bytes:
    """Return the content of a URL if it has the pinned digest: whoever controls the host could change it."""
    pinned = _PINNED.fullmatch(word)
    if pinned is None:
        raise UsageError(
            f"{word}: a key's URL begins with https:// and ends with the digest of what it has to answer: "
            "https://HOST/PATH#sha256:HEX"
        )
    # most keys are files: what only a URL or a cluster needs is imported here and below
    import urllib.request  # noqa: PLC0415
    from http.client import HTTPException  # noqa: PLC0415
    from urllib.error import URLError  # noqa: PLC0415

    url = pinned["url"]
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - https alone, as matched above
            data: bytes = answer.read(MAX_BYTES + 1)
    except (URLError, OSError, ValueError, HTTPException) as error:
        raise UsageError(f"{url}: {getattr(error, 'reason', None) or error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != pinned["digest"]:
        raise UsageError(f"{url}: expected content with sha256:{pinned['digest']}, got sha256:{digest}")
    return data


def _in_cluster(word: str) -> bytes:
    """Return the public keys in the Secret or ConfigMap of that name. It is an error if both exist."""
    named = _OBJECT.fullmatch(word)
    if named is None:
        raise UsageError(f"{word}: expected k8s://NAMESPACE/NAME of a Secret or ConfigMap")
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    from chains.loop import carry_out  # noqa: PLC0415

    path = f"/api/v1/namespaces/{named['namespace']}/{{}}/{named['name']}"
    with ThreadPoolExecutor(1) as thread:  # the caller may run in an event loop already
        secret, config_map = thread.submit(lambda: carry_out(_both(path))).result()
    if secret is not None and config_map is not None:
        raise UsageError(f"{word}: there is a Secret and a ConfigMap of that name: remove one of them")
    if secret is not None:
        data = {name: b64decode(value) for name, value in secret.items() if name == _SECRET_KEY}
    else:
        data = {name: value.encode() for name, value in (config_map or {}).items() if name in _CONFIG_KEYS}
    found = next((data[name] for name in _CONFIG_KEYS if name in data), None)
    if found is None:
        what = "there is no such Secret or ConfigMap" if secret is config_map else "it has no public key"
        raise UsageError(
            f"{word}: {what}: expected {_SECRET_KEY} in a Secret, or {', '.join(_CONFIG_KEYS)} in a ConfigMap"
        )
    return found


async def _both(path: str) -> tuple[Mapping[str, str] | None, Mapping[str, str] | None]:
    from chains.cluster.client import Cluster  # noqa: PLC0415
    from chains.cluster.discovery import find_access  # noqa: PLC0415
    from chains.cluster.errors import ClusterError, ObjectGone  # noqa: PLC0415

    async with Cluster(find_access()) as cluster:

        async def data_of(plural: str) -> Mapping[str, str] | None:
            try:
                found: dict[str, Any] = await cluster.get(path.format(plural))
            except ObjectGone:
                return None
            return found.get("data") or {}

        try:
            return await data_of("secrets"), await data_of("configmaps")
        except ClusterError as error:
            raise UsageError(str(error)) from error

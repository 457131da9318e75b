"""Keys in the transit engine of HashiCorp Vault or OpenBao, through hvac.

References are those of sigstore: ``hashivault://KEY`` or ``openbao://KEY``. The newest version is used for
the life of the signer, and every request names it. Environment variables: ``VAULT_ADDR`` (``BAO_ADDR``),
``VAULT_TOKEN`` (``BAO_TOKEN``), ``VAULT_NAMESPACE``, ``VAULT_CACERT``, ``TRANSIT_SECRET_ENGINE_PATH``
(default ``transit``); also the file ``~/.vault-token``. :class:`signers.kms.service.KmsSettings` take
precedence.

Permissions, as a Vault policy; the paths are those of sigstore and so of Tekton Chains::

    path "transit/keys/KEY" { capabilities = ["read"] }
    path "transit/sign/KEY/sha2-256" { capabilities = ["update"] }
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import hvac
import requests
from hvac import exceptions

from signers.base import Signer
from signers.errors import SignerRejected, SignerUnavailable
from signers.keys.public_key import PublicKey
from signers.kms.service import (
    KeyService,
    KmsSettings,
    KmsSigner,
    RemoteKey,
    digest,
    ed25519_key,
    parse_reference,
    read_public_key,
    refuse_algorithm,
    shown,
)
from signers.kms.vault_login import VaultLogin
from signers.spiffe import CALL_SECONDS

_REFERENCE = re.compile(r"(?P<scheme>hashivault|openbao)://(?P<key>\w(?:[\w.-]*\w)?)", re.ASCII)
_SIGNATURE = re.compile(r"vault:v(?P<version>\d+):(?P<signature>[A-Za-z0-9+/]+={0,2})")
_TYPES = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096")
_TRANSIENT = (
    exceptions.RateLimitExceeded,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.VaultDown,
    requests.ConnectionError,
    requests.Timeout,
)
T = TypeVar("T")


class VaultKey(KeyService):
    """A key in a transit engine. Each thread has its own client; the token is shared."""

    def __init__(self, key: str, address: str, mount: str, login: VaultLogin) -> None:
        self._name = f"vault key {key}"
        self._key, self._address, self._mount, self._login = key, address, mount, login
        self._local = threading.local()

    def find(self) -> RemoteKey:
        """Get the newest version and its public key (``read`` on ``transit/keys/KEY``)."""
        path = f"{self._mount}/keys/{self._key}"
        answer = self._call(f"read on {path}", lambda client: client.read(path))
        data = _data(answer)
        kind, version = str(data.get("type", "")), data.get("latest_version")
        if not isinstance(version, int):
            raise SignerRejected(f"{self._name}: there is no key at {path}: check the key and the mount path")
        # A derived key needs a context for each signature, so it has no single public key.
        if kind not in _TYPES or data.get("derived"):
            raise refuse_algorithm(
                self._name, f"a {shown(kind)} key", f"an underived key of {', '.join(_TYPES)}"
            )
        entry = data.get("keys", {}).get(str(version))
        encoded = entry.get("public_key") if isinstance(entry, dict) else None
        if not isinstance(encoded, str):
            raise SignerRejected(f"{self._name}: the answer has no public key of version {version}")
        return RemoteKey(f"{self._mount}/keys/{self._key}/versions/{version}", self._public(kind, encoded))

    def _public(self, kind: str, encoded: str) -> PublicKey:
        if kind != "ed25519":
            return read_public_key(encoded.encode(), self._name)
        try:
            return ed25519_key(base64.b64decode(encoded, validate=True), self._name)
        except binascii.Error as exc:
            raise SignerRejected(f"{self._name}: the public key is not base64") from exc

    def sign(self, key: RemoteKey, data: bytes) -> bytes:
        """Sign the digest, or for Ed25519 the data (``update`` on ``transit/sign/KEY/sha2-256``)."""
        pure = key.public.algorithm == "ed25519"
        version = int(key.version.rpartition("/")[2])
        path = f"{self._mount}/sign/{self._key}/sha2-256"
        body = {
            "input": base64.b64encode(data if pure else digest(data)).decode(),
            # Ed25519 signs the data itself; all other keys sign the digest that was computed here.
            "prehashed": not pure,
            "key_version": version,
            "signature_algorithm": "pkcs1v15",
            "marshaling_algorithm": "asn1",
        }
        answer = self._call(f"update on {path}", lambda client: client.write_data(path, data=body))
        match = _SIGNATURE.fullmatch(str(_data(answer).get("signature", "")))
        # Vault writes the version into the signature; a rotation must not change it unnoticed.
        if match is None or int(match["version"]) != version:
            raise SignerRejected(f"{self._name}: the answer is not a signature of version {version}")
        try:
            return base64.b64decode(match["signature"], validate=True)
        except binascii.Error as exc:
            raise SignerRejected(f"{self._name}: the signature is not base64") from exc

    def _client(self) -> hvac.Client:
        """Return the client of this thread."""
        client: hvac.Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = hvac.Client(
                url=self._address,
                token="",
                timeout=CALL_SECONDS,
                namespace=os.environ.get("VAULT_NAMESPACE") or None,
                verify=os.environ.get("VAULT_CACERT") or True,
            )
        return client

    def _call(self, permission: str, call: Callable[[hvac.Client], T]) -> T:
        """Call with the token; once more with a new token if the server refuses it.

        Exceptions have no cause here: those of hvac contain the whole answer, and the answer of a proxy can
        repeat the token.
        """
        client = self._client()
        try:
            client.token = token = self._login.token(client)
            try:
                return call(client)
            except exceptions.Forbidden:
                # Forbidden means an expired token or a missing permission; only a new token can tell which.
                if not self._login.renew(token):
                    raise
                client.token = self._login.token(client)
                return call(client)
        except _TRANSIENT as exc:
            problem = _told(exc, client.token)
            raise SignerUnavailable(f"{self._name}: the server did not answer: {problem}") from None
        except exceptions.Forbidden:
            raise SignerRejected(
                f"{self._name}: permission denied: the token is no longer valid, or its policy lacks "
                f"{permission}"
            ) from None
        except (exceptions.VaultError, requests.RequestException, ValueError) as exc:
            raise SignerRejected(
                f"{self._name}: {permission} failed: {_told(exc, client.token)}: check the address, the key "
                "and the mount path"
            ) from None


def _data(answer: object) -> dict[str, Any]:
    """Return the data of an answer; empty for an answer that is not JSON, such as a proxy's page."""
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, dict) else {}


def _told(exc: Exception, token: str) -> str:
    """Return the message of an exception without the token and the address, which can have a password."""
    if isinstance(exc, exceptions.VaultError):
        text = "; ".join(map(str, exc.errors or ())) or type(exc).__name__
        return shown(text.replace(token, "…") if token else text)
    return type(exc).__name__


def open_vault(reference: str, settings: KmsSettings | None = None) -> Signer:
    """Open ``hashivault://KEY`` or ``openbao://KEY``.

    Raises :class:`SignerUnavailable` or :class:`SignerRejected`.
    """
    reference_parts = parse_reference(_REFERENCE, reference, "hashivault://KEY or openbao://KEY")
    settings = settings or KmsSettings()
    environment = os.environ
    address = settings.address or environment.get("VAULT_ADDR") or environment.get("BAO_ADDR") or ""
    if not address:
        raise SignerRejected(
            "vault: no address: set signers.kms.auth.address or VAULT_ADDR to the server's https:// address"
        )
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise SignerRejected("vault: the address is wrong: expected https://HOST[:PORT], without a password")
    mount = (environment.get("TRANSIT_SECRET_ENGINE_PATH") or "transit").strip("/")
    return KmsSigner(VaultKey(reference_parts["key"], address.rstrip("/"), mount, VaultLogin(settings)))

"""Keys in Azure Key Vault and Managed HSM, through azure-keyvault-keys.

References are those of sigstore: ``azurekms://VAULT/KEY[/VERSION]``. VAULT is a host such as
``team.vault.azure.net``; ``.vault.azure.net`` is appended to a name without dots. Without a version, the
current one is used for the life of the signer. Credentials are those of
``azure.identity.DefaultAzureCredential``.

Permissions: ``keys/get`` and ``keys/sign`` of an access policy, or the role ``Key Vault Crypto User``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.keyvault.keys import KeyClient, KeyVaultKey
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from signers.base import Signer
from signers.errors import SignerError, SignerRejected, SignerUnavailable
from signers.keys.public_key import PublicKey
from signers.kms.service import (
    KeyService,
    KmsSettings,
    KmsSigner,
    RemoteKey,
    curve_key,
    der_signature,
    digest,
    parse_reference,
    refuse_algorithm,
    shown,
)
from signers.spiffe import CALL_SECONDS

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_REFERENCE = re.compile(
    r"azurekms://(?P<vault>[A-Za-z0-9.-]+(?::\d+)?)/(?P<key>[A-Za-z0-9-]{1,127})(?:/(?P<version>[a-z0-9]*))?"
)
_USE = "an EC or EC-HSM key on P-256, or an RSA or RSA-HSM key of 2048 to 4096 bits"
_PERMISSIONS = "grant keys/get and keys/sign, or the role Key Vault Crypto User"
_POINT = b"\x04"
_NUMBER = 32
"""Bytes of one coordinate of a point on P-256."""
_OPTIONS: dict[str, Any] = {
    "retry_total": 0,
    "connection_timeout": CALL_SECONDS,
    "read_timeout": CALL_SECONDS,
}
_TRANSIENT = frozenset((408, 429))
"""Statuses below 500 after which a later call may succeed."""
T = TypeVar("T")


class AzureKey(KeyService):
    """A key in Azure. ``version`` is empty for the current one.

    ``options`` are passed to the clients of the library.
    """

    def __init__(
        self, vault: str, key: str, version: str, credential: TokenCredential, **options: Any
    ) -> None:
        self._name = f"azure key {vault}/{key}"
        self._key, self._version = key, version
        self._credential, self._options = credential, _OPTIONS | options
        self._client = KeyClient(f"https://{vault}", credential, **self._options)
        self._signing: dict[str, CryptographyClient] = {}

    def find(self) -> RemoteKey:
        """Get the public key (``keys/get``)."""
        vault_key = self._call("keys/get", lambda: self._client.get_key(self._key, self._version or None))
        if not vault_key.id or not vault_key.properties.version:
            raise SignerRejected(f"{self._name}: the answer names no version of the key")
        key = RemoteKey(vault_key.id, self._public(vault_key))
        if vault_key.id not in self._signing:
            self._signing[vault_key.id] = CryptographyClient(vault_key, self._credential, **self._options)
        return key

    def _public(self, vault_key: KeyVaultKey) -> PublicKey:
        """Return the public key of an answer. Raises :class:`SignerRejected`."""
        jwk: Any = vault_key.key
        kind, curve = (str(getattr(part, "value", part) or "") for part in (jwk.kty, jwk.crv))
        # The kinds are RSA and RSA-HSM, EC and EC-HSM.
        if kind.startswith("RSA") and jwk.n and jwk.e:
            numbers = rsa.RSAPublicNumbers(int.from_bytes(jwk.e), int.from_bytes(jwk.n))
            try:
                return PublicKey.from_key(numbers.public_key(), self._name)
            except ValueError as exc:
                raise SignerRejected(f"{self._name}: the service's answer is no rsa public key") from exc
        if kind.startswith("EC") and curve == "P-256" and jwk.x and jwk.y:
            # The coordinates may lack leading zero bytes, but an encoded point needs their full length.
            point = _POINT + bytes(jwk.x).rjust(_NUMBER, b"\0") + bytes(jwk.y).rjust(_NUMBER, b"\0")
            return curve_key(ec.SECP256R1(), point, self._name)
        raise refuse_algorithm(self._name, f"{kind} {curve}".strip(), _USE)

    def sign(self, key: RemoteKey, data: bytes) -> bytes:
        """Sign the digest (``keys/sign``)."""
        ecdsa = key.public.algorithm.startswith("ecdsa")
        algorithm = SignatureAlgorithm.es256 if ecdsa else SignatureAlgorithm.rs256
        client = self._signing[key.version]
        answer = self._call("keys/sign", lambda: client.sign(algorithm, digest(data)))
        return der_signature(answer.signature) if ecdsa else answer.signature

    def _call(self, action: str, call: Callable[[], T]) -> T:
        """Call the service and map its exceptions."""
        try:
            return call()
        except ClientAuthenticationError as exc:
            raise SignerRejected(
                f"{self._name}: {action}: the credentials were refused: {shown(exc.message)}: check what "
                "DefaultAzureCredential finds (AZURE_CLIENT_ID, AZURE_TENANT_ID, workload identity)"
            ) from exc
        except HttpResponseError as exc:
            raise self._error(action, exc) from exc
        except (ServiceRequestError, ServiceResponseError) as exc:
            raise SignerUnavailable(f"{self._name}: {action} was not answered: {shown(exc)}") from exc
        except (AzureError, ValueError) as exc:
            # The library raises ValueError for a key that is not valid yet, or no longer.
            raise SignerRejected(f"{self._name}: {action} cannot be done: {shown(exc)}") from exc

    def _error(self, action: str, exc: HttpResponseError) -> SignerError:
        """Return the exception for an error answer, with the next step."""
        status = exc.status_code or 0
        text = f"{self._name}: {action} failed with status {status}: {shown(exc.message)}"
        if status in _TRANSIENT or status >= 500:  # noqa: PLR2004
            return SignerUnavailable(text)
        if isinstance(exc, ResourceNotFoundError):
            return SignerRejected(f"{text}: check the vault, the key and its version")
        return SignerRejected(f"{text}: {_PERMISSIONS}, and check that the key is enabled")


def connect(vault: str, key: str, version: str) -> AzureKey:
    """Return the key with the default credential."""
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - tests use another credential

    return AzureKey(vault, key, version, DefaultAzureCredential())


def open_azure(reference: str, settings: KmsSettings | None = None) -> Signer:  # noqa: ARG001 - port
    """Open ``azurekms://VAULT/KEY[/VERSION]``.

    Raises :class:`SignerUnavailable` or :class:`SignerRejected`.
    """
    reference_parts = parse_reference(_REFERENCE, reference, "azurekms://VAULT/KEY[/VERSION]")
    vault = reference_parts["vault"]
    host = vault if "." in vault or ":" in vault else f"{vault}.vault.azure.net"
    return KmsSigner(connect(host, reference_parts["key"], reference_parts["version"] or ""))

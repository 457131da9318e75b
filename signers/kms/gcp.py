"""Keys in Google Cloud KMS, through google-cloud-kms.

References are those of sigstore:
``gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K[/cryptoKeyVersions/V]`` (also ``/versions/V``).
Without a version, the newest enabled one is used for the life of the signer. Credentials are Google's
application default credentials.

Permissions: ``cloudkms.cryptoKeyVersions.viewPublicKey`` and ``cloudkms.cryptoKeyVersions.useToSign`` (the
role ``roles/cloudkms.signerVerifier`` has both) and, for a reference without version,
``cloudkms.cryptoKeyVersions.list`` (``roles/cloudkms.viewer``).

Requests and answers have CRC32C checksums, which both sides compare (Google's data integrity guidelines).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import google_crc32c
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import kms_v1

from signers.base import Signer
from signers.errors import SignerRejected, SignerUnavailable
from signers.kms.service import (
    KeyService,
    KmsSettings,
    KmsSigner,
    RemoteKey,
    digest,
    parse_reference,
    read_public_key,
    refuse_algorithm,
    shown,
)
from signers.spiffe import CALL_SECONDS

_REFERENCE = re.compile(
    r"gcpkms://(?P<key>projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+)"
    r"(?:/(?:cryptoKeyVersions|versions)/(?P<version>\d+))?"
)
_ED25519 = "EC_SIGN_ED25519"
_ALGORITHMS = frozenset((
    "EC_SIGN_P256_SHA256", _ED25519, "RSA_SIGN_PKCS1_2048_SHA256", "RSA_SIGN_PKCS1_3072_SHA256",
    "RSA_SIGN_PKCS1_4096_SHA256",
))  # fmt: skip
_TRANSIENT = (
    exceptions.ServerError,
    exceptions.TooManyRequests,
    exceptions.Aborted,
    exceptions.RetryError,
)
_ROLES = "grant roles/cloudkms.signerVerifier on the key, and roles/cloudkms.viewer where no version is named"
T = TypeVar("T")


class GcpKey(KeyService):
    """A key in Google Cloud KMS. Several threads may share ``client``.

    ``version`` is empty for the newest enabled version.
    """

    def __init__(self, key: str, version: str, client: kms_v1.KeyManagementServiceClient) -> None:
        self._key, self._version, self._client = key, version, client
        self._name = f"google kms key {key}"

    def find(self) -> RemoteKey:
        """Choose the version and get its public key (``viewPublicKey``; ``list`` to choose)."""
        name = f"{self._key}/cryptoKeyVersions/{self._version or self._newest()}"
        answer = self._call(
            "GetPublicKey",
            lambda: self._client.get_public_key(name=name, retry=None, timeout=CALL_SECONDS),
        )
        pem = answer.pem.encode()
        # Google's guidelines: an answer for another name or with a wrong checksum must not be used.
        if answer.name != name or google_crc32c.value(pem) != answer.pem_crc32c:
            raise SignerUnavailable(f"{self._name}: the answer to GetPublicKey was damaged in transit")
        algorithm = answer.algorithm.name
        if algorithm not in _ALGORITHMS:
            raise refuse_algorithm(self._name, algorithm, f"one of {', '.join(sorted(_ALGORITHMS))}")
        return RemoteKey(name, read_public_key(pem, self._name))

    def _newest(self) -> int:
        """Return the number of the newest enabled version.

        Raises :class:`SignerRejected` if there is none.
        """
        versions = self._call(
            "ListCryptoKeyVersions",
            lambda: [
                int(item.name.rpartition("/")[2])
                for item in self._client.list_crypto_key_versions(
                    request={"parent": self._key, "filter": "state=ENABLED"},
                    retry=None,
                    timeout=CALL_SECONDS,
                )
                # Filtered again: a service that ignores the filter would offer disabled versions.
                if item.state.name == "ENABLED"
            ],
        )
        if not versions:
            raise SignerRejected(f"{self._name} has no enabled version: enable one, or create one")
        return max(versions)

    def sign(self, key: RemoteKey, data: bytes) -> bytes:
        """Sign the digest, or for Ed25519 the data, whose size the service limits (``useToSign``)."""
        request: dict[str, object] = {"name": key.version}
        if key.public.algorithm == "ed25519":
            request |= {"data": data, "data_crc32c": google_crc32c.value(data)}
        else:
            hashed = digest(data)
            request |= {"digest": {"sha256": hashed}, "digest_crc32c": google_crc32c.value(hashed)}
        answer = self._call(
            "AsymmetricSign",
            lambda: self._client.asymmetric_sign(request=request, retry=None, timeout=CALL_SECONDS),
        )
        # Whether the service checked our checksum of what it signed.
        verified = answer.verified_data_crc32c if "data" in request else answer.verified_digest_crc32c
        if (
            not verified
            or answer.name != key.version
            or google_crc32c.value(answer.signature) != answer.signature_crc32c
        ):
            raise SignerUnavailable(f"{self._name}: AsymmetricSign was damaged in transit")
        return bytes(answer.signature)

    def _call(self, action: str, call: Callable[[], T]) -> T:
        """Call the service and map its exceptions."""
        try:
            return call()
        except (*_TRANSIENT, TransportError) as exc:
            raise SignerUnavailable(f"{self._name}: {action} was not answered: {shown(exc)}") from exc
        except exceptions.Forbidden as exc:
            raise SignerRejected(f"{self._name}: {action} is not allowed: {shown(exc)}: {_ROLES}") from exc
        except exceptions.GoogleAPICallError as exc:
            raise SignerRejected(
                f"{self._name}: {action} failed: {shown(exc)}: check the key, its version and its state"
            ) from exc
        except GoogleAuthError as exc:
            raise SignerRejected(
                f"{self._name}: no credentials: {shown(exc)}: set GOOGLE_APPLICATION_CREDENTIALS"
            ) from exc


def connect() -> kms_v1.KeyManagementServiceClient:
    """Return a client with the application default credentials. Raises :class:`SignerRejected`."""
    try:
        return kms_v1.KeyManagementServiceClient()
    except GoogleAuthError as exc:
        raise SignerRejected(
            f"google kms: no credentials: {shown(exc)}: set GOOGLE_APPLICATION_CREDENTIALS or run where a "
            "service account is attached"
        ) from exc


def open_gcp(reference: str, settings: KmsSettings | None = None) -> Signer:  # noqa: ARG001 - port
    """Open ``gcpkms://…``. Raises :class:`SignerUnavailable` or :class:`SignerRejected`."""
    reference_parts = parse_reference(
        _REFERENCE,
        reference,
        "gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K[/cryptoKeyVersions/V]",
    )
    return KmsSigner(GcpKey(reference_parts["key"], reference_parts["version"] or "", connect()))

"""Keys in AWS KMS, through boto3.

References are those of sigstore: ``awskms://[ENDPOINT]/KEY``, where KEY is a key id, ``alias/NAME``, or the
ARN of either. Without an endpoint there are three slashes. Region, credentials and ``AWS_ENDPOINT_URL_KMS``
are handled by boto3.

Permissions: ``kms:GetPublicKey`` to open a key, ``kms:Sign`` to sign. The first call resolves an alias; later
calls use the ARN of the key that it returned.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own
    HTTPClientError,
)

from signers.base import Signer
from signers.errors import SignerError, SignerRejected, SignerUnavailable
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

if TYPE_CHECKING:
    from mypy_boto3_kms.literals import SigningAlgorithmSpecType

_KEY = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f-]{32,36}"
_ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
_REFERENCE = re.compile(
    rf"awskms://(?P<endpoint>(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?)?/"
    rf"(?P<key>{_KEY}|{_ALIAS}"
    rf"|arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):\d{{12}}:(?:key/(?:{_KEY})|{_ALIAS}))"
)
_USE = "a key of the spec ECC_NIST_P256 or RSA_2048 to RSA_4096 for SIGN_VERIFY"
_TRANSIENT = frozenset((
    "DependencyTimeoutException", "KMSInternalException", "InternalFailure", "KeyUnavailableException",
    "LimitExceededException", "RequestTimeout", "ServiceUnavailable", "Throttling", "ThrottlingException",
    "TooManyRequestsException",
))  # fmt: skip
_NEXT = {
    "AccessDeniedException": "allow kms:GetPublicKey and kms:Sign on this key",
    "NotFoundException": "check the key, the account and the region",
    "DisabledException": "enable the key",
    "KMSInvalidStateException": "the key is disabled or waits for its deletion",
    "UnrecognizedClientException": "check the credentials",
    "InvalidSignatureException": "check the credentials and the clock",
    "ExpiredTokenException": "get new credentials",
}
T = TypeVar("T")


class AwsKey(KeyService):
    """A key in AWS KMS. ``client`` is boto3's, which several threads may use."""

    def __init__(self, key: str, client: Any) -> None:
        self._name, self._client = f"aws kms key {key}", client
        self._key = key

    def find(self) -> RemoteKey:
        """Get the public key (``kms:GetPublicKey``)."""
        answer = self._call("kms:GetPublicKey", lambda: self._client.get_public_key(KeyId=self._key))
        # Checked when the key is opened: an encryption key would fail only at the first signature.
        if answer.get("KeyUsage") != "SIGN_VERIFY":
            raise refuse_algorithm(self._name, f"usage {answer.get('KeyUsage')}", _USE)
        key = RemoteKey(str(answer["KeyId"]), read_public_key(answer["PublicKey"], self._name))
        if _algorithm(key.public.algorithm) not in answer.get("SigningAlgorithms", []):
            raise refuse_algorithm(self._name, " or ".join(answer.get("SigningAlgorithms", [])), _USE)
        return key

    def sign(self, key: RemoteKey, data: bytes) -> bytes:
        """Sign the digest (``kms:Sign``)."""
        algorithm = _algorithm(key.public.algorithm)
        answer = self._call(
            "kms:Sign",
            lambda: self._client.sign(
                KeyId=key.version, Message=digest(data), MessageType="DIGEST", SigningAlgorithm=algorithm
            ),
        )
        return bytes(answer["Signature"])

    def _call(self, action: str, call: Callable[[], T]) -> T:
        """Call the service and map its exceptions."""
        try:
            return call()
        except ClientError as exc:
            raise self._error(action, exc) from exc
        except (ConnectionError, HTTPClientError) as exc:
            raise SignerUnavailable(f"{self._name}: {action} was not answered: {shown(exc)}") from exc
        except BotoCoreError as exc:
            raise SignerRejected(
                f"{self._name}: {action} cannot be called: {shown(exc)}: check region and credentials"
            ) from exc

    def _error(self, action: str, exc: ClientError) -> SignerError:
        """Return the exception for an error answer, with the next step."""
        code = str(exc.response.get("Error", {}).get("Code", ""))
        status = int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        text = f"{self._name}: {action} failed: {shown(exc.response.get('Error', {}).get('Message') or code)}"
        if code in _TRANSIENT or status >= 500 or status == 429:  # noqa: PLR2004
            return SignerUnavailable(text)
        return SignerRejected(f"{text}: {_NEXT.get(code, f'the service says {shown(code)}')}")


def _algorithm(algorithm: str) -> SigningAlgorithmSpecType | None:
    """Return AWS's name of the algorithm that cosign expects for a key; None if AWS has none.

    With P-384, for example, AWS signs only SHA-384.
    """
    if algorithm == "ecdsa-p256-sha256":
        return "ECDSA_SHA_256"
    return "RSASSA_PKCS1_V1_5_SHA_256" if algorithm.startswith("rsa-") else None


def open_aws(reference: str, settings: KmsSettings | None = None) -> Signer:  # noqa: ARG001 - port
    """Open ``awskms://[ENDPOINT]/KEY``. Raises :class:`SignerUnavailable` or :class:`SignerRejected`."""
    reference_parts = parse_reference(
        _REFERENCE, reference, "awskms://[ENDPOINT]/KEY with a key id, alias/NAME or an ARN"
    )
    endpoint = reference_parts["endpoint"]
    config = Config(
        connect_timeout=CALL_SECONDS,
        read_timeout=CALL_SECONDS,
        # The SDK's own retries are off, because KmsSigner retries in the same way for all services.
        retries={"total_max_attempts": 1},
        max_pool_connections=50,
    )
    try:
        client = boto3.session.Session().client(
            "kms",
            region_name=reference_parts["region"] or os.environ.get("AWS_REGION") or None,
            endpoint_url=f"https://{endpoint}" if endpoint else None,
            config=config,
        )
    except (BotoCoreError, ValueError) as exc:
        raise SignerRejected(
            f"aws kms: {shown(exc)}: set AWS_REGION, name the key by its arn, or check the endpoint"
        ) from exc
    return KmsSigner(AwsKey(reference_parts["key"], client))

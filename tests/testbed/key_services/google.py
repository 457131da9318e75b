"""The gRPC interface of Google Cloud KMS with real keys, built on the messages of Google's client library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import google_crc32c
import grpc
import pytest
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

from tests.testbed.key_services import DENY, MAKERS, OUTAGE, THROTTLE, KeyServer, public_pem, sign_digest

RING = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys"
_ALGORITHMS = {
    "ecdsa-p256": "EC_SIGN_P256_SHA256",
    "ed25519": "EC_SIGN_ED25519",
    "rsa-2048": "RSA_SIGN_PKCS1_2048_SHA256",
    "rsa-3072": "RSA_SIGN_PKCS1_3072_SHA256",
    "rsa-4096": "RSA_SIGN_PKCS1_4096_SHA256",
    # these two are there to be refused
    "ecdsa-p384": "EC_SIGN_P384_SHA384",
    "pss": "RSA_SIGN_PSS_2048_SHA256",
}
_FAULTS = {
    OUTAGE: grpc.StatusCode.UNAVAILABLE,
    THROTTLE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DENY: grpc.StatusCode.PERMISSION_DENIED,
}


class Google(KeyServer):
    """A running server. ``disabled`` has names of versions; ``corrupt`` flips the checksums of the next
    answers.
    """

    algorithms = ("ecdsa-p256", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096")

    def __init__(self) -> None:
        super().__init__()
        self.disabled: set[str] = set()
        self.corrupt = 0

    def reference(self, algorithm: str) -> str:
        return f"gcpkms://{RING}/{self.keys.make(algorithm)}"

    def rotate(self, reference: str) -> None:
        self.keys.rotate(reference.rpartition("/")[2])

    def _crc(self, data: bytes) -> int:
        wrong, self.corrupt = self.corrupt > 0, max(0, self.corrupt - 1)
        return int(google_crc32c.value(data)) ^ wrong

    def _key(self, version: str, context: grpc.ServicerContext) -> tuple[str, Any]:
        ring, name, _, number = version.rsplit("/", 3)
        versions = self.keys.versions.get(name, [])
        if ring != RING or not 0 < int(number) <= len(versions):
            context.abort(grpc.StatusCode.NOT_FOUND, f"CryptoKeyVersion {version} not found.")
        return self.keys.algorithms[name], versions[int(number) - 1]

    def ListCryptoKeyVersions(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        name = request.parent.rpartition("/")[2]
        found = [
            f"{request.parent}/cryptoKeyVersions/{number + 1}"
            for number in range(len(self.keys.versions.get(name, [])))
        ]
        states = kms_v1.CryptoKeyVersion.CryptoKeyVersionState
        return kms_v1.ListCryptoKeyVersionsResponse(
            crypto_key_versions=[
                kms_v1.CryptoKeyVersion(
                    name=item, state=states.DISABLED if item in self.disabled else states.ENABLED
                )
                for item in found
            ]
        )

    def GetPublicKey(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        kind, key = self._key(request.name, context)
        pem = public_pem(key)
        return kms_v1.PublicKey(
            name=request.name, pem=pem.decode(), pem_crc32c=self._crc(pem), algorithm=_ALGORITHMS[kind]
        )

    def AsymmetricSign(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        kind, key = self._key(request.name, context)
        key = MAKERS[kind]() if self.faults.lying else key
        pure = kind == "ed25519"
        given, crc = (
            (request.data, request.data_crc32c) if pure else (request.digest.sha256, request.digest_crc32c)
        )
        signature = key.sign(given) if pure else sign_digest(key, given)
        intact = crc == google_crc32c.value(given)
        return kms_v1.AsymmetricSignResponse(
            name=request.name,
            signature=signature,
            signature_crc32c=self._crc(signature),
            verified_digest_crc32c=intact and not pure,
            verified_data_crc32c=intact and pure,
        )

    def handlers(self) -> grpc.GenericRpcHandler:
        methods = {
            "ListCryptoKeyVersions": kms_v1.ListCryptoKeyVersionsRequest,
            "GetPublicKey": kms_v1.GetPublicKeyRequest,
            "AsymmetricSign": kms_v1.AsymmetricSignRequest,
        }

        def failing(
            method: Callable[[Any, grpc.ServicerContext], Any],
        ) -> Callable[[Any, grpc.ServicerContext], Any]:
            def call(request: Any, context: grpc.ServicerContext) -> Any:
                if fault := self.faults.next():
                    context.abort(_FAULTS[fault], f"{fault} for the test")
                return method(request, context)

            return call

        return grpc.method_handlers_generic_handler(
            "google.cloud.kms.v1.KeyManagementService",
            {
                name: grpc.unary_unary_rpc_method_handler(
                    failing(getattr(self, name)),
                    request_deserializer=request.deserialize,
                    response_serializer=lambda answer: type(answer).serialize(answer),
                )
                for name, request in methods.items()
            },
        )


@contextmanager
def google() -> Iterator[Google]:
    """Run a server for the length of the block; Google's client library connects to it."""
    service = Google()
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((service.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    client = kms_v1.KeyManagementServiceClient(transport=KeyManagementServiceGrpcTransport(channel=channel))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signers.kms.gcp.connect", lambda: client)
        try:
            yield service
        finally:
            channel.close()
            server.stop(None).wait()

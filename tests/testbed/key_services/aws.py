"""AWS KMS by moto's server, with one correction: moto 5.2 hashes a digest again (MessageType DIGEST)."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto.kms.responses import KmsResponse
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.testbed.key_services import DENY, MAKERS, OUTAGE, THROTTLE, KeyServer, sign_digest

_SPECS = {
    "ecdsa-p256": "ECC_NIST_P256",
    "ecdsa-p384": "ECC_NIST_P384",
    "rsa-2048": "RSA_2048",
    "rsa-3072": "RSA_3072",
    "rsa-4096": "RSA_4096",
}
_FAULTS = {
    OUTAGE: ("500 Internal Server Error", "KMSInternalException"),
    THROTTLE: ("400 Bad Request", "ThrottlingException"),
    DENY: ("400 Bad Request", "AccessDeniedException"),
}


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections, as AWS does

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002
        pass


class Aws(KeyServer):
    """A running server. ``client`` creates keys and aliases."""

    algorithms = ("ecdsa-p256", "rsa-2048", "rsa-3072", "rsa-4096")

    def __init__(self) -> None:
        super().__init__()
        self.address = ""
        self.client: Any = None
        self._app = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
        if target.endswith((".Sign", ".GetPublicKey")) and (fault := self.faults.next()):
            status, code = _FAULTS[fault]
            start(status, [("Content-Type", "application/x-amz-json-1.1")])
            return [json.dumps({"__type": code, "message": f"{code} for the test"}).encode()]
        return self._app(environ, start)

    def set_environment(self, patch: pytest.MonkeyPatch) -> None:
        """Point boto3 to this server; only while a key is opened, because other code uses boto3 too."""
        for name, value in {
            "AWS_ENDPOINT_URL_KMS": self.address,
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)

    def create(self, algorithm: str) -> str:
        made = self.client.create_key(KeySpec=_SPECS[algorithm], KeyUsage="SIGN_VERIFY")
        return str(made["KeyMetadata"]["KeyId"])

    def reference(self, algorithm: str) -> str:
        alias = f"alias/key-{secrets.token_hex(4)}"  # moto's servers in one process share what they keep
        self.client.create_alias(AliasName=alias, TargetKeyId=self.create(algorithm))
        return f"awskms:///{alias}"

    def rotate(self, reference: str) -> None:
        alias = reference.removeprefix("awskms:///")
        self.client.update_alias(AliasName=alias, TargetKeyId=self.create("ecdsa-p256"))


def _sign_as_aws(server: Aws) -> Callable[[KmsResponse], str]:
    theirs = KmsResponse.sign

    def sign(self: KmsResponse) -> str:
        if self._get_param("MessageType") != "DIGEST":
            return theirs(self)
        identity, algorithm = self._get_param("KeyId"), self._get_param("SigningAlgorithm")
        backend = self.kms_backend
        key = backend.describe_key(backend.any_id_to_key_id(identity) or identity)
        if algorithm not in key.signing_algorithms:
            return theirs(self)
        private = MAKERS["ecdsa-p256"]() if server.faults.lying else key.private_key.private_key
        message = self._get_param("Message")
        signature = sign_digest(private, message if len(message) == 32 else base64.b64decode(message))
        return json.dumps(
            {
                "KeyId": key.arn,
                "Signature": base64.b64encode(signature).decode(),
                "SigningAlgorithm": algorithm,
            }
        )

    return sign


@contextmanager
def aws() -> Iterator[Aws]:
    """Run moto's server for the length of the block."""
    app = Aws()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KmsResponse, "sign", _sign_as_aws(app))
        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
        app.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with pytest.MonkeyPatch.context() as environment:
            app.set_environment(environment)
            app.client = boto3.session.Session().client("kms")
        try:
            yield app
        finally:
            app.client.close()
            server.shutdown()
            server.server_close()
            thread.join()

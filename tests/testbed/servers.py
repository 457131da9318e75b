"""The testbed's servers as context managers, each on a free loopback port and with a time limit for its
start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.testbed.build import binary
from tests.testbed.certificates import Certificates, make_certificates
from tests.testbed.images import Registry
from tests.testbed.process import Running, running
from tests.testbed.tokens import ISSUER, SERVICE, TokenService, token_service

USERNAME = "robot"
PASSWORD = "open-sesame"
# PASSWORD with cost 4: the registry computes it for every request
PASSWORD_BCRYPT = "$2a$04$QyCjbFmarkGDHOfyyv2hFuu9/gs.hsxKMaTy5BjI11RV4w2Ocp.9O"
QUIET_OTEL = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


@contextmanager
def registry(tmp: Path, *, referrers: bool = True, port: int = 0, quiet: bool = True) -> Iterator[Registry]:
    """Run an OCI 1.1 registry on plain HTTP without authentication, with or without the referrers API.

    Blobs are stored under ``tmp``, manifests in memory, so a restarted registry has no images. Unless
    ``quiet``, its log has a line per request.
    """
    command: list[str | Path] = [
        binary("registry"),
        f"-quiet={str(quiet).lower()}",
        f"-addr=127.0.0.1:{port}",
        f"-dir={tmp / 'blobs'}",
        f"-referrers={str(referrers).lower()}",
    ]
    with running(command, tmp / "registry.log", r"^(127\.0\.0\.1:\d+)$") as server:
        yield Registry(server.address, server.pid, server.log)


@contextmanager
def distribution(
    tmp: Path,
    *,
    tls: bool = False,
    htpasswd: bool = False,
    token: bool = False,
    token_lifetime: int = 300,
    read_only: bool = False,
    port: int = 0,
) -> Iterator[Registry]:
    """Run the reference registry, which has no referrers API. Images under ``tmp`` survive a restart.

    ``tls`` uses a certificate of a new CA (:attr:`Registry.ca_file`). ``htpasswd`` requires basic
    credentials; ``token`` requires tokens of a service that is started too and accepts the same credentials.
    At most one of the two is allowed. ``read_only`` refuses every write.
    """
    if htpasswd and token:
        raise ValueError("htpasswd and token: a registry has one way to authenticate")
    certificates = make_certificates(tmp / "certificates")
    http: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "secret": "testbed"}
    if tls:
        http["tls"] = {"certificate": str(certificates.cert_file), "key": str(certificates.key_file)}
    with ExitStack() as stack:
        tokens = None
        auth: dict[str, Any] = {}
        if htpasswd:
            auth = _htpasswd(tmp)
        if token:
            tokens = stack.enter_context(
                token_service(certificates, USERNAME, PASSWORD, tls=tls, lifetime=token_lifetime)
            )
            auth = _token(tokens, certificates)
        server = stack.enter_context(_distribution(tmp, http, auth, read_only))
        yield Registry(
            server.address,
            server.pid,
            server.log,
            tls=tls,
            ca_file=certificates.ca_file if tls else None,
            username=USERNAME if auth else "",
            password=PASSWORD if auth else "",
            tokens=tokens,
        )


@contextmanager
def _distribution(
    tmp: Path, http: dict[str, Any], auth: dict[str, Any], read_only: bool
) -> Iterator[Running]:
    storage: dict[str, Any] = {
        "filesystem": {"rootdirectory": str(tmp / "images")},
        "delete": {"enabled": True},
        "maintenance": {"readonly": {"enabled": read_only}},
    }
    log = {"level": "info", "accesslog": {"disabled": True}}
    settings = {"version": "0.1", "log": log, "storage": storage, "http": http}
    config = tmp / "config.yaml"
    config.write_text(json.dumps(settings | ({"auth": auth} if auth else {})))
    command: list[str | Path] = [binary("distribution"), "serve", config]
    with running(
        command, tmp / "distribution.log", r"listening on (127\.0\.0\.1:\d+)", env=QUIET_OTEL
    ) as server:
        yield server


def _htpasswd(tmp: Path) -> dict[str, Any]:
    path = tmp / "htpasswd"
    path.write_text(f"{USERNAME}:{PASSWORD_BCRYPT}\n")
    return {"htpasswd": {"realm": "testbed", "path": str(path)}}


def _token(service: TokenService, certificates: Certificates) -> dict[str, Any]:
    return {
        "token": {
            "realm": service.realm,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(certificates.ca_file),
        }
    }

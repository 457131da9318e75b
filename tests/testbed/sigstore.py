"""A private Sigstore: Fulcio with its certificate transparency log, Rekor v2 and a timestamp authority.

It starts in half a second, with an issuer of identity tokens. :func:`fulcio_for` starts another Fulcio of the
same instance for another issuer, such as a Kubernetes API server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from tests.testbed.build import binary
from tests.testbed.cluster import free_ports
from tests.testbed.ct_log import ct_log
from tests.testbed.issuer import Issuer, issuer
from tests.testbed.process import Running, ServerError, running
from tests.testbed.sigstore_keys import (
    SigstoreKeys,
    make_keys,
    public_pem,
    signing_config,
    trusted_root,
    write_json,
    write_private,
)

READY_SECONDS = 90
STARTED = r"(.)"
"""Any output. Readiness is checked over HTTP."""


@dataclass(frozen=True, slots=True)
class SigstoreServices:
    """A running instance."""

    folder: Path
    fulcio: str
    rekor: str
    timestamp: str
    """The URL for RFC 3161 queries."""
    ct_log: str
    issuer: Issuer
    keys: SigstoreKeys
    trusted_root: Path
    signing_config: Path

    @property
    def client_trust_config(self) -> str:
        """Trusted root and signing configuration in the single document that sigstore-python reads."""
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
                "trustedRoot": json.loads(self.trusted_root.read_text()),
                "signingConfig": json.loads(self.signing_config.read_text()),
            }
        )

    def log_size(self) -> int:
        """Return how many entries the log has integrated so far."""
        checkpoint = self.folder / "log" / "checkpoint"
        return int(checkpoint.read_text().splitlines()[1]) if checkpoint.exists() else 0


@contextmanager
def sigstore(tmp: Path) -> Iterator[SigstoreServices]:
    """Run an instance with new keys for the length of the block."""
    keys = make_keys()
    (tmp / "fulcio.pem").write_bytes(keys.fulcio.pem)
    (tmp / "timestamp.pem").write_bytes(keys.timestamp.pem)
    (tmp / "ct.pub").write_bytes(public_pem(keys.ct))
    write_private(tmp / "fulcio.key", keys.fulcio.key)
    write_private(tmp / "timestamp.key", keys.timestamp.key)
    write_private(tmp / "rekor.key", keys.rekor)
    with ExitStack() as stack:
        log = stack.enter_context(ct_log(keys.ct))
        tokens = stack.enter_context(issuer())
        fulcio = stack.enter_context(_fulcio(tmp, log, tokens.url, {"Type": "kubernetes"}))
        rekor = stack.enter_context(_rekor(tmp))
        timestamp = stack.enter_context(_timestamp(tmp))
        root = trusted_root(keys, fulcio, rekor, log, timestamp)
        yield SigstoreServices(
            folder=tmp,
            fulcio=fulcio,
            rekor=rekor,
            timestamp=timestamp,
            ct_log=log,
            issuer=tokens,
            keys=keys,
            trusted_root=write_json(tmp / "trusted_root.json", root),
            signing_config=write_json(tmp / "signing_config.json", signing_config(fulcio, rekor, timestamp)),
        )


@contextmanager
def fulcio_for(
    services: SigstoreServices, tmp: Path, issuer_url: str, ca_pem: str = "", **more: str
) -> Iterator[str]:
    """Run another Fulcio with the instance's CA and CT log for tokens of another issuer; yields its URL.

    ``ca_pem`` verifies the issuer's own TLS certificate. ``more`` is added to the issuer's entry in Fulcio's
    configuration, such as another ``Type``.
    """
    entry = {"Type": "kubernetes", **({"CACert": ca_pem} if ca_pem else {}), **more}
    with _fulcio(services.folder, services.ct_log, issuer_url, entry, tmp / "fulcio.log") as url:
        yield url


@contextmanager
def _fulcio(
    tmp: Path, log_url: str, issuer_url: str, more: Mapping[str, str], log: Path | None = None
) -> Iterator[str]:
    port, grpc, metrics = free_ports(3)
    entry = {"IssuerURL": issuer_url, "ClientID": "sigstore", **more}
    config = tmp / f"fulcio-{port}.json"
    config.write_text(json.dumps({"OIDCIssuers": {issuer_url: entry}}))
    command: list[str | Path] = [
        binary("fulcio"), "serve", "--log_type", "prod", "--config-path", config,
        "--host", "127.0.0.1", "--port", str(port), "--grpc-host", "127.0.0.1", "--grpc-port", str(grpc),
        "--metrics-port", str(metrics), "--legacy-unix-domain-socket", f"@testbed-fulcio-{port}",
        "--ca", "fileca", "--fileca-cert", tmp / "fulcio.pem", "--fileca-key", tmp / "fulcio.key",
        "--fileca-key-passwd", "not-encrypted", "--fileca-watch=false",  # an empty password is refused
        "--ct-log-url", f"{log_url}/test", "--ct-log-public-key-path", tmp / "ct.pub",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with _serving(command, log or tmp / "fulcio.log", f"{url}/api/v2/trustBundle"):
        yield url


@contextmanager
def _rekor(tmp: Path) -> Iterator[str]:
    http, grpc, metrics = free_ports(3)
    command: list[str | Path] = [
        # the host without its port is the log's origin, which has to be the one of the trusted root's URL
        binary("rekor"), "serve", "--hostname", "127.0.0.1", "--http-port", str(http), "--grpc-port", str(grpc),
        "--http-metrics-port", str(metrics), "--storage-dir", tmp / "log", "--signer-filepath", tmp / "rekor.key",
        "--checkpoint-interval", "1s",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{http}"
    with _serving(command, tmp / "rekor.log", f"{url}/healthz"):
        yield url


@contextmanager
def _timestamp(tmp: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    command: list[str | Path] = [
        binary("timestamp-authority"), "-port", str(port), "-key", tmp / "timestamp.key",
        "-chain", tmp / "timestamp.pem",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with _serving(command, tmp / "timestamp.log", f"{url}/ping"):
        yield f"{url}/api/v1/timestamp"


@contextmanager
def _serving(command: Sequence[str | Path], log: Path, ready: str) -> Iterator[Running]:
    with running(command, log, STARTED) as server:
        opener = build_opener(ProxyHandler({}))
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                with opener.open(ready, timeout=READY_SECONDS) as answer:
                    if answer.status == HTTPStatus.OK:
                        break
            except (URLError, OSError) as error:
                if time.monotonic() > deadline:
                    text = log.read_text(errors="replace")[-4000:]
                    raise ServerError(f"{ready} does not answer: {error}\n{text}") from error
            time.sleep(0.01)
        yield server

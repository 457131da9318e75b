"""The controller with certificates, a log and timestamps: marked when all is there, delayed when it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_controller import Running, controller, finished
from tests.testbed.cosign import Cosign
from tests.testbed.http_proxy import proxy
from tests.testbed.images import Registry
from tests.testbed.sigstore import SigstoreServices
from tests.testbed.sigstore_keys import signing_config

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any


def keyless(services: SigstoreServices, folder: Path, *, fulcio: str = "", rekor: str = "") -> dict[str, str]:
    """Return the configuration of a controller that signs with certificates and stores in a registry."""
    (folder / "token").write_text(services.issuer.token(lifetime=3600))
    config = signing_config(fulcio or services.fulcio, rekor or services.rekor, services.timestamp)
    (folder / "signing_config.json").write_text(json.dumps(config))
    return {
        "artifacts_taskrun_format": "slsa/v2alpha4",
        "artifacts_taskrun_storage": "oci",
        "storage_oci_encoding__format": "both",
        "signers_x509_fulcio_enabled": "true",
        "signers_x509_identity_token_file": str(folder / "token"),
        "signers_x509_trusted__root": str(services.trusted_root),
        "signers_x509_signing__config": str(folder / "signing_config.json"),
        "transparency_enabled": "true",
    }


def test_a_log_that_is_down_delays_a_run_and_it_is_logged_once_when_it_is_back(
    controller: Callable[..., Running],
    sigstore_services: SigstoreServices,
    referrers_registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
) -> None:
    services = sigstore_services
    with proxy(services.rekor, fails=503) as log:
        running = controller(**keyless(services, tmp_path, rekor=log.url))
        # all that a folder of keys would hold: none is needed
        (running.keys / "x509.pem").unlink()
        digest = referrers_registry.push_image(running.namespace)
        image = f"{referrers_registry.host}/{running.namespace}"
        before = services.log_size()
        running.server.create_run(finished(running.namespace, "build", image, digest))
        running.start()
        running.wait(lambda: len(log.seen) >= 4)
        assert running.signed("build") == ""
        assert referrers_registry.tags(running.namespace) == []
        log.fails = 0
        run = running.attested("build")
    annotations = run["metadata"]["annotations"]
    assert annotations["chains.tekton.dev/signed"] == "true"
    outcome = json.loads(annotations["chains.tekton.dev/outcome"])
    # provenance, execution report, and the image's signature in two forms
    assert len(outcome["transparency"]) == 4
    assert annotations["chains.tekton.dev/transparency"] == outcome["transparency"][0]
    assert annotations["chains.tekton.dev/transparency"].startswith(f"{log.url}/api/v2/log/entries?logIndex=")
    assert services.log_size() == before + 4
    text = running.log.read_text()
    assert services.issuer.identity() in text
    assert (tmp_path / "token").read_text() not in text
    arguments = [
        "--trusted-root",
        services.trusted_root,
        "--certificate-identity",
        services.issuer.identity(),
    ]
    arguments += ["--certificate-oidc-issuer", services.issuer.url, f"{image}@{digest}"]
    cosign("verify-attestation", "--type", "slsaprovenance1", *arguments)
    cosign("verify", *arguments)
    assert running.stop() == 0


def test_without_a_certificate_the_controller_is_not_ready_until_there_is_one(
    controller: Callable[..., Running], sigstore_services: SigstoreServices, tmp_path: Path
) -> None:
    with proxy(sigstore_services.fulcio, fails=503) as fulcio:
        running = controller(**keyless(sigstore_services, tmp_path, fulcio=fulcio.url))
        running.start(expected=503)
        running.wait(lambda: f"fulcio {fulcio.url} answered 503" in running.log.read_text())
        fulcio.fails = 0
        running.wait(lambda: running.ask("/readyz")[0] == 200)
    assert running.stop() == 0

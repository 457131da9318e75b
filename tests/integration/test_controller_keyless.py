"""The controller with certificates, a log and timestamps: marked when all is there, delayed when it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.integration.test_controller import Running, controller, finished
from tests.testbed.cosign import Cosign
from tests.testbed.http_proxy import proxy
from tests.testbed.images import Registry
from tests.testbed.sigstore import SigstoreServices
from tests.testbed.sigstore_keys import signing_config

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any


def keyless(
    services: SigstoreServices, folder: Path, *, fulcio: str = "", rekor: str = "", timestamp: str = ""
) -> dict[str, str]:
    """Return the configuration of a controller that signs with certificates and stores in a registry."""
    (folder / "token").write_text(services.issuer.token(lifetime=3600))
    config = signing_config(
        fulcio or services.fulcio, rekor or services.rekor, timestamp or services.timestamp
    )
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


def test_a_timestamp_authority_that_is_down_delays_a_run_and_leaves_nothing_in_the_log(
    controller: Callable[..., Running],
    sigstore_services: SigstoreServices,
    referrers_registry: Registry,
    tmp_path: Path,
) -> None:
    services = sigstore_services
    place, path = services.timestamp.split("/api/")
    with proxy(place, fails=503) as authority:
        running = controller(**keyless(services, tmp_path, timestamp=f"{authority.url}/api/{path}"))
        digest = referrers_registry.push_image(running.namespace)
        image = f"{referrers_registry.host}/{running.namespace}"
        before = services.log_size()
        running.server.create_run(finished(running.namespace, "build", image, digest))
        running.start()
        running.wait(lambda: len(authority.seen) >= 4)
        assert running.signed("build") == ""
        assert services.log_size() == before
        assert referrers_registry.tags(running.namespace) == []
        authority.fails = 0
        annotations = running.attested("build")["metadata"]["annotations"]
    assert annotations["chains.tekton.dev/signed"] == "true"
    assert services.log_size() == before + 4
    assert running.stop() == 0


def test_manual_logs_the_run_with_the_label_alone_and_only_that_one_gets_the_annotation(
    controller: Callable[..., Running],
    sigstore_services: SigstoreServices,
    referrers_registry: Registry,
    tmp_path: Path,
) -> None:
    running = controller(**keyless(sigstore_services, tmp_path) | {"transparency_enabled": "manual"})
    image = f"{referrers_registry.host}/{running.namespace}"
    before = sigstore_services.log_size()
    for name, labels in (("asks", {"provenance.chains/transparency-upload": "true"}), ("does-not", {})):
        digest = referrers_registry.push_image(running.namespace, content=name.encode())
        run = finished(running.namespace, name, image, digest)
        run["metadata"]["labels"] = run["metadata"].get("labels", {}) | labels
        running.server.create_run(run)
    running.start()
    found = {name: running.attested(name)["metadata"]["annotations"] for name in ("asks", "does-not")}
    assert {name: one["chains.tekton.dev/signed"] for name, one in found.items()} == dict.fromkeys(
        found, "true"
    )
    assert ["chains.tekton.dev/transparency" in one for one in found.values()] == [True, False]
    assert sigstore_services.log_size() == before + 4
    assert running.stop() == 0


def test_tenants_keys_sign_beside_the_controller_s_or_in_its_place(
    controller: Callable[..., Running],
    referrers_registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
) -> None:
    extra = []
    for name in ("tenant", "releases"):
        assert chains(["keys", "generate", str(tmp_path / f"{name}.key")]) == 0
        extra.append(
            {"name": name, "reference": str(tmp_path / f"{name}.key"), "labels": f"signed-by={name}"}
        )
    extra[0]["namespaces"] = ["t-*"]
    extra[1]["instead"] = True  # type: ignore[assignment]
    running = controller(
        artifacts_taskrun_format="slsa/v2alpha4",
        artifacts_taskrun_storage="oci",
        artifacts_pipelinerun_storage="oci",
        storage_oci_encoding__format="both",
        signers_extra=json.dumps(extra),
    )
    repository = f"{referrers_registry.host}/{running.namespace}"
    images = {}
    for name in ("nobody", "tenant", "releases"):
        digest = referrers_registry.push_image(running.namespace, content=name.encode())
        run = finished(running.namespace, name, repository, digest)
        run["metadata"]["labels"] = run["metadata"].get("labels", {}) | {"signed-by": name}
        running.server.create_run(run)
        images[name] = f"{repository}@{digest}"
    running.start()
    keys = {
        "nobody": running.keys / "x509.pub",
        "tenant": tmp_path / "tenant.pub",
        "releases": tmp_path / "releases.pub",
    }
    believed = {}
    for name, image in images.items():
        annotations = running.attested(name)["metadata"]["annotations"]
        assert annotations["chains.tekton.dev/signed"] == "true"
        arguments = ["--insecure-ignore-tlog=true", "--type", "slsaprovenance1", image]
        believed[name] = {
            key
            for key, path in keys.items()
            if cosign("verify-attestation", "--key", path, *arguments, check=False).returncode == 0
        }
    assert believed == {"nobody": {"nobody"}, "tenant": {"nobody", "tenant"}, "releases": {"releases"}}
    assert running.stop() == 0

"""Admission engines admit what we attested, in each form that they can read, and refuse its tampered twins.

A twin is another image that carries the evidence of an attested one, or the attested image with an envelope
whose payload was changed. What each engine can read of key-signed evidence at all was tried with cosign's own
in ``tests/integration/test_testbed_admission.py``.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.integration.test_testbed_admission import (
    cluster_image_policy,
    cluster_policy,
    image_validating_policy,
)
from tests.interop.attested import Attested, attest_image, slug
from tests.testbed.admission import Decision, Kyverno, PolicyTester
from tests.testbed.images import MANIFEST, Registry, descriptor

pytestmark = pytest.mark.server
Json = Any
BUILDER = "https://tekton.dev/chains/v2"
Admit = Callable[[str, str], Decision]
# engine and policy -> the encodings of ours that it can read
READS = {
    "policy-controller": ("dsse", "both"),
    "kyverno-cosign": ("dsse", "both"),
    "kyverno-bundle": ("sigstore-bundle", "both"),
    "kyverno-cel": ("sigstore-bundle", "both"),
}
CASES = [(engine, encoding) for engine, encodings in READS.items() for encoding in encodings]


@pytest.fixture
def admit(request: pytest.FixtureRequest) -> Callable[[str], Admit]:
    def choose(engine: str) -> Admit:
        if engine == "policy-controller":
            tester: PolicyTester = request.getfixturevalue("policy_tester")
            return lambda key, image: tester.admit(cluster_image_policy(key, BUILDER), image)
        kyverno: Kyverno = request.getfixturevalue("kyverno")
        if engine == "kyverno-cel":
            return lambda key, image: kyverno.admit(image_validating_policy(key, BUILDER), image)
        form = {"kyverno-cosign": "Cosign", "kyverno-bundle": "SigstoreBundle"}[engine]
        return lambda key, image: kyverno.admit(cluster_policy(form, key, BUILDER), image)

    return choose


def move_evidence(
    registry: Registry, name: str, attested: Attested, twin: str, change: Callable[[Json], None]
) -> None:
    """Put the evidence of the attested image under ``twin``, each layer's JSON changed by ``change``."""

    def moved(layer: Json, annotations: bool) -> Json:
        content = json.loads(registry.blob(name, layer["digest"]))
        change(content)
        data = json.dumps(content).encode()
        registry.push_blob(name, data)
        written = descriptor(layer["mediaType"], data)
        return written | (
            {"annotations": layer["annotations"]} if annotations and "annotations" in layer else {}
        )

    hexdigest = attested.digest.removeprefix("sha256:")
    if f"sha256-{hexdigest}.att" in registry.tags(name):
        manifest = json.loads(registry.manifest(name, f"sha256-{hexdigest}.att"))
        manifest["layers"] = [moved(layer, True) for layer in manifest["layers"]]
        tag = f"sha256-{twin.removeprefix('sha256:')}.att"
        registry.push_manifest(name, json.dumps(manifest).encode(), MANIFEST, tag)
    listed = json.loads(registry.request("GET", f"/v2/{name}/referrers/{attested.digest}").body)["manifests"]
    subject = descriptor(MANIFEST, registry.manifest(name, twin))
    for item in listed:
        manifest = json.loads(registry.manifest(name, item["digest"]))
        manifest["subject"] = subject
        manifest["layers"] = [moved(layer, True) for layer in manifest["layers"]]
        registry.push_manifest(name, json.dumps(manifest).encode(), MANIFEST)


def leave(content: Json) -> None:
    """Change nothing."""


def change_payload(content: Json) -> None:
    """Let the statement name another subject; the signature stays."""
    envelope = content.get("dsseEnvelope", content)
    statement = json.loads(b64decode(envelope["payload"]))
    statement["subject"][0]["digest"]["sha256"] = change_payload.twin  # type: ignore[attr-defined]
    envelope["payload"] = b64encode(json.dumps(statement).encode()).decode()


@pytest.mark.parametrize(("engine", "encoding"), CASES)
def test_what_we_attested_is_admitted_and_its_twins_are_not(
    referrers_registry: Registry,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    admit: Callable[[str], Admit],
    engine: str,
    encoding: str,
) -> None:
    name = slug(request)
    attested = attest_image(referrers_registry, tmp_path, name, encoding=encoding)
    ask, key = admit(engine), attested.public_key.read_text()
    decision = ask(key, attested.reference)
    assert decision.admitted, decision.reason

    assert chains(["keys", "generate", str(tmp_path / "other.key")]) == 0
    assert not ask((tmp_path / "other.pub").read_text(), attested.reference).admitted

    for number, change in enumerate((leave, change_payload)):
        twin = referrers_registry.push_image(name, content=f"twin {number}".encode())
        change_payload.twin = twin.removeprefix("sha256:")  # type: ignore[attr-defined]
        move_evidence(referrers_registry, name, attested, twin, change)
        assert not ask(key, f"{attested.repository}@{twin}").admitted, change.__name__


def test_another_builder_is_not_admitted(
    referrers_registry: Registry,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    admit: Callable[[str], Admit],
) -> None:
    data = {"builder.id": "https://example.com/somebody-else"}
    attested = attest_image(referrers_registry, tmp_path, slug(request), data=data)
    for engine in READS:
        assert not admit(engine)(attested.public_key.read_text(), attested.reference).admitted, engine

"""Attests a run that built an image in a real registry, through the command line, and says where everything is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.testbed.images import Registry

Json = Any
KINDS = ["ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519"]
ENCODINGS = ["dsse", "sigstore-bundle", "both"]


@dataclass(frozen=True, slots=True)
class Attested:
    """An image with evidence: its reference by digest and the public key."""

    reference: str
    repository: str
    digest: str
    public_key: Path
    private_key: Path
    run_file: Path


def run_of(reference: str, digest: str, name: str = "build") -> Json:
    """Return a finished TaskRun that built the image."""
    return {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": name, "namespace": "ci", "uid": hashlib.sha256(name.encode()).hexdigest()[:32]},
        "spec": {"taskRef": {"name": "buildah"}, "serviceAccountName": "builder"},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True"}],
            "podName": "build-pod", "startTime": "2026-01-02T03:04:05Z", "completionTime": "2026-01-02T03:09:05Z",
            "steps": [{"name": "build", "imageID": "registry.example.com/buildah@sha256:" + "ab" * 32}],
            "results": [
                {"name": "IMAGE_URL", "type": "string", "value": reference},
                {"name": "IMAGE_DIGEST", "type": "string", "value": digest},
            ],
        },
    }  # fmt: skip


def attest_image(
    registry: Registry,
    folder: Path,
    name: str,
    *,
    kind: str = "ecdsa-p256",
    encoding: str = "both",
    data: dict[str, str] | None = None,
    store: str = "oci:",
) -> Attested:
    """Push an image called ``name``, attest its run into the registry and return where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = registry.push_image(name)
    repository = f"{registry.host}/{name}"
    run_file = folder / "run.json"
    run_file.write_text(json.dumps(run_of(repository, digest, name.replace("/", "-"))))
    config = {
        "artifacts.taskrun.format": "slsa/v2alpha4",
        "artifacts.taskrun.storage": "oci",
        "storage.oci.encoding-format": encoding,
    } | (data or {})
    if registry.ca_file:
        config["storage.oci.ca-file"] = str(registry.ca_file)
    config_file = folder / "config.json"
    config_file.write_text(json.dumps(config))
    key = folder / "signing.key"
    if not key.exists():
        assert chains(["keys", "generate", str(key), "--algorithm", kind]) == 0
    assert (
        chains(["attest", str(run_file), "--config", str(config_file), "--key", str(key), "--store", store])
        == 0
    )
    return Attested(f"{repository}@{digest}", repository, digest, key.with_suffix(".pub"), key, run_file)


def slug(request: pytest.FixtureRequest) -> str:
    """Return a repository name of the test's own."""
    return "t-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]

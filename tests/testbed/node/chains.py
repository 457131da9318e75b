"""The controller on the node: the shipped image with the shipped manifests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.testbed.images import Registry
from tests.testbed.node.images import push_layout
from tests.testbed.node.shipped_image import shipped_image
from tests.testbed.node.tekton import rollout

ROOT = Path(__file__).parents[3]
NAMESPACE, NAME = "tekton-chains", "tekton-chains-controller"
SHIPPED = "registry.example.com/provenance-chains"
"""The image's name in the manifests."""
TAG = "0.1.0"
REPLICAS = 2
Kubectl = Callable[..., str]


def install(kubectl: Kubectl, registry: Registry, folder: Path) -> Path:
    """Install the controller as ``deploy/README.md`` says; return its public key when both pods are ready.

    Two things differ from the shipped manifests: the image's name, and plain HTTP is allowed in
    ``chains-config``.
    """
    push_layout(registry, "provenance-chains", TAG, shipped_image())
    folder.mkdir()
    chains = Path(sys.executable).with_name("chains")
    subprocess.run([chains, "keys", "generate", "x509.pem"], cwd=folder, check=True, capture_output=True)
    kubectl("apply", "-f", ROOT / "deploy" / "base" / "namespace.yaml")
    kubectl(
        "-n",
        NAMESPACE,
        "create",
        "secret",
        "generic",
        "signing-secrets",
        f"--from-file={folder / 'x509.pem'}",
    )
    kubectl("apply", "-k", _overlay(registry.host, folder))
    rollout(kubectl, NAMESPACE, f"statefulset/{NAME}")
    return folder / "x509.pub"


def _overlay(registry: str, folder: Path) -> Path:
    """Write a kustomization over ``deploy/base``, as a user with a local registry would."""
    patch = [{"op": "add", "path": "/data/storage.oci.repository.insecure", "value": "true"}]
    kustomization = {
        "resources": [os.path.relpath(ROOT / "deploy" / "base", folder)],
        "images": [{"name": SHIPPED, "newName": f"{registry}/provenance-chains"}],
        "patches": [
            {"target": {"kind": "ConfigMap", "name": "chains-config"}, "patch": yaml.safe_dump(patch)}
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder

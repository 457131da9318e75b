"""The examples for Argo CD and Flux: each can be read, and preflight judges what they would apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.cli.main import run as chains

ROOT = Path(__file__).parents[4]
EXAMPLES = ROOT / "examples" / "gitops"
KNOWN = "registry.example.com/shop/storefront@sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
UNKNOWN = f"registry.example.com/shop/storefront@sha256:{'0' * 64}"


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


def rendered(*images: str) -> str:
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}, "spec": {"containers": [{"name": "c", "image": image}]}}
        for number, image in enumerate(images)
    ]  # fmt: skip
    return yaml.safe_dump_all([*documents("argo-cd-application.yaml"), *pods])


def test_flux_verifies_with_the_key_of_the_secret_that_the_example_has() -> None:
    secret, source, applied = documents("flux.yaml")
    assert source["spec"]["verify"]["secretRef"]["name"] == secret["metadata"]["name"]
    assert source["spec"]["verify"]["provider"] == "cosign"
    assert applied["spec"]["sourceRef"]["name"] == source["metadata"]["name"]


def test_the_plugin_asks_before_it_prints() -> None:
    (plugin,) = documents("argo-cd-plugin.yaml")
    script = plugin["spec"]["generate"]["args"][0].splitlines()
    asked = next(number for number, line in enumerate(script) if "chains preflight" in line)
    printed = next(number for number, line in enumerate(script) if line.startswith("cat "))
    assert script[0] == "set -eu"
    assert asked < printed
    (application,) = documents("argo-cd-application.yaml")
    name = f"{plugin['metadata']['name']}-{plugin['spec']['version']}"
    assert application["spec"]["source"]["plugin"]["name"] == name


def test_the_hook_ends_the_sync_at_the_first_refusal() -> None:
    (job,) = documents("argo-cd-presync.yaml")
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PreSync"
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "preflight"


@pytest.mark.parametrize(("images", "code"), [((KNOWN,), 0), ((KNOWN, UNKNOWN), 1)])
def test_preflight_judges_rendered_manifests_beside_an_application(
    images: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert chains(["attest", str(ROOT / "examples" / "taskrun-image.json")]) == 0
    policy = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "production"},
        "spec": {
            "match": {"images": ["registry.example.com/shop/*"]},
            "mode": "enforce",
            "trust": [
                {
                    "name": "tekton",
                    "signer": {"keys": [{"ref": ".chains/signing.pub"}]},
                    "builderId": "https://tekton.dev/chains/v2",
                    "maxLevel": 2,
                }
            ],
        },
    }
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy))
    (tmp_path / "rendered.yaml").write_text(rendered(*images))
    asked = ["preflight", "policy.yaml", "rendered.yaml", "--store", "oci-layout:.chains/layout"]
    assert chains(asked) == code

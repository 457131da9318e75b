"""Admission engines demand the execution report: what is proven to have had no network is let in, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.faults.hermetic import objects
from tests.integration.test_testbed_admission import manifest
from tests.interop.attested import slug
from tests.testbed.admission import Kyverno, PolicyTester
from tests.testbed.images import Registry

pytestmark = pytest.mark.server
Json = Any
SCAI = "https://in-toto.io/attestation/scai/v0.3"
DOCS = Path(__file__).parents[2] / "docs" / "execution-report.md"


def rego(key: str) -> str:
    """policy-controller's policy; the rule is the one that the documentation shows."""
    shown = DOCS.read_text(encoding="utf-8").partition("```rego\n")[2].partition("```")[0]
    policy = {"type": "rego", "data": shown}
    attestation = {"name": "report", "predicateType": SCAI, "policy": policy}
    authority = {"name": "key", "key": {"data": key}, "attestations": [attestation]}
    spec = {"images": [{"glob": "127.0.0.1:*/**"}], "authorities": [authority]}
    return manifest("policy.sigstore.dev/v1beta1", "ClusterImagePolicy", spec)


def cel(key: str) -> str:
    """Kyverno's policy in CEL; the expression is the one that the documentation shows."""
    shown = DOCS.read_text(encoding="utf-8").partition("```cel\n")[2].partition("```")[0].strip()
    verified = (
        "images.containers.map(i, verifyAttestationSignatures(i, attestations.report, [attestors.key]))"
    )
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    no_log = {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}
    spec = {
        "validationActions": ["Deny"],
        "matchConstraints": {"resourceRules": [pods]},
        "matchImageReferences": [{"glob": "127.0.0.1:*/*"}],
        "credentials": {"allowInsecureRegistry": True},
        "attestors": [{"name": "key", "cosign": {"key": {"data": key}, "ctlog": no_log}}],
        "attestations": [{"name": "report", "intoto": {"type": SCAI}}],
        "validationConfigurations": {"mutateDigest": False, "required": True, "verifyDigest": True},
        "validations": [
            {"expression": f"{verified}.all(count, count > 0)", "message": "no verified report"},
            {"expression": shown, "message": "not proven to have had no network"},
        ],
    }
    return manifest("policies.kyverno.io/v1", "ImageValidatingPolicy", spec)


def attested(registry: Registry, folder: Path, name: str, *, with_pod: bool) -> str:
    """Attest a hermetic run that built an image, with its pod or after it was gone; returns the image."""
    digest = registry.push_image(name)
    found = objects("nothing-wrong")
    results = {"IMAGE_URL": f"{registry.host}/{name}", "IMAGE_DIGEST": digest}
    found["TaskRun"]["status"]["results"] = [
        {"name": key, "type": "string", "value": value} for key, value in results.items()
    ]
    items: list[Json] = list(found.values()) if with_pod else [found["TaskRun"]]
    (folder / "runs.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    (folder / "config.json").write_text(json.dumps({"storage.oci.encoding-format": "both"}))
    options = ["--config", folder / "config.json", "--key", folder / "signing.key", "--store", "oci:"]
    assert chains(["attest", str(folder / "runs.json"), *map(str, options)]) == 0
    return f"{registry.host}/{name}@{digest}"


@pytest.mark.parametrize("engine", ["policy_tester", "kyverno"])
def test_only_an_image_whose_run_was_proven_hermetic_is_admitted(
    engine: str, referrers_registry: Registry, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert chains(["keys", "generate", str(tmp_path / "signing.key")]) == 0
    key = (tmp_path / "signing.pub").read_text()
    proven = attested(referrers_registry, tmp_path, f"{slug(request)}-proven", with_pod=True)
    unproven = attested(referrers_registry, tmp_path, f"{slug(request)}-unproven", with_pod=False)
    asked: PolicyTester | Kyverno = request.getfixturevalue(engine)
    policy = {"policy_tester": rego, "kyverno": cel}[engine](key)
    decision = asked.admit(policy, proven)
    assert decision.admitted, decision.reason
    assert not asked.admit(policy, unproven).admitted

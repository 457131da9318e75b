"""An API server with the engines' own CRDs takes every generated document as it is, with no unknown name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.policy.document.load import parse_policies
from chains.policy.engines.generated import to_yaml
from chains.policy.engines.targets import TARGETS
from chains.policy.opened import open_policy
from tests.faults.verify.forge import BUILDER, NOW, public
from tests.testbed.cluster import ApiServer, definitions_of, install_crds
from tests.unit.chains.policy.made import document, trust

pytestmark = pytest.mark.server
Json = Any
KYVERNO, CONTROLLER = "github.com/kyverno/kyverno", "github.com/sigstore/policy-controller"
PLURALS = {
    "ImageValidatingPolicy": "policies.kyverno.io/v1/imagevalidatingpolicies",
    "ClusterPolicy": "kyverno.io/v1/clusterpolicies",
    "ClusterImagePolicy": "policy.sigstore.dev/v1beta1/clusterimagepolicies",
    "TrustRoot": "policy.sigstore.dev/v1alpha1/trustroots",
}
ROOT = Path(__file__).parents[1] / "faults" / "verify" / "forged" / "trusted_root.json"


@pytest.fixture(scope="module")
def create(api_server: ApiServer) -> Callable[[Json], Json]:
    """Return what asks the API server to create a document, without storing it."""
    kyverno, controller = ("kyverno", KYVERNO, "config/crds"), ("policycontroller", CONTROLLER, "config")
    definitions = [
        *definitions_of(*kyverno, "kyverno/kyverno.io_clusterpolicies.yaml"),
        *definitions_of(*kyverno, "policies.kyverno.io/policies.kyverno.io_imagevalidatingpolicies.yaml"),
        *definitions_of(*controller, "300-*.yaml"),
    ]
    assert len(definitions) == len(PLURALS)
    install_crds(api_server, definitions, list(PLURALS.values()))

    def ask(one: Json) -> Json:
        assert PLURALS[one["kind"]].startswith(one["apiVersion"])
        path = f"/apis/{PLURALS[one['kind']]}?dryRun=All&fieldValidation=Strict"
        return api_server.request("POST", path, one)

    return ask


def holds(stored: Json, written: Json) -> bool:
    """Whether everything that was written is there; the API server adds defaults."""
    if isinstance(written, dict):
        return all(name in stored and holds(stored[name], value) for name, value in written.items())
    if isinstance(written, list):
        return len(stored) == len(written) and all(map(holds, stored, written))
    return bool(stored == written)


IDENTITY = {"san": "https://ci.example.com", "issuerRegexp": r"https://[a-z]+\.example\.com"}
POLICIES = {
    "everything": document(
        "Shop_Policy",
        mode="enforce",
        match={
            "images": ["registry.example.com/shop/*", "docker.io/library/**", f"a.example/b@sha256:{'0' * 64}"],
            "namespaces": {
                "names": ["prod-*", "y"],
                "matchLabels": {"env": "1e3", "on": "yes"},
                "matchExpressions": [{"key": "tier", "operator": "Exists"}],
            },
        },
        trustedRoot=str(ROOT),
        trust=[trust("a", "ours", "other"), {"name": "b", "signer": {"identity": IDENTITY}, "builderId": BUILDER, "maxLevel": 3}],
        signers=[{"predicateType": "https://spdx.dev/Document", "keys": [{"pem": public("stranger").pem.decode()}]}],
        require={
            "level": 2,
            "predicates": ["https://spdx.dev/Document"],
            "buildTypes": ["https://tekton.dev/chains/v2/slsa"],
            "sources": [{"uri": "git+ssh://git.example.com/a/b", "refs": ["refs/tags/*"]}],
            "externalParameters": {"runSpec": "any", "x'\"`{{y}}": ["a\nb", 1, None]},
            "tasks": {"resolvers": ["git"], "pinned": True},
            "hermetic": "enforced",
            "outcome": "succeeded",
            "namespaces": ["ci*"],
            "rejectedHints": False,
        },
    ),
    "nobody": document(trust=[trust(level=1)], require={"level": 3}, mode="warn"),
    "audit": document(mode="audit", match={"images": ["**"], "namespaces": {"names": ["exact"]}}),
}  # fmt: skip


@pytest.mark.parametrize("target", ["policy-controller", "kyverno", "kyverno-clusterpolicy"])
def test_the_api_server_takes_every_document(target: str, create: Callable[[Json], Json]) -> None:
    for written in POLICIES.values():
        (policy,) = parse_policies(json.dumps(written).encode(), "policy.json").policies
        text = to_yaml([TARGETS[target](open_policy(policy), NOW)], target)
        for one in yaml.safe_load_all(text):
            assert holds(create(one), one)

"""The versions of the page about support are those that the tests build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/support.md").read_text(encoding="utf-8")
ROWS = {
    cells[1].strip(): (cells[2].strip(), cells[3].strip())
    for cells in (line.split("|") for line in PAGE.splitlines() if line.startswith("| "))
}


def pinned(module: str, package: str) -> str:
    text = (ROOT / "tests/testbed" / module / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^(?:require\s+|\s+){re.escape(package)} v([\w.]+)", text, re.MULTILINE)
    assert found is not None, f"{module}: no {package}"
    return found[1]


@pytest.mark.parametrize(
    ("row", "module", "package"),
    [
        ("Tekton Pipelines, CRDs and API `tekton.dev/v1`", "peer", "github.com/tektoncd/pipeline"),
        ("Tekton Pipelines, controller, webhook, entrypoint", "pods", "github.com/tektoncd/pipeline"),
        ("Tekton Triggers", "triggers", "github.com/tektoncd/triggers"),
        ("Tekton Chains, its formatters", "peer", "github.com/tektoncd/chains"),
        ("Tekton Chains, its controller", "peercontroller", "github.com/tektoncd/chains"),
        ("Kubernetes", "kube", "k8s.io/kubernetes"),
        ("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        ("containerd", "containerd", "github.com/containerd/containerd/v2"),
        ("Helm", "helm", "helm.sh/helm/v4"),
        ("cosign", "tools", "github.com/sigstore/cosign/v3"),
        ("Gatekeeper", "gatekeeper", "github.com/open-policy-agent/gatekeeper/v3"),
        ("Kyverno, its command line", "kyverno", "github.com/kyverno/kyverno"),
        ("Sigstore's policy controller", "policycontroller", "github.com/sigstore/policy-controller"),
        ("distribution (registry)", "distribution", "github.com/distribution/distribution/v3"),
    ],
)
def test_the_page_names_the_version_that_is_tried(row: str, module: str, package: str) -> None:
    assert ROWS[row][0] == pinned(module, package)


def test_what_the_page_names_as_proof_is_there() -> None:
    named = re.findall(r"`(tests/[\w./-]+)`", PAGE)
    assert len(named) > 8
    assert [path for path in named if not (ROOT / path).exists()] == []

"""``policy generate``: documents on standard output, what they lack on standard error, and ``--strict``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from chains.cli.main import run as chains
from chains.policy.engines.targets import TARGETS
from tests.testbed.certificates import make_certificates
from tests.unit.chains.policy.made import document

# Gatekeeper's documents leave what evidence must show to our own provider
TRANSLATED = [target for target in TARGETS if target != "gatekeeper"]


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document(require={"everyStore": True})))
    return str(path)


@pytest.mark.parametrize("target", TRANSLATED)
def test_the_documents_are_printed_and_their_limits_told(
    target: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["policy", "generate", policy, "--for", target]) == 0
    printed = capsys.readouterr()
    assert all(one["apiVersion"] and one["kind"] for one in yaml.safe_load_all(printed.out))
    assert "policy production: weaker: require.everyStore: " in printed.err


@pytest.mark.parametrize("target", TRANSLATED)
def test_strict_prints_nothing_if_something_is_not_expressed(
    target: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["policy", "generate", policy, "--for", target, "--strict"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "require.everyStore" in printed.err
    assert "nothing is written" in printed.err


def test_strict_prints_a_policy_that_is_expressed_as_a_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document()))
    assert chains(["policy", "generate", str(path), "--for", "policy-controller", "--strict"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["kind"] == "ClusterImagePolicy"


def test_an_engine_has_to_be_named(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["policy", "generate", policy]) == 2
    assert "pass --for policy-controller" in capsys.readouterr().err


def test_gatekeeper_asks_the_provider_at_the_given_place(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chains(["policy", "generate", policy, "--for", "gatekeeper"]) == 2
    assert "pass --provider-ca" in capsys.readouterr().err
    ca = str(make_certificates(tmp_path).ca_file)
    place = ["--provider-url", "https://a.example:8443/verify"]
    monkeypatch.setenv("CHAINS_PROVIDER_CA", ca)
    assert chains(["policy", "generate", policy, "--for", "gatekeeper", "--strict", *place]) == 0
    provider, template, constraint = yaml.safe_load_all(capsys.readouterr().out)
    assert provider["spec"]["url"].startswith("https://a.example:8443/verify?policy=production&")
    assert (template["kind"], constraint["kind"]) == ("ConstraintTemplate", "ChainsImageEvidence")

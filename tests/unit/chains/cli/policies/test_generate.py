"""``policy generate``: documents on standard output, what they lack on standard error, and ``--strict``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from chains.cli.main import run as chains
from chains.policy.engines.targets import TARGETS
from tests.unit.chains.policy.made import document


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(document(require={"hermetic": "enforced"})))
    return str(path)


@pytest.mark.parametrize("target", TARGETS)
def test_the_documents_are_printed_and_their_limits_told(
    target: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["policy", "generate", policy, "--for", target]) == 0
    printed = capsys.readouterr()
    assert all(one["apiVersion"] and one["kind"] for one in yaml.safe_load_all(printed.out))
    assert "policy production: weaker: require.hermetic: " in printed.err


@pytest.mark.parametrize("target", TARGETS)
def test_strict_prints_nothing_if_something_is_not_expressed(
    target: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["policy", "generate", policy, "--for", target, "--strict"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "require.hermetic" in printed.err
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

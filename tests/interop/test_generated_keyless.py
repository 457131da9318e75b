"""Policies that trust certificates, written for other engines: identities are compared as a whole, as by us."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.cli.main import run as chains
from tests.interop.engine_cases import BUILDER
from tests.interop.test_keyless import Project, project
from tests.testbed.admission import Kyverno, PolicyTester
from tests.testbed.loopback import serving
from tests.testbed.tuf import Repository

__all__ = ["project"]
pytestmark = pytest.mark.server
Json = Any


def written(project: Project, identity: Json, require: Json) -> str:
    """Write a policy that trusts an identity; returns its path."""
    spec = {
        "match": {"images": [f"{project.registry.host}/*"]},
        "trustedRoot": str(project.services.trusted_root),
        "trust": [
            {"name": "ci", "signer": {"identity": identity}, "builderId": BUILDER, "maxLevel": 2},
        ],
        "require": require,
    }
    policy = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "keyless"},
        "spec": spec,
    }
    path = project.folder / "policy.json"
    path.write_text(json.dumps(policy))
    return str(path)


def generated(policy: str, target: str, capsys: pytest.CaptureFixture[str]) -> list[Json]:
    capsys.readouterr()
    assert chains(["policy", "generate", policy, "--for", target]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def test_an_identity_is_admitted_as_a_whole_by_every_engine(
    project: Project,
    policy_tester: PolicyTester,
    kyverno: Kyverno,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project.attest()
    issuer = project.services.issuer
    name, url = issuer.identity(), issuer.url
    begin = re.escape(name[:-3])
    cases: list[tuple[Json, Json, bool]] = [
        ({"san": name, "issuer": url}, {}, True),
        ({"san": name, "issuer": url}, {"timestamp": True}, True),
        ({"san": name, "issuer": url}, {"log": True}, True),
        ({"san": name[:-1], "issuer": url}, {}, False),
        ({"san": name, "issuer": url + "x"}, {}, False),
        ({"sanRegexp": begin + ".{3}", "issuerRegexp": re.escape(url)}, {}, True),
        ({"sanRegexp": begin, "issuer": url}, {}, False),
        ({"san": name, "issuerRegexp": re.escape(url[:-1])}, {}, False),
    ]
    repository = Repository(project.services.trusted_root.read_bytes())
    with serving(repository.answer) as mirror:
        for identity, require, admitted in cases:
            policy = written(project, identity, require)
            asked = (identity, require)
            ours = ["verify", "--policy", policy, project.reference, "--store", "oci:"]
            assert (chains(ours) == 0) is admitted, asked

            root, controlled = generated(policy, "policy-controller", capsys)
            decision = policy_tester.admit(
                json.dumps(controlled), project.reference, trust_root=json.dumps(root)
            )
            assert decision.admitted is admitted, (*asked, decision.reason)

            (validating,) = generated(policy, "kyverno", capsys)
            for one in validating["spec"]["attestors"]:
                # the engine opens a TUF repository before it uses the trusted root, and there is no other here
                data = b64encode(repository.root).decode()
                one["cosign"]["tuf"] = {"mirror": mirror, "root": {"data": data}}
            env = {"TUF_ROOT": str(tmp_path / "tuf")}
            (found,) = kyverno.admit_all(json.dumps(validating), {"it": project.reference}, env=env).values()
            assert found.admitted is admitted, (*asked, found.reason)

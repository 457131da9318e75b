"""What ``chains keys export`` prints is taken as it is by stock cosign, policy-controller and Kyverno."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chains.cli import run as chains
from tests.interop.attested import attest_image, slug
from tests.testbed.admission import Kyverno, PolicyTester
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry

pytestmark = pytest.mark.server


def export(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert chains(["keys", "export", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_exported_keys_serve_other_verifiers(
    referrers_registry: Registry,
    cosign: Cosign,
    policy_tester: PolicyTester,
    kyverno: Kyverno,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attested = attest_image(referrers_registry, tmp_path, slug(request))
    assert chains(["keys", "generate", str(tmp_path / "other.key")]) == 0
    other, ours = tmp_path / "other.pub", attested.private_key

    pem = tmp_path / "exported.pub"
    pem.write_text(export(capsys, ours))
    cosign(
        "verify-attestation", "--key", pem, "--insecure-ignore-tlog=true", "--type", "slsaprovenance1",
        attested.reference,
    )  # fmt: skip

    # during a rotation both keys are in the policy, and either may have signed
    controller = ("--format", "policy-controller", "--images", "127.0.0.1:*/**")
    decision = policy_tester.admit(export(capsys, other, ours, *controller), attested.reference)
    assert decision.admitted, decision.reason
    assert not policy_tester.admit(export(capsys, other, *controller), attested.reference).admitted

    for form in ("dsse", "sigstore-bundle"):
        policy = ("--format", "kyverno", "--images", "127.0.0.1:*/*", "--form", form)
        decision = kyverno.admit(export(capsys, other, ours, *policy), attested.reference)
        assert decision.admitted, decision.reason
        assert not kyverno.admit(export(capsys, other, *policy), attested.reference).admitted

    keyset = tmp_path / "keyset.json"
    keyset.write_text(export(capsys, other, ours, "--format", "keyset"))
    store = ["--store", "oci:"]
    if referrers_registry.ca_file:
        store += ["--config", str(tmp_path / "config.json")]
    assert chains(["verify", attested.reference, "--key", str(keyset), *store]) == 0
    keyid = json.loads(export(capsys, ours, "--format", "keyset"))["keys"][0]["keyid"]
    keyset.write_text(export(capsys, keyset, "--format", "keyset", "--revoke", keyid))
    assert chains(["verify", attested.reference, "--key", str(keyset), *store]) == 1

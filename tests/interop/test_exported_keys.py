"""What ``chains keys export`` prints is taken as it is by stock cosign, policy-controller and Kyverno."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chains.cli import run as chains
from tests.interop.attested import attest_image, run_of, slug
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


def test_cosign_verifies_the_evidence_of_each_of_two_signers(
    referrers_registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert chains(["keys", "generate", str(tmp_path / "team.key")]) == 0
    name = slug(request)
    digest = referrers_registry.push_image(name)
    repository = f"{referrers_registry.host}/{name}"
    (tmp_path / "run.json").write_text(json.dumps(run_of(repository, digest, name)))
    extra = [{"name": "team", "reference": str(tmp_path / "team.key"), "namespaces": ["c*"]}]
    config = {
        "artifacts.taskrun.format": "slsa/v2alpha4",
        "artifacts.taskrun.storage": "oci",
        "storage.oci.encoding-format": "both",
        "signers.extra": json.dumps(extra),
    }
    if referrers_registry.ca_file:
        config["storage.oci.ca-file"] = str(referrers_registry.ca_file)
    (tmp_path / "config.json").write_text(json.dumps(config))
    arguments = ["attest", "run.json", "--config", "config.json", "--store", "oci:", "--output", "json"]
    for unchanged in (False, True):
        capsys.readouterr()
        assert chains(arguments) == 0
        outcome = json.loads(capsys.readouterr().out)["runs"][0]
        assert (outcome["state"], outcome["unchanged"]) == ("signed", unchanged)
        assert {entry["signer"] for entry in outcome["entries"]} == {"", "team"}
    listed = json.loads(referrers_registry.request("GET", f"/v2/{name}/referrers/{digest}").body)["manifests"]
    assert len(listed) == 2 * 3
    for key in ("team.pub", ".chains/signing.pub"):
        flags = ["--key", tmp_path / key, "--insecure-ignore-tlog=true"]
        for form in ("--new-bundle-format=true", "--new-bundle-format=false"):
            kind = ["--type", "slsaprovenance1", f"{repository}@{digest}"]
            cosign("verify-attestation", *flags, form, *kind)
            cosign("verify", *flags, form, f"{repository}@{digest}")

"""What ``chains keys export`` prints is taken as it is by stock cosign, policy-controller and Kyverno."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from chains.cli.main import run as chains
from tests.interop.attested import attest_image, run_of, slug
from tests.interop.test_keyless import Project, identity, project
from tests.testbed.admission import Kyverno, PolicyTester
from tests.testbed.cluster import ApiError, ApiServer
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry
from tests.testbed.sigstore_keys import make_keys, trusted_root

__all__ = ["project"]
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


def other_root(folder: Path) -> Path:
    """Write the trusted root of another instance."""
    path = folder / "other_root.json"
    places = ("http://other", "http://other:1", "http://other", "http://other")
    path.write_text(json.dumps(trusted_root(make_keys(), *places)))
    return path


def test_a_merged_trusted_root_is_read_by_sigstore_python_and_cosign(
    project: Project, cosign: Cosign, capsys: pytest.CaptureFixture[str]
) -> None:
    project.attest()
    roots = (other_root(project.folder), project.services.trusted_root)
    merged = project.folder / "merged.json"
    arguments = [argument for root in roots for argument in ("--trusted-root", root)]
    merged.write_text(export(capsys, "--format", "trusted-root", *arguments))
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(merged)))
    issuer = project.services.issuer
    for data in project.bundles():
        verifier.verify_dsse(Bundle.from_json(data), Identity(identity=issuer.identity(), issuer=issuer.url))
    flags = ["--trusted-root", merged, *identity(project.services), project.reference]
    cosign("verify-attestation", "--type", "slsaprovenance1", *flags)


def test_policy_controller_admits_certificates_by_the_exported_trust_root(
    project: Project, policy_tester: PolicyTester, capsys: pytest.CaptureFixture[str]
) -> None:
    project.attest()
    issuer = project.services.issuer
    root = {"trustRootRef": "chains-public-keys"}

    def policy(account: str) -> str:
        authority = {
            "name": "chains",
            "keyless": root
            | {"identities": [{"issuer": issuer.url, "subject": issuer.identity(account=account)}]},
            "rfc3161timestamp": root,
            "attestations": [{"name": "provenance", "predicateType": "https://slsa.dev/provenance/v1"}],
        }
        spec = {"images": [{"glob": "127.0.0.1:*/**"}], "authorities": [authority]}
        kind = {"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy"}
        return json.dumps(kind | {"metadata": {"name": "provenance"}, "spec": spec})

    ours, others = (
        export(capsys, "--format", "trust-root", "--trusted-root", path)
        for path in (project.services.trusted_root, other_root(project.folder))
    )
    right = policy("tekton-chains-controller")
    decision = policy_tester.admit(right, project.reference, trust_root=ours)
    assert decision.admitted, decision.reason
    for wrong, trusted in ((right, others), (policy("somebody-else"), ours)):
        assert not policy_tester.admit(wrong, project.reference, trust_root=trusted).admitted


def test_every_account_of_a_cluster_may_read_the_exported_config_map_and_nothing_beside(
    api_server: ApiServer, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["keys", "generate", str(tmp_path / "the.key")]) == 0
    namespace = api_server.create_namespace(slug(request))
    listed = json.loads(
        export(capsys, tmp_path / "the.pub", "--format", "configmap", "--namespace", namespace)
    )
    for item in listed["items"]:
        plural = f"{item['kind'].lower()}s"
        group = "/api/v1" if item["apiVersion"] == "v1" else f"/apis/{item['apiVersion']}"
        api_server.request("POST", f"{group}/namespaces/{namespace}/{plural}", item)
    other = api_server.create_namespace(f"{namespace}-tenant")
    token = api_server.service_account_token(other, "anyone")
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    found = api_server.request("GET", f"{maps}/chains-public-keys", token=token)
    assert found["data"]["chains.pub"] == (tmp_path / "the.pub").read_text()
    for method, path in (("GET", f"{maps}/another"), ("DELETE", f"{maps}/chains-public-keys")):
        with pytest.raises(ApiError) as caught:
            api_server.request(method, path, token=token)
        assert caught.value.status == 403

"""The admission engines of the testbed decide by what is in the registry, in the forms that each can read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.admission import Kyverno, PolicyTester
from tests.testbed.commands import CommandError
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry

pytestmark = pytest.mark.server

PROVENANCE = "https://slsa.dev/provenance/v1"
BUILDER = "https://example.com/builder"
ATTEST = (
    "--key",
    "right.key",
    "--use-signing-config=false",
    "--tlog-upload=false",
    "--yes",
    "--type",
    PROVENANCE,
)


@dataclass(frozen=True)
class Images:
    """One image with ``.att``, one with a bundle referrer, and the keys: one signed both, one did not."""

    att: str
    bundle: str
    right: str
    wrong: str


@pytest.fixture(scope="module")
def images(cosign: Cosign, referrers_registry: Registry) -> Images:
    for name in ("right", "wrong"):
        cosign("generate-key-pair", "--output-key-prefix", name)
    predicate = cosign.home / "provenance.json"
    predicate.write_text(
        json.dumps(
            {
                "buildDefinition": {"buildType": "https://example.com/build", "externalParameters": {}},
                "runDetails": {"builder": {"id": BUILDER}},
            }
        )
    )
    references = []
    for repository, form in (("admission/att", ["--new-bundle-format=false"]), ("admission/bundle", [])):
        image = f"{referrers_registry.host}/{repository}@{referrers_registry.push_image(repository)}"
        cosign("attest", *ATTEST, *form, "--predicate", predicate, image)
        references.append(image)
    return Images(*references, *((cosign.home / f"{name}.pub").read_text() for name in ("right", "wrong")))


def cluster_image_policy(key: str, builder: str = BUILDER) -> str:
    """policy-controller's policy: provenance by ``key`` that names ``builder``."""
    rule = {"type": "cue", "data": f"predicate: runDetails: builder: id: {json.dumps(builder)}"}
    attestation = {"name": "provenance", "predicateType": PROVENANCE, "policy": rule}
    authority = {"name": "key", "key": {"data": key}, "attestations": [attestation]}
    spec = {"images": [{"glob": "127.0.0.1:*/**"}], "authorities": [authority]}
    return manifest("policy.sigstore.dev/v1beta1", "ClusterImagePolicy", spec)


def image_validating_policy(key: str, builder: str = BUILDER) -> str:
    """Kyverno's policy in CEL."""
    verified = (
        "images.containers.map(i, verifyAttestationSignatures(i, attestations.provenance, [attestors.key]))"
    )
    builders = (
        "images.containers.map(i, extractPayload(i, attestations.provenance).predicate.runDetails.builder.id)"
    )
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    no_log = {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}
    spec = {
        "validationActions": ["Deny"],
        "matchConstraints": {"resourceRules": [pods]},
        "matchImageReferences": [{"glob": "127.0.0.1:*/*"}],
        "credentials": {"allowInsecureRegistry": True},
        "attestors": [{"name": "key", "cosign": {"key": {"data": key}, "ctlog": no_log}}],
        "attestations": [{"name": "provenance", "intoto": {"type": PROVENANCE}}],
        "validationConfigurations": {"mutateDigest": False, "required": True, "verifyDigest": True},
        "validations": [
            {"expression": f"{verified}.all(count, count > 0)", "message": "no verified provenance"},
            {"expression": f"{builders}.all(id, id == {json.dumps(builder)})", "message": "wrong builder"},
        ],
    }
    return manifest("policies.kyverno.io/v1", "ImageValidatingPolicy", spec)


def cluster_policy(form: str, key: str, builder: str = BUILDER) -> str:
    """Kyverno's older policy; ``form`` is ``Cosign`` for ``.att`` or ``SigstoreBundle`` for referrers."""
    keys = {"publicKeys": key, "rekor": {"ignoreTlog": True}, "ctlog": {"ignoreSCT": True}}
    condition = {"key": "{{ runDetails.builder.id }}", "operator": "Equals", "value": builder}
    attestation = {
        "type": PROVENANCE,
        "attestors": [{"entries": [{"keys": keys}]}],
        "conditions": [{"all": [condition]}],
    }
    verify = {
        "type": form,
        "imageReferences": ["127.0.0.1:*/*"],
        "failureAction": "Enforce",
        "mutateDigest": False,
        "attestations": [attestation],
    }
    pods = {"any": [{"resources": {"kinds": ["Pod"]}}]}
    rule = {"name": "provenance", "match": pods, "verifyImages": [verify]}
    spec = {"background": False, "webhookConfiguration": {"failurePolicy": "Fail"}, "rules": [rule]}
    return manifest("kyverno.io/v1", "ClusterPolicy", spec)


def manifest(version: str, kind: str, spec: dict[str, Any]) -> str:
    """Write a policy as JSON, which is YAML too."""
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": {"name": "provenance"}, "spec": spec})


def test_policy_controller_admits_att_of_the_right_key_and_builder_only(
    images: Images, policy_tester: PolicyTester
) -> None:
    assert policy_tester.admit(cluster_image_policy(images.right), images.att).admitted
    for policy, image in (
        (cluster_image_policy(images.wrong), images.att),
        (cluster_image_policy(images.right, "https://example.com/other"), images.att),
        (cluster_image_policy(images.right), images.bundle),
    ):
        decision = policy_tester.admit(policy, image)
        assert not decision.admitted, image
        assert decision.reason


def test_kyverno_admits_a_bundle_of_the_right_key_and_builder_only(images: Images, kyverno: Kyverno) -> None:
    assert kyverno.admit(image_validating_policy(images.right), images.bundle).admitted
    assert (
        "no verified provenance" in kyverno.admit(image_validating_policy(images.wrong), images.bundle).reason
    )
    other = image_validating_policy(images.right, "https://example.com/other")
    assert "wrong builder" in kyverno.admit(other, images.bundle).reason


def test_kyverno_reads_a_key_signed_att_by_its_older_policy_alone(images: Images, kyverno: Kyverno) -> None:
    assert kyverno.admit(cluster_policy("Cosign", images.right), images.att).admitted
    assert not kyverno.admit(cluster_policy("Cosign", images.wrong), images.att).admitted
    assert not kyverno.admit(image_validating_policy(images.right), images.att).admitted


def test_kyvernos_older_policy_reads_bundles_where_it_says_so(images: Images, kyverno: Kyverno) -> None:
    assert kyverno.admit(cluster_policy("SigstoreBundle", images.right), images.bundle).admitted
    assert not kyverno.admit(cluster_policy("SigstoreBundle", images.wrong), images.bundle).admitted
    assert not kyverno.admit(cluster_policy("Cosign", images.right), images.bundle).admitted


def test_an_engine_that_decides_nothing_is_an_error(
    images: Images, policy_tester: PolicyTester, kyverno: Kyverno
) -> None:
    with pytest.raises(CommandError, match="policy-tester decided nothing"):
        policy_tester.admit(manifest("policy.sigstore.dev/v1beta1", "ClusterImagePolicy", {}), images.att)
    elsewhere = image_validating_policy(images.right).replace('"pods"', '"services"')
    with pytest.raises(CommandError, match="kyverno decided nothing"):
        kyverno.admit(elsewhere, images.bundle)


def test_the_engines_read_from_a_registry_behind_tls_and_credentials(
    images: Images,
    secured_registry: Registry,
    cosign: Cosign,
    policy_tester: PolicyTester,
    kyverno: Kyverno,
    tmp_path: Path,
) -> None:
    env = secured_registry.client_env(tmp_path)
    image = f"{secured_registry.host}/admission/both@{secured_registry.push_image('admission/both')}"
    for form in ([], ["--new-bundle-format=false"]):
        cosign("attest", *ATTEST, *form, "--predicate", "provenance.json", image, env=env)
    assert policy_tester.admit(cluster_image_policy(images.right), image, env=env).admitted
    assert kyverno.admit(image_validating_policy(images.right), image, env=env).admitted

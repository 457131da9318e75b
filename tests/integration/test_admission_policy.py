"""What a real API server makes of documents that we write: policies of Kubernetes itself, objects of Gatekeeper."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.policy.engines.admission_policy import generate
from chains.policy.engines.gatekeeper import ProviderAt
from chains.policy.engines.gatekeeper import generate as for_gatekeeper
from chains.policy.engines.generated import to_yaml
from tests.faults.verify.forge import NOW
from tests.testbed.admission_server import pod
from tests.testbed.certificates import make_certificates
from tests.testbed.cluster import MERGE, ApiError, ApiServer, definitions_of, install_crds
from tests.unit.chains.policy.made import document, opened

pytestmark = pytest.mark.server
Json = Any
STRATEGIC = "application/strategic-merge-patch+json"
UNKNOWN = "sha256:" + "0" * 64


def test_kubernetes_itself_demands_digests_and_repositories_and_no_more(api_server: ApiServer) -> None:
    namespace = api_server.create_namespace("named-images")
    other = api_server.create_namespace("other-images")
    images = ["registry.example.com/shop/*", "docker.io/**", f"registry.example.com/one@{UNKNOWN}"]
    (policy,) = opened(document("named", match={"images": images, "namespaces": {"names": [namespace]}}))
    generated = generate(policy, NOW)
    for written in yaml.safe_load_all(to_yaml([generated], "validatingadmissionpolicy-note")):
        plural = {
            "ValidatingAdmissionPolicy": "policies",
            "ValidatingAdmissionPolicyBinding": "policybindings",
        }
        path = f"/apis/{written['apiVersion']}/validatingadmission{plural[written['kind']]}"
        api_server.request("POST", f"{path}?fieldValidation=Strict", written)

    def refusal(body: Json, into: str = namespace) -> str:
        try:
            api_server.request("POST", f"/api/v1/namespaces/{into}/pods?dryRun=All", body)
        except ApiError as error:
            return str(json.loads(error.text)["message"])
        return ""

    good, tag = f"registry.example.com/shop/app@{UNKNOWN}", "registry.example.com/shop/app:1.0"
    elsewhere = f"registry.example.com/else/app@{UNKNOWN}"
    deadline = time.monotonic() + 100
    while not (refusal(pod("a", tag)) and refusal(pod("a", elsewhere))):  # both are in force by and by
        assert time.monotonic() < deadline
        time.sleep(0.1)

    allowed = [
        good,
        f"registry.example.com/shop/app:1.0@{UNKNOWN}",
        f"docker.io/library/nginx@{UNKNOWN}",
        f"index.docker.io/bitnami/nginx:1@{UNKNOWN}",
        f"registry.example.com/one:1.0@{UNKNOWN}",
    ]
    assert [refusal(pod("a", image)) for image in allowed] == [""] * len(allowed)
    assert refusal(pod("a", tag), other) == ""
    container, volume = {"name": "x", "image": tag}, {"name": "v", "image": {"reference": tag}}
    for body in (
        pod("a", tag),
        pod("a", good, tag),
        pod("a", good, initContainers=[container]),
        pod("a", good, volumes=[{"name": "e", "emptyDir": {}}, volume]),
    ):
        assert refusal(body).endswith(f"policy named: {tag}: must be named by digest, REPOSITORY@sha256:HEX")
    for image in (
        elsewhere,
        f"registry.example.com/shop/deep/app@{UNKNOWN}",
        f"evil.example.com/registry.example.com/shop/app@{UNKNOWN}",
        f"registry-example.com/shop/app@{UNKNOWN}",
        f"nginx@{UNKNOWN}",
        f"docker.io/nginx@{UNKNOWN}",
        f"library/nginx@{UNKNOWN}",
        f"registry.example.com/one@sha256:{'1' * 64}",
    ):
        told = refusal(pod("a", image))
        assert told.endswith(f"policy named: {image}: must be of a repository that the policy is for"), image

    # a pod that runs may be labelled, and gets no ephemeral container by a tag
    path = f"/api/v1/namespaces/{namespace}/pods"
    api_server.request("POST", path, pod("running", good))
    api_server.request("PATCH", f"{path}/running", {"metadata": {"labels": {"a": "b"}}}, kind=MERGE)
    debug = {"spec": {"ephemeralContainers": [{**container, "terminationMessagePolicy": "File"}]}}
    with pytest.raises(ApiError, match="must be named by digest"):
        api_server.request("PATCH", f"{path}/running/ephemeralcontainers", debug, kind=STRATEGIC)


def test_gatekeepers_objects_fit_its_own_definitions(api_server: ApiServer, tmp_path: Path) -> None:
    install_crds(
        api_server,
        definitions_of("gatekeeper", "github.com/open-policy-agent/frameworks/constraint", "config/crds"),
        ["templates.gatekeeper.sh/v1/constrainttemplates", "externaldata.gatekeeper.sh/v1beta1/providers"],
    )
    (policy,) = opened(document())
    provider = ProviderAt(ca=make_certificates(tmp_path).ca_file.read_bytes())
    # the definition of the constraint is made by Gatekeeper itself, of the template
    for written in for_gatekeeper(policy, NOW, provider).documents[:2]:
        plural = f"{written['kind'].lower()}s"
        path = f"/apis/{written['apiVersion']}/{plural}?fieldValidation=Strict"
        created = api_server.request("POST", path, written)
        spec = created["spec"]
        spec.get("crd", {}).get("spec", {}).get("validation", {}).pop("legacySchema", None)  # a default
        assert spec == written["spec"]

"""Policies for Gatekeeper: what is written, and what is told. Its own framework decides in tests/interop."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from chains.errors import UsageError
from chains.policy.engines.gatekeeper import ProviderAt, generate, template_rego
from chains.policy.engines.generated import Effect, Generated, to_yaml
from tests.faults.verify.forge import IMAGE, NOW
from tests.testbed.certificates import make_certificates
from tests.unit.chains.policy.made import document, opened

Json = Any


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_certificates(tmp_path_factory.mktemp("ca")).ca_file.read_bytes()


def generated(ca: bytes, name: str = "production", url: str = "", **spec: Json) -> Generated:
    at = ProviderAt(url, ca) if url else ProviderAt(ca=ca)
    return generate(opened(document(name, **spec))[0], NOW, at)


def told(one: Generated) -> set[tuple[str, str]]:
    return {(limit.effect.value, limit.what) for limit in one.limits if limit.effect is not Effect.SETUP}


def test_a_provider_is_asked_by_the_name_of_the_policy_within_its_time(ca: bytes) -> None:
    provider, template, constraint = generated(ca).documents
    assert provider["spec"] == {
        "url": "https://chains-admission.chains-admission.svc/verify?policy=production&timeout=2s",
        "timeout": 2,
        "caBundle": base64.b64encode(ca).decode(),
    }
    assert constraint["spec"]["parameters"] == {
        "provider": provider["metadata"]["name"],
        "policy": "production",
    }
    assert template["metadata"]["name"] == constraint["kind"].lower()


def test_whatever_evidence_must_show_stays_with_the_provider(ca: bytes) -> None:
    require = {"hermetic": "enforced", "outcome": "succeeded", "namespaces": ["ci"], "everyStore": True}
    one = generated(ca, require=require, rules=[{"name": "r", "cel": "true", "message": "m"}])
    assert told(one) == set()
    assert one.is_equal
    assert [written["spec"] for written in one.documents] == [
        written["spec"] for written in generated(ca).documents
    ]


def test_names_of_namespaces_that_gatekeeper_cannot_write_are_told(ca: bytes) -> None:
    namespaces = {"names": ["team-*", "a*b"]}
    one = generated(ca, match={"images": [IMAGE], "namespaces": namespaces})
    assert told(one) == {("stricter", "match.namespaces.names")}
    assert "namespaces" not in one.documents[2]["spec"]["match"]
    namespaces["names"] = ["team-*", "*-b", "*c*"]
    one = generated(ca, match={"images": [IMAGE], "namespaces": namespaces})
    assert one.documents[2]["spec"]["match"]["namespaces"] == namespaces["names"]
    assert one.is_equal


def test_a_shorter_cache_is_a_setting_of_gatekeeper(ca: bytes) -> None:
    texts = [str(limit) for limit in generated(ca, cacheSeconds=60).limits]
    assert any("--external-data-provider-response-cache-ttl=60s" in text for text in texts)
    assert not any("cache-ttl" in str(limit) for limit in generated(ca).limits)


@pytest.mark.parametrize(
    ("missing", "unavailable", "reports"),
    [
        ("deny", "deny", [("deny", None)]),
        ("warn", "deny", [("deny", ["failed", "undecided"]), ("warn", ["missing"])]),
        ("deny", "warn", [("deny", ["failed", "missing"]), ("warn", ["undecided"])]),
        ("warn", "warn", [("deny", ["failed"]), ("warn", ["missing", "undecided"])]),
    ],
)
def test_consequences_are_constraints_of_their_own(
    ca: bytes, missing: str, unavailable: str, reports: Json
) -> None:
    one = generated(ca, missing=missing, unavailable=unavailable)
    found = [
        (written["spec"]["enforcementAction"], written["spec"]["parameters"].get("report"))
        for written in one.documents[2:]
    ]
    assert found == reports
    assert len({written["metadata"]["name"] for written in one.documents[2:]}) == len(found)
    assert one.is_equal


@pytest.mark.parametrize(
    "url", ["http://a.example/verify", "https:///verify", "a.example", "https://a.example/?policy=other"]
)
def test_a_provider_without_tls_or_with_a_query_of_its_own_is_refused(ca: bytes, url: str) -> None:
    with pytest.raises(UsageError, match=r"expected https://HOST\[:PORT\]/PATH"):
        generated(ca, url=url)


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_provider_needs_the_certificate_of_its_ca(pem: bytes) -> None:
    with pytest.raises(UsageError, match="pass --provider-ca"):
        generate(opened(document())[0], NOW, ProviderAt(ca=pem))


def test_the_rules_are_the_same_for_every_policy_and_written_readably(ca: bytes) -> None:
    text = to_yaml([generated(ca), generated(ca, "second")], "gatekeeper")
    documents = list(yaml.safe_load_all(text))
    templates = [one for one in documents if one["kind"] == "ConstraintTemplate"]
    assert [one["spec"]["targets"][0]["rego"] for one in templates] == [template_rego()]
    assert "rego: |\n      package chainsimageevidence\n" in text

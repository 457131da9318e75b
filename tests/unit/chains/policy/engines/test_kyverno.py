"""Policies for Kyverno: what is written, and what is told. Its own program decides in tests/interop."""

from __future__ import annotations

from typing import Any

import pytest

from chains.policy.engines.generated import Effect, Generated
from chains.policy.engines.targets import TARGETS
from tests.faults.verify.forge import BUILDER, NOW, public
from tests.unit.chains.policy.made import document, opened, trust

Json = Any
OTHER = "https://example.com/other"


def generated(target: str, **spec: Json) -> Generated:
    return TARGETS[target](opened(document(**spec))[0], NOW)


def told(one: Generated) -> set[tuple[str, str]]:
    return {(limit.effect.value, limit.what) for limit in one.limits if limit.effect is not Effect.SETUP}


@pytest.mark.parametrize(("mode", "action"), [("enforce", "Deny"), ("warn", "Warn"), ("audit", "Audit")])
def test_a_mode_is_the_same_action(mode: str, action: str) -> None:
    one = generated("kyverno", mode=mode)
    spec = one.documents[0]["spec"]
    assert spec["validationActions"] == [action]
    assert spec["validationConfigurations"]["mutateDigest"] is (mode == "enforce")
    assert told(one) == set()


def test_names_of_namespaces_are_labels_or_an_expression_and_labels_are_a_selector() -> None:
    labels = {
        "matchLabels": {"env": "prod"},
        "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
    }
    exact = generated("kyverno", match={"images": ["**"], "namespaces": {"names": ["x"], **labels}})
    spec = exact.documents[0]["spec"]
    assert spec["matchConstraints"]["namespaceSelector"] == {
        "matchLabels": {"env": "prod"},
        "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["b"]},
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["x"]},
        ],
    }
    assert "matchConditions" not in spec
    spec = generated("kyverno", match={"images": ["**"], "namespaces": {"names": ["x", "y-*"]}}).documents[0][
        "spec"
    ]
    (condition,) = spec["matchConditions"]
    assert condition["expression"] == r'request.namespace.matches("(?s)\\A(?:x|y\\-.*)\\z")'
    assert "namespaceSelector" not in spec["matchConstraints"]


def test_what_only_a_report_shows_is_compared_with_provenance_that_has_a_uid_alone() -> None:
    one = generated("kyverno", require={"hermetic": "enforced", "stepImages": {"pinned": True}})
    spec = one.documents[0]["spec"]
    assert told(one) == set()
    assert [name["name"] for name in spec["attestations"]] == ["provenance0", "provenance1", "report"]
    expression = spec["validations"][0]["expression"]
    assert "attestations.provenance0" in expression
    assert "attestations.provenance1" not in expression


def test_repositories_of_step_images_are_told_to_be_unchecked() -> None:
    one = generated("kyverno", require={"stepImages": {"pinned": True, "repositories": ["r.example/**"]}})
    assert told(one) == {("weaker", "require.stepImages")}


def test_a_clusterpolicy_has_the_keys_of_the_first_builder_alone_and_tells_the_others() -> None:
    entries = [trust("a", "ours", "other"), trust("b", "stranger", builder=OTHER)]
    one = generated("kyverno-clusterpolicy", trust=entries)
    ((images,),) = [rule["verifyImages"] for rule in one.documents[0]["spec"]["rules"]]
    (attestation,) = images["attestations"]
    (attestors,) = attestation["attestors"]
    keys = [entry["keys"]["publicKeys"] for entry in attestors["entries"]]
    assert (attestors["count"], keys) == (1, [public(key).pem.decode() for key in ("ours", "other")])
    assert BUILDER in attestation["conditions"][0]["all"][0]["key"]
    assert told(one) == {("stricter", "trust"), ("stricter", "trust b")}


@pytest.mark.parametrize(
    ("mode", "action", "warns"),
    [("enforce", "Enforce", False), ("warn", "Audit", True), ("audit", "Audit", False)],
)
def test_a_clusterpolicy_audits_and_emits_warnings_where_the_policy_warns(
    mode: str, action: str, warns: bool
) -> None:
    spec = generated("kyverno-clusterpolicy", mode=mode).documents[0]["spec"]
    assert spec["rules"][0]["verifyImages"][0]["failureAction"] == action
    assert spec.get("emitWarning", False) is warns


def test_a_clusterpolicy_without_a_signer_has_a_condition_that_nothing_meets_and_no_empty_set() -> None:
    one = generated("kyverno-clusterpolicy", trust=[trust(level=1)], require={"level": 2})
    (attestation,) = one.documents[0]["spec"]["rules"][0]["verifyImages"][0]["attestations"]
    assert "attestors" not in attestation
    assert attestation["conditions"] == [
        {"all": [{"key": "{{ `false` }}", "operator": "Equals", "value": True}]}
    ]


def test_wildcards_that_cover_more_are_told() -> None:
    one = generated(
        "kyverno-clusterpolicy",
        match={"images": ["r.example/a*/**"], "namespaces": {"matchLabels": {"a": "*"}}},
    )
    assert {("stricter", "match.images"), ("stricter", "match.namespaces")} <= told(one)

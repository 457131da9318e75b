"""Verification summaries as the specifications have them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from chains.statements.vsa import SVR, VSA, InputAttestation, Summary, build_svr, build_vsa, levels

DIGEST = "sha256:" + "1" * 64
SUMMARY = Summary(
    name="registry.example.com/shop/app",
    digest=DIGEST,
    resource_uri=f"registry.example.com/shop/app@{DIGEST}",
    verifier_id="https://security.example.com/verifier",
    version="0.1.0",
    policy_uri="https://security.example.com/policies/production",
    policy_digest="sha256:" + "2" * 64,
    verified_at=datetime(2026, 11, 28, 12, tzinfo=UTC),
    levels=("SLSA_BUILD_LEVEL_2", "TEKTON_HERMETIC_ENFORCED"),
    inputs=(InputAttestation("registry.example.com/shop/app@sha256:x", "sha256:" + "3" * 64),),
)


def test_a_summary_has_the_fields_of_the_specification() -> None:
    assert json.loads(build_vsa(SUMMARY).to_bytes()) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "registry.example.com/shop/app", "digest": {"sha256": "1" * 64}}],
        "predicateType": VSA,
        "predicate": {
            "verifier": {
                "id": "https://security.example.com/verifier",
                "version": {"provenance-chains": "0.1.0"},
            },
            "timeVerified": "2026-11-28T12:00:00Z",
            "resourceUri": f"registry.example.com/shop/app@{DIGEST}",
            "policy": {
                "uri": "https://security.example.com/policies/production",
                "digest": {"sha256": "2" * 64},
            },
            "inputAttestations": [
                {"uri": "registry.example.com/shop/app@sha256:x", "digest": {"sha256": "3" * 64}}
            ],
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_2", "TEKTON_HERMETIC_ENFORCED"],
            "slsaVersion": "1.2",
        },
    }


def test_a_failure_has_no_level() -> None:
    predicate = build_vsa(replace(SUMMARY, levels=(), inputs=())).predicate
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("FAILED", ["FAILED"])
    assert "inputAttestations" not in predicate


def test_a_simple_result_has_passing_properties_alone() -> None:
    statement = build_svr(SUMMARY)
    assert statement.predicate_type == SVR
    assert statement.predicate == {
        "verifier": {
            "id": "https://security.example.com/verifier",
            "policies": [
                {"uri": "https://security.example.com/policies/production", "digest": {"sha256": "2" * 64}}
            ],
        },
        "timeCreated": "2026-11-28T12:00:00Z",
        "properties": ["SLSA_BUILD_LEVEL_2", "TEKTON_HERMETIC_ENFORCED"],
    }
    with pytest.raises(ValueError, match="passing properties alone"):
        build_svr(replace(SUMMARY, levels=()))


def test_a_value_that_verifiers_refuse_is_never_written() -> None:
    for level in ("SLSA_BUILD_LEVEL_UNEVALUATED", "SLSA_BUILD_REPRODUCED", "SLSA_"):
        with pytest.raises(ValueError, match="begins with SLSA_"):
            build_vsa(replace(SUMMARY, levels=(level,)))


def test_hermetic_execution_is_a_property_of_its_own() -> None:
    assert levels(3, is_hermetic=True) == ["SLSA_BUILD_LEVEL_3", "TEKTON_HERMETIC_ENFORCED"]
    assert levels(1, is_hermetic=False) == ["SLSA_BUILD_LEVEL_1"]

"""Verification summaries as the specifications have them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chains.errors import EvidenceError
from chains.statements.vsa import (
    SVR,
    VSA,
    Claims,
    InputAttestation,
    Summary,
    build_svr,
    build_vsa,
    levels,
    read_vsa,
    time_verified,
)

Json = Any

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


def test_a_summary_is_read_as_it_was_written() -> None:
    assert read_vsa(build_vsa(SUMMARY)) == Claims(
        verifier_id=SUMMARY.verifier_id,
        resource_uri=SUMMARY.resource_uri,
        policy_uri=SUMMARY.policy_uri,
        policy_digest=SUMMARY.policy_digest,
        is_passed=True,
        levels=SUMMARY.levels,
        verified_at=SUMMARY.verified_at,
    )
    failed = read_vsa(build_vsa(replace(SUMMARY, levels=())))
    assert (failed.is_passed, failed.levels, failed.build_level) == (False, ("FAILED",), 0)


def changed(**members: Json) -> Claims:
    """Read a summary with other members; None leaves one out."""
    statement = build_vsa(SUMMARY)
    predicate = {**statement.predicate, **members}
    predicate = {name: value for name, value in predicate.items() if value is not None}
    return read_vsa(replace(statement, predicate=predicate))


URI = SUMMARY.policy_uri


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"verifier": None}, "verifier.id: expected a text"),
        ({"verifier": "https://security.example.com/verifier"}, "verifier.id: expected a text"),
        ({"verifier": {"id": ""}}, "verifier.id: expected a text"),
        ({"verifier": {"id": 1}}, "verifier.id: expected a text"),
        ({"resourceUri": None}, "resourceUri: expected a text"),
        ({"resourceUri": ["x"]}, "resourceUri: expected a text"),
        ({"policy": None}, "policy: expected a uri"),
        ({"policy": [URI]}, "policy: expected a uri"),
        ({"policy": {"digest": {"sha256": "2" * 64}}}, "policy.uri: expected a text"),
        ({"policy": {"uri": URI, "digest": "sha256:" + "2" * 64}}, "policy: expected a uri"),
        ({"policy": {"uri": URI, "digest": {"sha256": "2" * 63}}}, "policy.digest.sha256: expected 64"),
        ({"policy": {"uri": URI, "digest": {"sha256": "A" * 64}}}, "policy.digest.sha256: expected 64"),
        ({"policy": {"uri": URI, "digest": {"sha256": ["2" * 64]}}}, "policy.digest.sha256: expected 64"),
        ({"verificationResult": None}, "verificationResult: expected a text"),
        ({"verificationResult": True}, "verificationResult: expected a text"),
        ({"verificationResult": "PASSED "}, "expected PASSED or FAILED, got 'PASSED '"),
        ({"verificationResult": "x" * 1000}, f"got '{'x' * 40}'$"),
        ({"verifiedLevels": None}, "verifiedLevels: expected a list of texts"),
        ({"verifiedLevels": "SLSA_BUILD_LEVEL_2"}, "verifiedLevels: expected a list of texts"),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_2", 3]}, "verifiedLevels: expected a list of texts"),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_2", "FAILED"]}, "it says PASSED, and its verifiedLevels say"),
        ({"timeVerified": 1}, "timeVerified: expected a time"),
        ({"timeVerified": "2026-11-28"}, "timeVerified: expected a time"),
        ({"timeVerified": "2026-13-28T12:00:00Z"}, "timeVerified: expected a time"),
        ({"timeVerified": "2026-11-28T12:00:00"}, "timeVerified: expected a time"),
    ],
)
def test_a_summary_that_is_wrong_is_refused_by_name(members: dict[str, Json], told: str) -> None:
    with pytest.raises(EvidenceError, match=told):
        changed(**members)


def test_a_member_that_is_null_is_not_a_member_that_is_absent() -> None:
    statement = build_vsa(SUMMARY)
    absent = {name: value for name, value in statement.predicate.items() if name != "timeVerified"}
    assert read_vsa(replace(statement, predicate=absent)).verified_at is None
    with pytest.raises(EvidenceError, match="timeVerified"):
        read_vsa(replace(statement, predicate={**absent, "timeVerified": None}))
    with pytest.raises(EvidenceError, match="timeVerified"):
        time_verified(replace(statement, predicate=absent))


@pytest.mark.parametrize(
    ("digest", "expected"),
    [({}, ""), ({"sha512": "2" * 128}, ""), ({"sha256": "2" * 64, "sha512": "x"}, "sha256:" + "2" * 64)],
)
def test_a_policy_has_the_digest_that_is_named_or_none(digest: Json, expected: str) -> None:
    assert changed(policy={"uri": URI, "digest": digest}).policy_digest == expected
    assert changed(policy={"uri": URI}).policy_digest == ""


@pytest.mark.parametrize(
    ("told", "level"),
    [
        ([], 0),
        (["SLSA_BUILD_LEVEL_0"], 0),
        (["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_1"], 3),
        (["SLSA_BUILD_LEVEL_3", "SLSA_BUILD_LEVEL_2"], 2),
        (["SLSA_BUILD_LEVEL_UNEVALUATED", "slsa_build_level_3", "SLSA_BUILD_LEVEL_33"], 0),
        (["SLSA_BUILD_LEVEL_3\n", " SLSA_BUILD_LEVEL_3", "XSLSA_BUILD_LEVEL_3"], 0),
    ],
)
def test_the_build_level_is_the_lowest_that_is_stated(told: list[str], level: int) -> None:
    assert changed(verifiedLevels=told).build_level == level


def test_a_build_level_is_stated_by_a_higher_one_and_other_values_by_themselves() -> None:
    claims = changed(verifiedLevels=["SLSA_BUILD_LEVEL_2", "SLSA_SOURCE_LEVEL_3", "COMPANY_SCANNED"])
    stated = ("SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_2", "SLSA_SOURCE_LEVEL_3", "COMPANY_SCANNED")
    assert all(claims.states(level) for level in stated)
    unstated = ("SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_2", "COMPANY", "COMPANY_SCANNED_TWICE")
    assert not any(claims.states(level) for level in unstated)
    assert not changed(verifiedLevels=["COMPANY_SCANNED"]).states("SLSA_BUILD_LEVEL_1")

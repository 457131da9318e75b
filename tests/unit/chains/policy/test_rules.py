"""Rules in CEL: only ``true`` is a pass, whatever the evidence holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chains.errors import UsageError
from chains.policy.document.load import parse_policies
from chains.policy.opened import open_policy
from chains.policy.rules import MOST_LEVELS, MOST_VALUES
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import DIGEST, IMAGE, form_b
from tests.unit.chains.policy.made import document, report, tekton, verdict, wrong

Json = Any


def rule(cel: str, **more: str) -> dict[str, str]:
    return {"name": "own", "cel": cel, "message": "the rule's message", **more}


def ruled(cel: str, *statements: Json) -> dict[str, str]:
    held = [form_b(one) for one in statements or (tekton(), report())]
    return wrong(verdict(document(rules=[rule(cel)]), *held))


TRUE = [
    "provenance.predicate.runDetails.metadata.invocationId == report.runUid",
    "report.exists && report.hermetic == 'enforced'",
    f"image.ref == '{IMAGE}@{DIGEST}' && image.registry == 'registry.example.com'",
    "signer.trust == 'tekton' && signer.keyid.startsWith('SHA256:')",
    "attestations.size() == 2 && attestations.exists(a, a.predicateType.contains('scai'))",
    "now > timestamp('2026-01-01T00:00:00Z')",
    "provenance.predicate.?nothing.orValue('') == ''",
    "'é'.size() == 1",
]
FALSE = ["false", "report.runUid == 'other'", "image.digest == ''"]
ERRORS = [
    "provenance.predicate.nothing == 1",
    "provenance.predicate",
    "report.runUid",
    "1 / 0 == 1",
    "provenance.subject[7].name == ''",
    "dyn(1) == dyn('x') || provenance.x",
    "provenance.predicate.nothing",
]


@pytest.mark.parametrize("cel", TRUE)
def test_true_is_a_pass(cel: str) -> None:
    assert ruled(cel) == {}


@pytest.mark.parametrize("cel", FALSE)
def test_false_fails_with_the_rules_own_message(cel: str) -> None:
    found = verdict(document(rules=[rule(cel, guidance="do it")]), form_b(tekton()), form_b(report()))
    (check,) = [check for check in found.checks if check.is_wrong]
    assert (check.reason, check.actual, check.guidance) == ("rule_failed", "the rule's message", "do it")


@pytest.mark.parametrize("cel", ERRORS)
def test_an_error_or_another_type_is_never_a_pass(cel: str) -> None:
    assert ruled(cel) == {"own": "rule_error"}


@pytest.mark.parametrize("cel", ["nothing == 1", "unknown(1)", "1 + ", "1 + 1", "'x'", "image ==", "(" * 300])
def test_what_does_not_compile_or_is_no_condition_is_refused_at_load(cel: str) -> None:
    read = parse_policies(json.dumps(document(rules=[rule(cel)])).encode(), "policy.json")
    with pytest.raises(UsageError, match="rule own"):
        open_policy(read.policies[0])


def test_a_rule_without_a_report_fails_and_does_not_crash() -> None:
    assert ruled("report.predicate.attributes.exists(a, a.attribute == 'X')", tekton()) == {
        "own": "rule_failed"
    }
    assert ruled("report.exists", tekton()) == {"own": "rule_failed"}


def nested(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "external",
    [
        {"deep": nested(MOST_LEVELS - 4)},
        {"many": list(range(MOST_VALUES))},
        {"text": "\ud800"},
    ],
)
def test_evidence_that_rules_must_not_see_fails_every_rule(external: Json) -> None:
    found = verdict(document(rules=[rule("true")]), form_b(tekton(external=external)))
    assert found.verdict is not Verdict.VERIFIED


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, 10**30, -(2**63) - 1, -(10**30)])
def test_a_large_number_hides_no_other_field(number: int) -> None:
    external = {"number": number, "other": "seen"}
    cel = "provenance.predicate.buildDefinition.externalParameters.other == 'seen'"
    assert ruled(cel, tekton(external=external)) == {}


def test_two_large_numbers_that_differ_are_not_equal() -> None:
    external = {"a": 2**64, "b": 2**64 + 1}
    parameters = "provenance.predicate.buildDefinition.externalParameters"
    assert ruled(f"{parameters}.a == {parameters}.b", tekton(external=external)) == {"own": "rule_failed"}


def test_a_list_that_is_too_long_for_the_engine_is_an_error_and_no_pass() -> None:
    dependencies = [
        {"uri": f"https://example.com/{at}", "digest": {"sha1": "a" * 40}} for at in range(12_000)
    ]
    cel = "provenance.predicate.buildDefinition.resolvedDependencies.all(d, d.uri != '')"
    assert ruled(cel, tekton(dependencies=dependencies)) == {"own": "rule_error"}


def test_a_regular_expression_that_is_meant_to_explode_does_not() -> None:
    external = {"text": "a" * 5000 + "!"}
    cel = "provenance.predicate.buildDefinition.externalParameters.text.matches('^(a+)+$')"
    assert ruled(cel, tekton(external=external)) == {"own": "rule_failed"}


def test_rules_are_not_needed_for_policies_without_them() -> None:
    assert verdict(document(), form_b(tekton())).verdict is Verdict.VERIFIED

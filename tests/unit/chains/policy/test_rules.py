"""Rules in CEL: only ``true`` is a pass, whatever the evidence holds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from chains.errors import UsageError
from chains.policy.document.load import parse_policies
from chains.policy.opened import open_policy
from chains.policy.rules import MOST_LEVELS, MOST_VALUES, Prepared
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import DIGEST, IMAGE, NOW, form_b
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


def _each(cel: str, facts: list[Json]) -> tuple[list[Json], list[Json]]:
    """Return the results for statements that share what all see, and for each of them alone."""
    (policy,) = parse_policies(json.dumps(document(rules=[rule(cel)])).encode(), "policy.json").policies
    rules = open_policy(policy).rules
    together = [(one.is_met, one.error) for found in rules.evaluate_each(facts) for one in found]
    alone = [(one.is_met, one.error) for each in facts for one in open_policy(policy).rules.evaluate(each)]
    return together, alone


def _facts(number: int, attestations: Json) -> Json:
    return {
        "image": {"ref": "r", "registry": "x", "repository": "y", "digest": "sha256:1"},
        "provenance": {"number": number, "large": 1 << 64, "deep": [[{"x": None}]]},
        "report": {"exists": number % 2 == 0, "predicate": {"attributes": []}},
        "attestations": attestations,
        "signer": {"trust": f"entry-{number}"},
        "now": NOW,
    }


DEEP = "!(" * 25 + "provenance.number == 3" + ")" * 25
TOO_DEEP_TO_SHARE = "!(" * 29 + "provenance.number == 3" + ")" * 29
"""As deep as a rule may be: it cannot be written into another expression."""


@pytest.mark.parametrize(
    "cel",
    [
        *TRUE[:1],
        *ERRORS,
        "provenance.number == 3 // and no more",
        "report.exists && attestations.exists(a, a == provenance.number)",
        "signer.trust == 'entry-4' || image.registry == 'y' || now < timestamp('2020-01-01T00:00:00Z')",
        "cel.bind(provenance, 3, provenance == 3)",
        "attestations.all(report, report < 50)",
        "attestations[provenance.number] == provenance.number",
        "provenance.large == '18446744073709551616' && provenance.deep[0][0].x == null",
        "provenance.missing.also == 1",
        "attestations.all(a, attestations.all(b, a + b < 100000))",
        "1 / (provenance.number - 3) == 0",
        DEEP,
        TOO_DEEP_TO_SHARE,
    ],
)
def test_statements_that_share_what_all_see_are_told_apart_as_each_alone(cel: str) -> None:
    attestations = Prepared.of(list(range(101)))
    together, alone = _each(cel, [_facts(number, attestations) for number in range(70)])
    assert together == alone
    assert len(together) == 70


@pytest.mark.parametrize("steps", [9_999, 10_000])
def test_statements_that_share_what_all_see_have_the_same_number_of_steps(steps: int) -> None:
    many = Prepared.of([1] * steps)
    together, alone = _each("attestations.all(a, a < provenance.number + 2)", [_facts(1, many)] * 4)
    assert together == alone
    assert [is_met for is_met, _ in together] == [steps == 9_999] * 4


def test_one_statement_that_rules_must_not_see_hides_none_of_its_neighbours() -> None:
    fine, bad = _facts(3, []), _facts(3, []) | {"report": {"text": "\ud800"}}
    together, alone = _each("provenance.number == 3", [fine, fine, bad, fine, bad, fine])
    assert together == alone
    assert [is_met for is_met, _ in together] == [True, True, False, True, False, True]


@pytest.mark.parametrize(("cel", "is_shared"), [(DEEP, True), (TOO_DEEP_TO_SHARE, False)])
def test_a_rule_as_deep_as_may_be_has_a_result_of_its_own(cel: str, *, is_shared: bool) -> None:
    (policy,) = parse_policies(json.dumps(document(rules=[rule(cel)])).encode(), "policy.json").policies
    rules = open_policy(policy).rules
    list(rules.evaluate_each(_facts(number, []) for number in range(3)))
    assert [one is not None for one in rules._placed.values()] == [is_shared] * 2


def test_no_rule_sees_other_candidates() -> None:
    read = parse_policies(json.dumps(document(rules=[rule("candidates__ == []")])).encode(), "policy.json")
    with pytest.raises(UsageError, match="undeclared reference"):
        open_policy(read.policies[0])


def test_what_all_statements_see_is_converted_for_a_few_of_them_at_a_time() -> None:
    (policy,) = parse_policies(
        json.dumps(document(rules=[rule("attestations.all(a, a < provenance.number)")])).encode(), "p.json"
    ).policies
    rules = open_policy(policy).rules
    facts = [_facts(number, Prepared(["x"] * 5, 5)) for number in range(200)]
    environment = rules._of_several
    made: list[int] = []

    class Counting:
        def Activation(self, data: Json) -> Json:  # noqa: N802 - the engine's name
            made.append(len(data["candidates__"]))
            return environment.Activation(data)  # type: ignore[union-attr]

        def compile(self, cel: str) -> Json:
            return environment.compile(cel)  # type: ignore[union-attr]

    counting: Json = Counting()
    assert len(list(replace(rules, _of_several=counting).evaluate_each(facts))) == 200
    assert made == [2, 4, 8, 16, 32, 64, 64, 9]

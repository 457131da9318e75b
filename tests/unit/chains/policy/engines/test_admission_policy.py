"""What is written for Kubernetes itself, and the note that it verifies nothing. Its API server decides elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from chains.policy.engines.admission_policy import generate
from chains.policy.engines.generated import Effect, Generated, to_yaml
from tests.faults.verify.forge import IMAGE, NOW
from tests.unit.chains.policy.made import document, opened

Json = Any


def generated(**spec: Json) -> Generated:
    return generate(opened(document(**spec))[0], NOW)


def told(one: Generated) -> set[tuple[str, str]]:
    return {(limit.effect.value, limit.what) for limit in one.limits if limit.effect is not Effect.SETUP}


ALWAYS = {("weaker", "trust"), ("stricter", "match.images")}


def test_the_note_says_first_that_no_signature_is_verified() -> None:
    one = generated()
    assert told(one) == ALWAYS
    text = to_yaml([one], "validatingadmissionpolicy-note")
    first = next(line for line in text.splitlines() if line.startswith("# weaker"))
    assert first.startswith("# weaker: trust: NO SIGNATURE IS VERIFIED.")
    assert "PUBLIC KEY" not in text


def test_every_requirement_on_evidence_is_weaker() -> None:
    require = {"level": 2, "hermetic": "enforced", "buildTypes": ["https://a.example/t"]}
    one = generated(require=require, missing="warn", unavailable="warn")
    assert told(one) == ALWAYS | {("weaker", f"require.{name}") for name in require}


@pytest.mark.parametrize(("mode", "action"), [("enforce", "Deny"), ("warn", "Warn"), ("audit", "Audit")])
def test_the_mode_is_the_action_of_both_bindings(mode: str, action: str) -> None:
    documents = generated(mode=mode).documents
    assert [one["kind"].removeprefix("ValidatingAdmissionPolicy") for one in documents] == ["", "Binding"] * 2
    for policy, binding in zip(documents[::2], documents[1::2], strict=True):
        assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": [action]}
        assert policy["spec"]["failurePolicy"] == "Fail"


def test_namespaces_are_selected_by_label_and_by_name() -> None:
    namespaces = {"names": ["team-*"], "matchLabels": {"env": "prod"}}
    for policy in generated(match={"images": [IMAGE], "namespaces": namespaces}).documents[::2]:
        selector = policy["spec"]["matchConstraints"]["namespaceSelector"]
        assert selector["matchLabels"] == {"env": "prod"}
        (condition,) = policy["spec"]["matchConditions"]
        assert condition["expression"].startswith("request.namespace.matches(")


def test_expressions_are_written_readably_and_hostile_names_stay_text() -> None:
    one = generated(match={"images": ['registry.example.com/a"b\\c/*', "registry.example.com/'é'"]})
    text = to_yaml([one], "validatingadmissionpolicy-note")
    assert text.isascii()
    assert list(yaml.safe_load_all(text)) == list(one.documents)
    assert "expression: |\n      object.spec.containers.map(one, one.image) +\n" in text

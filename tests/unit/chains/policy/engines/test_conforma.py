"""Policies for Conforma: held against its published schema, names of rules and rule data. Nothing runs it here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest
import yaml

from chains.policy.engines.conforma import COMMIT, generate
from chains.policy.engines.generated import Effect, Generated, to_yaml
from tests.faults.verify.forge import IMAGE, NOW, public
from tests.unit.chains.policy.made import document, opened, trust
from tests.unit.chains.policy.summaries import trusted_root

Json = Any
V1 = "https://slsa.dev/provenance/v1"
V02 = "https://slsa.dev/provenance/v0.2"


def _object(required: Sequence[str] = (), **members: Json) -> Json:
    return {
        "type": "object",
        "properties": members,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT: Json = {"type": "string"}
TEXTS: Json = {"type": "array", "items": TEXT, "uniqueItems": True}
# the names and patterns of conforma/crds, api/v1alpha1, that a document of ours may have
EXCLUSION = _object(
    ["value"],
    value=TEXT,
    effectiveOn={"type": "string", "format": "date-time"},
    effectiveUntil={"type": "string", "format": "date-time"},
    imageDigest={"type": "string", "pattern": "^sha256:[a-fA-F0-9]{64}$"},
    imageUrl={
        "type": "string",
        "pattern": r"^[a-z0-9][a-z0-9.-]*[a-z0-9](?:\/[a-z0-9][a-z0-9-]*[a-z0-9]){2,}$",
    },
    componentNames=TEXTS,
    reference=TEXT,
)
SOURCE = _object(
    ["policy"],
    name=TEXT,
    policy=TEXTS | {"minItems": 1},
    data=TEXTS,
    ruleData={"type": "object"},
    config=_object(exclude=TEXTS, include=TEXTS),
    volatileConfig=_object(
        exclude={"type": "array", "items": EXCLUSION}, include={"type": "array", "items": EXCLUSION}
    ),
)
SPEC = _object(
    name=TEXT,
    description=TEXT,
    sources={"type": "array", "items": SOURCE, "minItems": 1},
    rekorUrl=TEXT,
    publicKey=TEXT,
    identity=_object(subject=TEXT, subjectRegExp=TEXT, issuer=TEXT, issuerRegExp=TEXT),
)
# packages and rules of conforma/policy at the commit, and the data that they read
RULES = {
    "attestation_type": {"known_attestation_type", "pipelinerun_attestation_found"},
    "slsa_build_build_service": {"slsa_builder_id_found", "slsa_builder_id_accepted"},
    "slsa_provenance_available": {"attestation_predicate_type_accepted"},
}
DATA = {"allowed_builder_ids", "allowed_predicate_types", "allowed_provenance_build_types"}
LIST = {"type": "array", "items": TEXT, "uniqueItems": True, "minItems": 1}
"""What the rules demand of each of these, so that wrong data is a failure."""


def generated(**spec: Json) -> Generated:
    one = generate(opened(document(**spec))[0], NOW)
    for written in one.documents:
        assert (written["apiVersion"], written["kind"]) == (
            "appstudio.redhat.com/v1alpha1",
            "EnterpriseContractPolicy",
        )
        jsonschema.validate(
            written["spec"], SPEC, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )
        (source,) = written["spec"]["sources"]
        assert source["ruleData"].keys() <= DATA
        assert set(source["config"]["include"]) == set(RULES)
        for exclusion in source.get("volatileConfig", {}).get("exclude", []):
            package, _, rule = exclusion["value"].partition(".")
            assert rule in RULES[package]
            assert len({"imageUrl", "imageDigest"} & exclusion.keys()) == 1
    return one


def told(one: Generated) -> set[tuple[str, str]]:
    return {(limit.effect.value, limit.what) for limit in one.limits if limit.effect is not Effect.SETUP}


ALWAYS = {("stricter", "provenance")}
UNTYPED = ALWAYS | {("stricter", "buildTypes")}


def test_a_key_with_its_builders_is_a_document() -> None:
    entries = [
        trust("a", "ours"),
        trust("b", "other", builder="https://b.example"),
        trust("c", "other", builder="https://c.example"),
    ]
    one = generated(trust=entries)
    found = [
        (written["spec"]["publicKey"], written["spec"]["sources"][0]["ruleData"]["allowed_builder_ids"])
        for written in one.documents
    ]
    assert found == [
        (public("ours").pem.decode(), ["https://tekton.dev/chains/v2"]),
        (public("other").pem.decode(), ["https://b.example", "https://c.example"]),
    ]
    assert [written["metadata"]["name"] for written in one.documents] == ["production-1", "production-2"]
    assert any("2 documents" in str(limit) for limit in one.limits)
    assert told(one) == UNTYPED


def test_rules_come_from_one_commit_and_nothing_else() -> None:
    (source,) = generated().documents[0]["spec"]["sources"]
    assert all(url.endswith(f"?ref={COMMIT}") for url in source["policy"])
    assert "data" not in source


def test_build_types_and_one_type_of_provenance_are_rule_data() -> None:
    one = generated(require={"buildTypes": ["https://a.example/t"], "predicates": [V1], "level": 2})
    data = one.documents[0]["spec"]["sources"][0]["ruleData"]
    assert data["allowed_provenance_build_types"] == ["https://a.example/t"]
    assert data["allowed_predicate_types"] == [V1]
    for listed in data.values():
        jsonschema.validate(listed, LIST)
    assert told(one) == ALWAYS
    data = generated().documents[0]["spec"]["sources"][0]["ruleData"]
    assert data["allowed_predicate_types"] == [V1, V02]


def test_what_conforma_does_not_check_is_weaker() -> None:
    require = {
        "hermetic": "enforced",
        "sources": ["git+https://git.example.com/a/b"],
        "externalParameters": {"runSpec": "any"},
        "predicates": [V1, V02],
        "stepImages": {"pinned": True},
        "tasks": {"pinned": True},
    }
    one = generated(require=require, rules=[{"name": "r", "cel": "true", "message": "m"}])
    weaker = {("weaker", f"require.{name}") for name in require} | {("weaker", "rule r")}
    assert told(one) == weaker | UNTYPED


@pytest.mark.parametrize(
    ("log", "advice"), [(True, "never pass --ignore-rekor"), (False, "pass --ignore-rekor")]
)
def test_a_log_entry_is_demanded_by_an_option_of_conforma(log: bool, advice: str) -> None:
    one = generated(require={"log": log}, trustedRoot=trusted_root())
    assert told(one) == UNTYPED
    assert any(limit.what == "log" and limit.text.startswith(advice) for limit in one.limits)


@pytest.mark.parametrize(("mode", "is_strict"), [("enforce", True), ("warn", False), ("audit", False)])
def test_the_mode_is_an_option_of_conforma(mode: str, is_strict: bool) -> None:
    assert any("--strict=false" in str(limit) for limit in generated(mode=mode).limits) is not is_strict


def exempt(image: str, *rules: str, until: str = "2099-01-01T00:00:00Z") -> Json:
    return {"image": image, "rules": list(rules), "until": until, "reason": "r", "reference": "SEC-1"}


def test_an_exemption_from_trust_ends_and_has_its_reference() -> None:
    one = generated(exemptions=[exempt(IMAGE, "trust"), exempt(IMAGE, "trust", until="2001-01-01T00:00:00Z")])
    (source,) = one.documents[0]["spec"]["sources"]
    assert source["volatileConfig"] == {
        "exclude": [
            {
                "value": f"slsa_build_build_service.{rule}",
                "imageUrl": IMAGE,
                "effectiveUntil": "2099-01-01T00:00:00Z",
                "reference": "SEC-1",
            }
            for rule in ("slsa_builder_id_accepted", "slsa_builder_id_found")
        ]
    }
    assert told(one) == UNTYPED


def test_an_exemption_of_a_digest_is_wider_in_conforma() -> None:
    digest = f"sha256:{'0' * 64}"
    one = generated(exemptions=[exempt(f"{IMAGE}@{digest}", "trust")])
    excluded = one.documents[0]["spec"]["sources"][0]["volatileConfig"]["exclude"]
    assert {item["imageDigest"] for item in excluded} == {digest}
    assert told(one) == UNTYPED | {("weaker", "exemptions")}


@pytest.mark.parametrize(
    ("image", "rules"),
    [
        ("registry.example.com/**", ["trust"]),
        ("registry.example.com:5000/a/b", ["trust"]),
        ("registry.example.com/a", ["trust"]),
        ("registry.example.com/a/b_c", ["trust"]),
        (f"{IMAGE}@sha256:{'0' * 64}", ["evidence"]),
        (IMAGE, ["level"]),
        (IMAGE, ["buildTypes"]),
        (IMAGE, ["log"]),
    ],
)
def test_an_exemption_that_conforma_cannot_name_is_left_out(image: str, rules: list[str]) -> None:
    one = generated(exemptions=[exempt(image, *rules)])
    assert "volatileConfig" not in one.documents[0]["spec"]["sources"][0]
    assert told(one) == UNTYPED | {("stricter", "exemptions")}


def test_an_exemption_from_what_conforma_does_not_check_needs_no_word() -> None:
    one = generated(
        require={"hermetic": "enforced", "buildTypes": ["https://a.example/t"]},
        exemptions=[exempt("**", "hermetic")],
    )
    assert told(one) == ALWAYS | {("weaker", "require.hermetic")}


def test_without_a_signer_nobody_passes() -> None:
    one = generated(trust=[trust(level=1)], require={"level": 3})
    (written,) = one.documents
    assert not {"publicKey", "identity"} & written["spec"].keys()
    # the rule that checks this list fails if it is empty
    assert written["spec"]["sources"][0]["ruleData"]["allowed_builder_ids"] == []


def test_hostile_text_stays_text() -> None:
    hostile = 'https://a.example/"\\n-{}#&*!%@`|>{{x}}'
    one = generated(
        trust=[trust(builder=hostile)],
        exemptions=[{**exempt(IMAGE, "trust"), "reference": "SEC: [1] #\u2028x"}],
    )
    text = to_yaml([one], "conforma")
    assert text.isascii()
    assert list(yaml.safe_load_all(text)) == list(one.documents)
    (source,) = yaml.safe_load(text)["spec"]["sources"]
    assert source["ruleData"]["allowed_builder_ids"] == [hostile]


def test_an_identity_is_exact_or_an_anchored_expression_and_needs_a_log_entry() -> None:
    signers = [
        {"san": "https://a.example/w.yml", "issuer": "https://i.example"},
        {"sanRegexp": "https://a.example/.*", "issuerRegexp": "https://[a-z]+.example"},
    ]
    entries = [{**trust(f"t{at}"), "signer": {"identity": identity}} for at, identity in enumerate(signers)]
    one = generated(trust=entries, trustedRoot=trusted_root())
    exact, pattern = (written["spec"]["identity"] for written in one.documents)
    assert exact == {"subject": "https://a.example/w.yml", "issuer": "https://i.example"}
    assert pattern.keys() == {"subjectRegExp", "issuerRegExp"}
    assert all(text.startswith("\\A(?:") and text.endswith(")\\z") for text in pattern.values())
    assert told(one) == UNTYPED | {("stricter", "log")}
    assert told(generated(trust=entries, trustedRoot=trusted_root(), require={"log": True})) == UNTYPED

"""Statements in the shape of other builders' generators, signed by keys of the tests, as a policy's input."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chains.statements.statement import SLSA_V1, STATEMENT_V1
from tests.faults.verify.forge import HEX, IMAGE, form_a, form_b, subject
from tests.unit.chains.policy.made import document, trust, verdict, wrong

Json = Any
LINK = "https://in-toto.io/attestation/link/v0.3"
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
SLSA_V02 = "https://slsa.dev/provenance/v0.2"
SOURCE = "git+https://github.com/acme/app"
COMMIT = "8c8f7d5c1e4f2a3b4c5d6e7f8091a2b3c4d5e6f7"
GENERATOR = (
    "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
    "generator_container_slsa3.yml@refs/tags/v2.0.0"
)
RUNNER = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
GITLAB = "https://gitlab.example.com/acme/app/-/runners/12"
JENKINS = "https://jenkins.example.com/"

SLSA_GITHUB_GENERATOR = {
    "_type": STATEMENT_V01,
    "subject": [subject()],
    "predicateType": SLSA_V02,
    "predicate": {
        "builder": {"id": GENERATOR},
        "buildType": "https://github.com/slsa-framework/slsa-github-generator/container@v1",
        "invocation": {
            "configSource": {
                "uri": f"{SOURCE}@refs/tags/v1.2.0",
                "digest": {"sha1": COMMIT},
                "entryPoint": ".github/workflows/release.yml",
            },
            "parameters": {},
            "environment": {"github_event_name": "push", "github_actor": "jane", "github_run_id": "101"},
        },
        "metadata": {
            "buildInvocationID": "101-1",
            "completeness": {"parameters": True, "environment": False, "materials": False},
            "reproducible": False,
        },
        "materials": [{"uri": SOURCE, "digest": {"sha1": COMMIT}}],
    },
}
GITHUB_ATTESTATION = {
    "_type": STATEMENT_V1,
    "subject": [subject()],
    "predicateType": SLSA_V1,
    "predicate": {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {
                "workflow": {
                    "ref": "refs/heads/main",
                    "repository": "https://github.com/acme/app",
                    "path": ".github/workflows/release.yml",
                }
            },
            "internalParameters": {"github": {"event_name": "push", "runner_environment": "github-hosted"}},
            "resolvedDependencies": [{"uri": f"{SOURCE}@refs/heads/main", "digest": {"gitCommit": COMMIT}}],
        },
        "runDetails": {
            "builder": {"id": RUNNER},
            "metadata": {"invocationId": "https://github.com/acme/app/actions/runs/101/attempts/1"},
        },
    },
}
GITLAB_RUNNER = {
    "_type": STATEMENT_V1,
    "subject": [subject()],
    "predicateType": SLSA_V1,
    "predicate": {
        "buildDefinition": {
            "buildType": "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v17.0.0/PROVENANCE.md",
            "externalParameters": {
                "source": "https://gitlab.example.com/acme/app",
                "entryPoint": "build",
                "variables": {"CI_PIPELINE_SOURCE": "push"},
            },
            "internalParameters": {"executor": "kubernetes", "job": "501"},
            "resolvedDependencies": [
                {"uri": "https://gitlab.example.com/acme/app", "digest": {"sha256": COMMIT}}
            ],
        },
        "runDetails": {
            "builder": {"id": GITLAB},
            "metadata": {"invocationId": "501", "startedOn": "2026-06-01T10:00:00Z"},
        },
    },
}
JENKINS_SLSA = {
    "_type": STATEMENT_V1,
    "subject": [subject()],
    "predicateType": SLSA_V1,
    "predicate": {
        "buildDefinition": {
            "buildType": "https://jenkins.example.com/buildtypes/pipeline/v1",
            "externalParameters": {"job": "app/main", "jenkinsfile": "Jenkinsfile"},
            "resolvedDependencies": [{"uri": SOURCE, "digest": {"gitCommit": COMMIT}}],
        },
        "runDetails": {"builder": {"id": JENKINS}, "metadata": {"invocationId": "app/main#77"}},
    },
}
JENKINS_LINK_STATEMENT = {
    "_type": STATEMENT_V1,
    "subject": [subject()],
    "predicateType": LINK,
    "predicate": {
        "name": "build",
        "command": ["mvn", "package"],
        "materials": [{"name": "pom.xml", "digest": {"sha256": "1" * 64}}],
        "byproducts": {"return-value": 0},
        "environment": {},
    },
}
JENKINS_LINK_FILE = {
    "signed": {
        "_type": "link",
        "name": "build",
        "command": ["mvn", "package"],
        "materials": {"pom.xml": {"sha256": "1" * 64}},
        "products": {"target/app.jar": {"sha256": HEX}},
        "byproducts": {"return-value": 0},
        "environment": {},
    },
    "signatures": [{"keyid": "2" * 64, "sig": "30"}],
}
BUILDERS = [
    pytest.param(SLSA_GITHUB_GENERATOR, GENERATOR, id="slsa-github-generator"),
    pytest.param(GITHUB_ATTESTATION, RUNNER, id="github-attestation"),
    pytest.param(GITLAB_RUNNER, GITLAB, id="gitlab-runner"),
    pytest.param(JENKINS_SLSA, JENKINS, id="jenkins-slsa"),
]


def policy(builder: str, **require: Json) -> Json:
    return document(trust=[trust("other", builder=builder)], require=require)


@pytest.mark.parametrize(("statement", "builder"), BUILDERS)
@pytest.mark.parametrize("form", [form_a, form_b])
def test_a_foreign_builders_statement_passes_by_its_builder_and_no_other(
    statement: Json, builder: str, form: Any
) -> None:
    assert wrong(verdict(policy(builder), form(statement))) == {}
    assert "builder_not_trusted" in wrong(verdict(policy(JENKINS + "other"), form(statement))).values()


@pytest.mark.parametrize(("statement", "builder"), BUILDERS)
def test_build_types_are_asked_of_every_format(statement: Json, builder: str) -> None:
    predicate = statement["predicate"]
    kind = predicate.get("buildType") or predicate["buildDefinition"]["buildType"]
    assert wrong(verdict(policy(builder, buildTypes=[kind]), form_b(statement))) == {}
    other = wrong(verdict(policy(builder, buildTypes=[kind + "/other"]), form_b(statement)))
    assert other == {"buildTypes": "build_type_not_allowed"}


def test_sources_are_the_materials_of_version_0_2() -> None:
    held = form_b(SLSA_GITHUB_GENERATOR)
    assert wrong(verdict(policy(GENERATOR, sources=[SOURCE]), held)) == {}
    elsewhere = ["git+https://github.com/acme/other"]
    assert wrong(verdict(policy(GENERATOR, sources=elsewhere), held)) == {"sources": "source_not_allowed"}


def test_a_workflows_repository_is_asked_by_its_external_parameters() -> None:
    workflow = {"repository": "https://github.com/acme/app", "ref": "refs/heads/main", "path": "any"}
    held = form_b(GITHUB_ATTESTATION)
    assert wrong(verdict(policy(RUNNER, externalParameters={"workflow": workflow}), held)) == {}
    other = {"workflow": workflow | {"repository": "https://github.com/acme/other"}}
    refused = wrong(verdict(policy(RUNNER, externalParameters=other), held))
    assert refused == {"externalParameters": "parameter_not_allowed"}


def test_what_only_our_execution_report_says_is_not_met() -> None:
    held = form_b(JENKINS_SLSA)
    assert wrong(verdict(policy(JENKINS, hermetic="enforced"), held)) == {"hermetic": "no_execution_report"}
    assert wrong(verdict(policy(JENKINS, outcome="succeeded"), held)) == {"outcome": "no_execution_report"}


def test_a_link_as_a_statement_is_no_provenance_but_may_be_demanded_beside_it() -> None:
    alone = verdict(policy(JENKINS), form_b(JENKINS_LINK_STATEMENT))
    assert alone.verdict != "VERIFIED"
    both = (form_b(JENKINS_SLSA), form_b(JENKINS_LINK_STATEMENT))
    assert wrong(verdict(policy(JENKINS, predicates=[LINK]), *both)) == {}
    assert wrong(verdict(policy(JENKINS, predicates=[LINK]), both[0])) == {"predicates": "predicate_missing"}


def test_a_link_file_of_the_old_form_is_never_evidence() -> None:
    found = verdict(policy(JENKINS), form_b(json.dumps(JENKINS_LINK_FILE).encode()))
    assert found.verdict != "VERIFIED"


def test_the_statements_are_about_the_image_of_the_policy() -> None:
    other = JENKINS_SLSA | {"subject": [subject("0" * 64, IMAGE)]}
    assert verdict(policy(JENKINS), form_b(other)).verdict != "VERIFIED"

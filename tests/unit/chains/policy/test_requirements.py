"""Each requirement: met, not met with its reason, and undecided where nothing can tell."""

from __future__ import annotations

from typing import Any

import pytest

from chains.verify.verdict import Verdict
from storage.record import Evidence
from tests.faults.verify.forge import form_b, old_provenance, signer
from tests.unit.chains.policy.made import (
    CATALOG,
    STOREFRONT,
    document,
    git_input,
    report,
    tekton,
    verdict,
    wrong,
)

Json = Any


def asked(require: Json, *held: Evidence) -> dict[str, str]:
    """Return what is not met of one requirement."""
    return wrong(verdict(document(require=require), *held))


def test_the_level_is_that_of_the_trust_entry() -> None:
    assert asked({"level": 2}, form_b(tekton())) == {}
    assert asked({"level": 3}, form_b(tekton())) == {"level": "level_too_low"}


def test_a_build_type_is_compared_as_a_whole() -> None:
    listed = {"buildTypes": ["https://tekton.dev/chains/v2/slsa"]}
    assert asked(listed, form_b(tekton())) == {}
    other = tekton(build_type="https://tekton.dev/chains/v2/slsa-tekton")
    assert asked(listed, form_b(other)) == {"buildTypes": "build_type_not_allowed"}


@pytest.mark.parametrize(
    "written",
    [STOREFRONT, "https://git.example.com/shop/storefront", "https://GIT.example.com/shop/storefront/"],
)
def test_sources_compare_in_one_spelling(written: str) -> None:
    assert asked({"sources": [written]}, form_b(tekton(dependencies=[git_input()]))) == {}


def test_every_git_source_has_to_be_listed() -> None:
    both = [git_input(), git_input("git+https://git.example.com/evil/app.git")]
    assert asked({"sources": [STOREFRONT]}, form_b(tekton(dependencies=both))) == {
        "sources": "source_not_allowed"
    }
    assert asked({"sources": [STOREFRONT]}, form_b(tekton())) == {"sources": "source_missing"}


def test_a_source_with_two_readings_is_never_listed() -> None:
    odd = git_input("git+https://git.example.com/shop/x/../storefront.git")
    assert asked({"sources": [STOREFRONT]}, form_b(tekton(dependencies=[odd]))) == {
        "sources": "source_not_allowed"
    }


def test_a_task_or_catalog_is_no_source() -> None:
    task = {"name": "task", "uri": STOREFRONT, "digest": {"sha1": "a" * 40}}
    assert asked({"sources": [STOREFRONT]}, form_b(tekton(dependencies=[task]))) == {
        "sources": "source_missing"
    }


def test_sources_of_the_old_format_are_its_materials() -> None:
    old = old_provenance()
    old["predicate"]["materials"] = [{"uri": STOREFRONT, "digest": {"sha1": "a" * 40}}]
    assert asked({"sources": [STOREFRONT]}, form_b(old)) == {}


def test_refs_of_another_builder_are_compared() -> None:
    dependencies = [
        {"uri": "git+https://github.com/shop/app@refs/heads/main", "digest": {"gitCommit": "a" * 40}}
    ]
    built = form_b(
        tekton(build_type="https://actions.github.io/buildtypes/workflow/v1", dependencies=dependencies)
    )
    listed = {"uri": "https://github.com/shop/app", "refs": ["refs/heads/main"]}
    assert asked({"sources": [listed]}, built) == {}
    assert asked({"sources": [listed | {"refs": ["refs/tags/*"]}]}, built) == {
        "sources": "source_not_allowed"
    }


PARAMETERS: Json = {
    "runSpec": {"params": [1, 2]},
    "buildConfigSource": {"repository": CATALOG, "path": "a.yaml", "depth": 1},
}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ({"runSpec": "any", "buildConfigSource": "any"}, ""),
        (
            {
                "runSpec": "any",
                "buildConfigSource": {"repository": [CATALOG, "other"], "path": "any", "depth": 1},
            },
            "",
        ),
        ({"runSpec": "any", "buildConfigSource": "any", "workflow": "any"}, ""),
        ({"runSpec": "any"}, "parameter_unknown"),
        ({"runSpec": "any", "buildConfigSource": {"repository": "any"}}, "parameter_unknown"),
        ({"runSpec": "any", "buildConfigSource": "any", "workflow": "x"}, "parameter_not_allowed"),
        ({"runSpec": {"params": []}, "buildConfigSource": "any"}, "parameter_not_allowed"),
        ({"runSpec": {"params": [[1, 2]]}, "buildConfigSource": "any"}, ""),
        ({"runSpec": "x", "buildConfigSource": "any"}, "parameter_not_allowed"),
        (
            {"runSpec": "any", "buildConfigSource": {"repository": "any", "path": "any", "depth": True}},
            "parameter_not_allowed",
        ),
        ({}, "parameter_unknown"),
    ],
)
def test_external_parameters(listed: Json, expected: str) -> None:
    found = asked({"externalParameters": listed}, form_b(tekton(external=PARAMETERS)))
    assert found == ({"externalParameters": expected} if expected else {})


def test_no_external_parameters_at_all_fail() -> None:
    empty = tekton()
    empty["predicate"]["buildDefinition"]["externalParameters"] = None
    assert asked({"externalParameters": {}}, form_b(empty)) == {"externalParameters": "parameter_not_allowed"}


REPORTED: list[tuple[Json, Json, str]] = [
    ({"hermetic": "enforced"}, {"level": "partly"}, "hermetic_not_proven"),
    ({"outcome": "succeeded"}, {"outcome": "failed"}, "outcome_not_allowed"),
    ({"namespaces": ["ci", "build-*"]}, {"namespace": "tenant-a"}, "namespace_not_allowed"),
    (
        {"rejectedHints": False},
        {"attributes": [{"attribute": "HINT_REJECTED", "target": {"name": "x-IMAGE_URL"}, "conditions": {}}]},
        "hint_rejected",
    ),
]


@pytest.mark.parametrize(("require", "change", "reason"), REPORTED)
def test_what_the_execution_report_says(require: Json, change: Json, reason: str) -> None:
    (name,) = require
    assert asked(require, form_b(tekton()), form_b(report())) == {}
    assert asked(require, form_b(tekton()), form_b(report(**change))) == {name: reason}
    assert asked(require, form_b(tekton())) == {name: "no_execution_report"}


@pytest.mark.parametrize(("require", "_change", "_reason"), REPORTED)
def test_a_report_of_another_run_or_signer_says_nothing(require: Json, _change: Json, _reason: str) -> None:
    (name,) = require
    lacking = {name: "no_execution_report"}
    assert asked(require, form_b(tekton()), form_b(report(uid="uid-2"))) == lacking
    assert asked(require, form_b(tekton()), form_b(report(), signer("stranger"))) == lacking
    assert asked(require, form_b(tekton(uid="")), form_b(report(uid=""))) == lacking


def test_two_outcomes_are_none() -> None:
    twice = report(attributes=[report()["predicate"]["attributes"][0]])
    assert asked({"outcome": "succeeded"}, form_b(tekton()), form_b(twice)) == {
        "outcome": "no_execution_report"
    }


def _facts(**pinned: bool) -> list[Json]:
    found = []
    for name, is_pinned in pinned.items():
        target = {"name": f"step/{name}"}
        found.append({"attribute": "HERMETIC_EXECUTION", "target": target, "conditions": {}})
        found.append(
            {"attribute": "CONTAINER_FACTS", "target": target, "conditions": {"imagePinned": is_pinned}}
        )
    return found


def test_step_images_are_pinned_where_the_report_says_it_of_each() -> None:
    require = {"stepImages": {"pinned": True}}
    good = report(attributes=_facts(build=True, push=True))
    assert asked(require, form_b(tekton()), form_b(good)) == {}
    loose = report(attributes=_facts(build=True, push=False))
    unknown = report(attributes=_facts(build=True, push=True)[:-1])
    for bad in (loose, unknown, report()):
        assert asked(require, form_b(tekton()), form_b(bad)) == {"stepImages": "step_image_not_pinned"}


def test_step_images_come_from_listed_repositories() -> None:
    require = {"stepImages": {"repositories": ["registry.example.com/mirror/**"]}}
    own = {"uri": "oci://registry.example.com/mirror/alpine/git", "digest": {"sha256": "a" * 64}}
    strange = {"uri": "oci://evil.example.com/mirror/git", "digest": {"sha256": "a" * 64}}
    assert asked(require, form_b(tekton(dependencies=[own])), form_b(report())) == {}
    bad = {"stepImages": "step_image_not_allowed"}
    assert asked(require, form_b(tekton(dependencies=[own, strange]))) == bad
    assert asked(require, form_b(tekton())) == bad
    named = {"name": "inputs/result", **own}
    assert asked(require, form_b(tekton(dependencies=[named]))) == bad
    without = report(attributes=[{"attribute": "IMAGE_WITHOUT_DIGEST", "target": {"name": "step/x"}}])
    assert asked(require, form_b(tekton(dependencies=[own])), form_b(without)) == bad


def test_tasks_come_from_listed_resolvers_with_a_digest() -> None:
    require = {"tasks": {"resolvers": ["git"], "pinned": True}}
    external = {"runSpec": {"taskRef": {"resolver": "git"}}}
    task = {"name": "task", "uri": CATALOG, "digest": {"sha1": "a" * 40}}
    assert asked(require, form_b(tekton(external=external, dependencies=[task]))) == {}
    hub = {"runSpec": {"taskRef": {"resolver": "hub"}}}
    found = asked(require, form_b(tekton(external=hub, dependencies=[task])))
    assert found == {"tasks": "task_resolver_not_allowed"}
    inline = asked(require, form_b(tekton(external={"runSpec": {"taskSpec": {}}})))
    assert inline == {"tasks": "task_resolver_not_allowed"}
    loose = task | {"digest": {}}
    found = asked(require, form_b(tekton(external=external, dependencies=[loose])))
    assert found == {"tasks": "task_not_pinned"}
    child = {"name": "pipelineTask", "uri": CATALOG}
    pipeline = {"runSpec": {"pipelineRef": {"resolver": "git"}}}
    own = {"name": "pipeline", "uri": CATALOG, "digest": {"sha1": "a" * 40}}
    found = asked(require, form_b(tekton(external=pipeline, dependencies=[own, child])))
    assert found == {"tasks": "task_not_pinned"}


def test_predicates_have_to_be_there() -> None:
    both = {"predicates": ["https://slsa.dev/provenance/v1", "https://in-toto.io/attestation/scai/v0.3"]}
    assert asked(both, form_b(tekton()), form_b(report())) == {}
    assert asked(both, form_b(tekton())) == {"predicates": "predicate_missing"}


def test_one_more_requirement_can_only_make_it_stricter() -> None:
    held = form_b(tekton(external=PARAMETERS, dependencies=[git_input()])), form_b(report())
    base = verdict(document(), *held)
    assert base.verdict is Verdict.VERIFIED
    for require in ({"level": 3}, {"sources": [CATALOG]}, {"outcome": "failed"}, {"namespaces": ["x"]}):
        assert verdict(document(require=require), *held).verdict is Verdict.FAILED

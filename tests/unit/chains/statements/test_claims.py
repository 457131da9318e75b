"""What a statement claims, wherever its predicate has it, and nothing where it has it twice or in another shape."""

from __future__ import annotations

from typing import Any

import pytest

from chains.statements.claims import (
    Resolved,
    build_type,
    builder_id,
    hermetic_level,
    resolved,
    run_namespace,
    run_outcome,
    run_uid,
    sources,
)
from chains.statements.statement import SCAI, SLSA_V02, SLSA_V1, STATEMENT_V1, Statement
from chains.tekton.raw import text_at

Json = Any


def statement(kind: str, predicate: Json) -> Statement:
    return Statement(STATEMENT_V1, (), kind, predicate)


V1 = {
    "runDetails": {"builder": {"id": "b1"}, "metadata": {"invocationId": "u1"}},
    "buildDefinition": {"buildType": "t1"},
}
V02 = {"builder": {"id": "b02"}, "buildType": "t02"}
BOTH = V1 | V02


@pytest.mark.parametrize(
    ("kind", "predicate", "claims"),
    [
        (SLSA_V1, V1, ("b1", "t1", "u1")),
        (SLSA_V1, BOTH, ("b1", "t1", "u1")),
        (SLSA_V1, V02, ("", "", "")),
        (SLSA_V02, V02, ("b02", "t02", "")),
        (SLSA_V02, BOTH, ("b02", "t02", "")),
        (SLSA_V02, V1, ("", "", "")),
        ("https://example.com/other/v1", BOTH, ("b1", "t1", "")),
        (SLSA_V1, {}, ("", "", "")),
        (SLSA_V1, {"runDetails": 1, "buildDefinition": []}, ("", "", "")),
        (SLSA_V1, {"runDetails": {"builder": {"id": 1}, "metadata": {"invocationId": None}}}, ("", "", "")),
    ],
)
def test_each_version_of_provenance_has_its_own_places(
    kind: str, predicate: Json, claims: tuple[str, ...]
) -> None:
    found = statement(kind, predicate)
    assert (builder_id(found), build_type(found), run_uid(found)) == claims


OUTCOME = {"attribute": "RUN_OUTCOME", "conditions": {"uid": "u", "level": "no"}}
LEVEL = {"attribute": "HERMETIC_LEVEL", "conditions": {"level": "enforced", "uid": "no"}}
OTHER = {"attribute": "OTHER", "conditions": {"uid": "x", "level": "x"}}


@pytest.mark.parametrize(
    ("attributes", "uid", "level"),
    [
        ([OUTCOME, LEVEL, OTHER], "u", "enforced"),
        ([OTHER, LEVEL, OUTCOME], "u", "enforced"),
        ([OUTCOME], "u", ""),
        ([LEVEL], "", "enforced"),
        ([OUTCOME, OUTCOME, LEVEL], "", "enforced"),
        ([OUTCOME, LEVEL, LEVEL], "u", ""),
        ([OUTCOME, LEVEL, {"attribute": "HERMETIC_LEVEL"}], "u", ""),
        ([{"attribute": "RUN_OUTCOME"}, OUTCOME], "", ""),
        (["RUN_OUTCOME", 1, None, OUTCOME, LEVEL], "u", "enforced"),
        ([{"attribute": "HERMETIC_LEVEL", "conditions": "enforced"}], "", ""),
        ([{"attribute": "HERMETIC_LEVEL", "conditions": {"level": True}}], "", ""),
        ({"attribute": "RUN_OUTCOME"}, "", ""),
        ("RUN_OUTCOME", "", ""),
        (None, "", ""),
        ([], "", ""),
    ],
)
def test_a_report_claims_what_it_says_exactly_once(attributes: Json, uid: str, level: str) -> None:
    found = statement(SCAI, {"attributes": attributes})
    assert (run_uid(found), hermetic_level(found)) == (uid, level)
    assert run_outcome(found) == (OUTCOME if uid else {})


def test_a_report_without_attributes_claims_nothing() -> None:
    found = statement(SCAI, {})
    assert (run_uid(found), hermetic_level(found), run_outcome(found)) == ("", "", {})
    assert run_uid(statement("https://example.com/other/v1", {"attributes": [OUTCOME]})) == ""


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        ({"a": {"b": "c"}}, ("a", "b"), "c"),
        ({"a": {"b": "c"}}, ("a",), ""),
        ({"a": "b"}, ("a", "b"), ""),
        ({"a": ["b"]}, ("a", "b"), ""),
        ("a", (), "a"),
        (None, ("a",), ""),
        ({}, ("a",), ""),
    ],
)
def test_a_text_is_looked_for_along_its_path(value: Json, path: tuple[str, ...], text: str) -> None:
    assert text_at(value, *path) == text


def told(attribute: str, name: Json) -> Json:
    return {"attribute": attribute, "target": {"name": name}}


@pytest.mark.parametrize(
    ("attributes", "namespace"),
    [
        ([told("RUN_OUTCOME", "taskrun/ci/build")], "ci"),
        ([told("HERMETIC_LEVEL", "pipelinerun/ci/build")], "ci"),
        ([told("RUN_OUTCOME", "taskrun/ci/build"), told("HERMETIC_LEVEL", "taskrun/ci/build")], "ci"),
        ([told("OTHER", "taskrun/shop/x"), told("RUN_OUTCOME", "taskrun/ci/build")], "ci"),
        (["taskrun/shop/x", None, told("RUN_OUTCOME", "taskrun/ci/build")], "ci"),
        ([told("RUN_OUTCOME", "taskrun/ci/build"), told("HERMETIC_LEVEL", "taskrun/shop/build")], ""),
        ([told("RUN_OUTCOME", "taskrun/ci/build"), told("HERMETIC_LEVEL", "taskrun/ci/other")], ""),
        ([told("RUN_OUTCOME", "taskrun/ci/build"), {"attribute": "HERMETIC_LEVEL"}], ""),
        ([told("OTHER", "taskrun/ci/build")], ""),
        ([told("RUN_OUTCOME", "container/ci/build")], ""),
        ([told("RUN_OUTCOME", "xtaskrun/ci/build")], ""),
        ([told("RUN_OUTCOME", "taskrun/ci/build/step")], ""),
        ([told("RUN_OUTCOME", "taskrun/ci/")], ""),
        ([told("RUN_OUTCOME", "taskrun//build")], ""),
        ([told("RUN_OUTCOME", ["taskrun/ci/build"])], ""),
        ([{"attribute": "RUN_OUTCOME", "name": "taskrun/ci/build", "target": "taskrun/ci/build"}], ""),
        (told("RUN_OUTCOME", "taskrun/ci/build"), ""),
        (None, ""),
    ],
)
def test_a_report_is_of_the_namespace_that_all_its_answers_are_about(
    attributes: Json, namespace: str
) -> None:
    assert run_namespace(statement(SCAI, {"attributes": attributes})) == namespace


COMMIT = {"sha1": "c" * 40}


def provenance(**change: Json) -> Json:
    """Provenance of a task that the git resolver fetched; what is given replaces parts of its definition."""
    definition = {
        "buildType": "https://tekton.dev/chains/v2/slsa",
        "externalParameters": {
            "runSpec": {"taskRef": {"resolver": "git"}},
            "buildConfigSource": {"path": "tasks/build.yaml", "repository": "git+https://example.com/r"},
        },
        "resolvedDependencies": [
            {"name": "task", "uri": "git+https://example.com/r", "digest": COMMIT},
            {"name": "inputs/result", "uri": "git+https://example.com/app", "digest": {"sha1": "a" * 40}},
        ],
    }
    return statement(SLSA_V1, {"buildDefinition": definition | change})


def test_where_a_task_was_resolved_from_is_told_by_parameters_and_dependencies_together() -> None:
    found = resolved(provenance(), "task")
    assert found == Resolved("git", COMMIT, "tasks/build.yaml")
    assert str(found) == f"git@sha1:{'c' * 40}#tasks/build.yaml"
    assert str(Resolved("", {}, "")) == "no resolver@no digest"
    assert str(Resolved("hub", {"sha256": "1", "sha1": "2"}, "")) == "hub@sha256:1 sha1:2"
    tekton = provenance(buildType="https://tekton.dev/chains/v2/slsa-tekton")
    assert resolved(tekton, "task") == Resolved("git", COMMIT, "tasks/build.yaml")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "pipeline"),
        ({"buildType": "https://example.com/other"}, "task"),
        ({"externalParameters": {}}, "task"),
        ({"externalParameters": {"runSpec": {"taskRef": {"resolver": ""}}}}, "task"),
        ({"externalParameters": {"runSpec": {"taskRef": {"name": "git"}, "resolver": "git"}}}, "task"),
        ({"externalParameters": {"taskRef": {"resolver": "git"}}}, "task"),
        ({"externalParameters": {"runSpec": {"pipelineRef": {"resolver": "git"}}}}, "task"),
        ({"resolvedDependencies": []}, "task"),
        ({"resolvedDependencies": None}, "task"),
        ({"resolvedDependencies": [{"name": "pipelineTask", "digest": COMMIT}]}, "task"),
        ({"resolvedDependencies": [{"name": "task", "digest": COMMIT}] * 2}, "task"),
    ],
)
def test_a_resolution_that_is_not_told_once_and_by_the_known_builder_is_none(change: Json, kind: str) -> None:
    assert resolved(provenance(**change), kind) is None


def test_only_slsa_v1_tells_a_resolution_and_a_digest_is_a_set_of_digests() -> None:
    assert resolved(statement(SLSA_V02, provenance().predicate), "task") is None
    odd = provenance(resolvedDependencies=[{"name": "task", "digest": "sha1:" + "c" * 40}])
    assert resolved(odd, "task") == Resolved("git", {}, "tasks/build.yaml")
    bare = provenance(externalParameters={"runSpec": {"taskRef": {"resolver": "git"}}})
    assert resolved(bare, "task") == Resolved("git", COMMIT, "")
    piped = provenance(
        externalParameters={"runSpec": {"pipelineRef": {"resolver": "bundles"}}},
        resolvedDependencies=[{"name": "pipeline", "digest": {"sha256": "1"}}, {"name": "task"}],
    )
    assert resolved(piped, "pipeline") == Resolved("bundles", {"sha256": "1"}, "")


MATERIAL = {"uri": "git+https://example.com/app", "digest": {"sha1": "a" * 40}}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([MATERIAL], [(MATERIAL["uri"], MATERIAL["digest"])]),
        ([{"uri": "u", "digest": {}}, MATERIAL], [("u", {}), (MATERIAL["uri"], MATERIAL["digest"])]),
        ([{"uri": "", "digest": {"sha1": "a"}}], []),
        ([{"uri": 5, "digest": {"sha1": "a"}}], []),
        ([{"digest": {"sha1": "a"}}], []),
        ([{"uri": "u"}], []),
        ([{"uri": "u", "digest": "sha1:a"}], []),
        (["u", None, MATERIAL], [(MATERIAL["uri"], MATERIAL["digest"])]),
        (MATERIAL, []),
        (None, []),
    ],
)
def test_the_inputs_of_a_run_are_those_with_a_name_and_digests(listed: Json, expected: Json) -> None:
    assert sources(statement(SLSA_V02, {"materials": listed})) == expected
    as_v1 = listed
    if isinstance(listed, list):
        as_v1 = [one | {"name": "inputs/result"} if isinstance(one, dict) else one for one in listed]
    assert sources(provenance(resolvedDependencies=as_v1)) == expected


def test_what_a_run_was_made_by_is_none_of_its_inputs() -> None:
    assert sources(provenance()) == [("git+https://example.com/app", {"sha1": "a" * 40})]
    unnamed = provenance(resolvedDependencies=[MATERIAL, MATERIAL | {"name": "task"}])
    assert sources(unnamed) == []
    assert sources(statement(SLSA_V1, {"buildDefinition": [], "materials": [MATERIAL]})) == []
    assert sources(statement(SLSA_V1, {"materials": [MATERIAL]})) == []
    assert sources(statement(SLSA_V02, provenance().predicate)) == []


def test_a_report_and_a_provenance_have_their_uid_in_their_own_places() -> None:
    both = {"attributes": [OUTCOME], "runDetails": {"metadata": {"invocationId": "run"}}}
    assert run_uid(statement(SCAI, both)) == "u"
    assert run_uid(statement(SLSA_V1, both)) == "run"
    assert run_uid(statement(SLSA_V02, both)) == ""
    old = {"runDetails": {"metadata": {"invocationID": "old"}}}
    assert run_uid(statement(SLSA_V1, old)) == "old"

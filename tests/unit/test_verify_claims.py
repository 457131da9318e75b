"""What a statement claims, wherever its predicate has it, and nothing where it has it twice or in another shape."""

from __future__ import annotations

from typing import Any

import pytest

from chains.predicates.scai_execution import SCAI
from chains.statement import SLSA_V02, SLSA_V1, STATEMENT_V1, Statement
from chains.verify_claims import build_type, builder_id, hermetic_level, run_outcome, run_uid, text_at

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
